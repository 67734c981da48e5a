package checkpoints

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

func someManifest() *Manifest {
	loss := 1.25
	m := &Manifest{
		Run: "drill <1>", Spec: [32]byte{1}, Step: 300, Digest: [32]byte{2}, Size: 12345, Data: 2, Parity: 1, Loss: &loss,
		Pieces:  []Piece{{0, [32]byte{3}}, {1, [32]byte{4}}, {5, [32]byte{5}}},
		Holders: []Holder{{Name: "a", Host: "h", Zone: "z", Has: []int{0, 1}}, {Name: "b", Has: []int{5}}, {Name: "c", Has: []int{}}},
	}
	return m
}

func bytesOf(t interface{ Fatal(...any) }, m *Manifest) []byte {
	b, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestManifestSurvivesItsBytes(t *testing.T) {
	m := someManifest()
	got, err := ParseManifest(bytesOf(t, m))
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("read back %+v, want %+v (error %v)", got, m, err)
	}
	m.Loss, m.Holders = nil, nil
	if got, err = ParseManifest(bytesOf(t, m)); err != nil || got.Loss != nil || len(got.Holders) != 0 {
		t.Errorf("read back %+v (error %v)", got, err)
	}
	if held := fmt.Sprint(someManifest().Held("a"), someManifest().Held("x")); held != "[0 1] []" {
		t.Errorf("held are %s", held)
	}
}

// The bytes are part of the format.
func TestManifestFormatIsPinned(t *testing.T) {
	m := someManifest()
	m.Pieces, m.Holders = m.Pieces[:2], m.Holders[:1]
	zeros := strings.Repeat("0", 62)
	text := `{
 "run": "drill \u003c1\u003e",
 "spec": "01` + zeros + `",
 "step": 300,
 "digest": "02` + zeros + `",
 "size": 12345,
 "data": 2,
 "parity": 1,
 "loss": 1.25,
 "pieces": [
  {
   "index": 0,
   "sha256": "03` + zeros + `"
  },
  {
   "index": 1,
   "sha256": "04` + zeros + `"
  }
 ],
 "holders": [
  {
   "name": "a",
   "host": "h",
   "zone": "z",
   "has": [
    0,
    1
   ]
  }
 ]
}
`
	want := fmt.Sprintf("torc manifest 1 %x\n", sha256.Sum256([]byte(text))) + text
	if got := string(bytesOf(t, m)); got != want {
		t.Errorf("manifest is\n%s, want\n%s", got, want)
	}
}

func TestDamagedManifestsAreRefused(t *testing.T) {
	good := bytesOf(t, someManifest())
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if m, err := ParseManifest(bad); err == nil {
				t.Fatalf("byte %d, bit %d flipped: read as %+v", i, bit, m)
			}
		}
		if _, err := ParseManifest(good[:i]); !errors.Is(err, ErrDamaged) && i > 20 {
			t.Fatalf("cut to %d bytes: error is %v", i, err)
		}
	}
	if _, err := ParseManifest(append(bytes.Clone(good), '\n')); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte too many: error is %v", err)
	}
	newer := bytes.Replace(good, []byte("torc manifest 1 "), []byte("torc manifest 2 "), 1)
	if _, err := ParseManifest(newer); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), `version "2"`) {
		t.Errorf("another version: error is %v", err)
	}
}

// With the right checksum, what it says is still checked.
func TestManifestsOfOtherShapesAreRefused(t *testing.T) {
	sign := func(text string) []byte {
		return append(fmt.Appendf(nil, "%s %d %x\n", manifestMagic, manifestVersion, sha256.Sum256([]byte(text))), text...)
	}
	_, good, _ := strings.Cut(string(bytesOf(t, someManifest())), "\n")
	if _, err := ParseManifest(sign(good)); err != nil {
		t.Fatal(err)
	}
	for old, next := range map[string]string{
		`"step": 300`:          `"step": 0300`,
		`"size": 12345`:        `"size": -1`,
		`"size"`:               `"Size"`,
		`"data": 2`:            `"data": 65`,
		`"parity": 1`:          `"parity": -1`,
		`"loss": 1.25`:         `"loss": 1.250`,
		`"index": 1,`:          `"index": 0,`,
		`"index": 5,`:          `"index": 256,`,
		`"name": "b"`:          `"name": "a"`,
		`"run"`:                `"walk": 1, "run"`,
		`"data": 2,`:           `"data": 4,`,
		"    0,\n    1":        "    1,\n    0",
		"    5\n":              "    6\n",
		`"spec": "01`:          `"spec": "1`,
		`"spec": "010`:         `"spec": "0x0`,
		"{\n \"run\"":          "{ \"run\"",
		`"holders": [`:         `"holders": null, "x": [`,
		"\"sha256\": \"030000": `"sha256": "03000G`,
	} {
		if !strings.Contains(good, old) {
			t.Fatalf("%q does not stand in %s", old, good)
		}
		if m, err := ParseManifest(sign(strings.Replace(good, old, next, 1))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: read as %+v, error %v", next, m, err)
		}
	}
	for name, change := range map[string]func(m *Manifest){
		"no text":  func(m *Manifest) { m.Run = "\xff" },
		"NaN":      func(m *Manifest) { *m.Loss = math.NaN() },
		"infinite": func(m *Manifest) { *m.Loss = math.Inf(1) },
		"holder":   func(m *Manifest) { m.Holders[0].Zone = "\xff" },
	} {
		m := someManifest()
		change(m)
		if _, err := m.Bytes(); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

// protocol.md I5: a manifest is made only of pieces of one state, enough to survive what is promised.
func TestCommitAsksForEqualDigestsAndEnoughPieces(t *testing.T) {
	saved := func() []Saved {
		var all []Saved
		for i, name := range []string{"b", "a", "c"} {
			all = append(all, Saved{
				Holder: Holder{Name: name}, Spec: [32]byte{1}, Step: 7, Data: 4,
				Cutting: Cutting{Digest: [32]byte{2}, Size: 99, Pieces: []Piece{{i, [32]byte{byte(i)}}, {i + 3, [32]byte{byte(i + 3)}}}},
			})
		}
		return all
	}
	m, err := Commit("drill", 1, nil, saved())
	if err != nil {
		t.Fatal(err)
	}
	if Describe(m.Holders) != "a: 1 4, b: 0 3, c: 2 5" || len(m.Pieces) != 6 || m.Step != 7 || m.Parity != 1 {
		t.Errorf("manifest is %+v", m)
	}
	if _, err := ParseManifest(bytesOf(t, m)); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(s []Saved) []Saved{
		"survive the loss of 0 members, 1 are promised": func(s []Saved) []Saved { s[2].Pieces = s[2].Pieces[:1]; return s },
		"not of one state":       func(s []Saved) []Saved { s[1].Digest[3]++; return s },
		"a step 8":               func(s []Saved) []Saved { s[1].Step++; return s },
		"a step 7":               func(s []Saved) []Saved { s[1].Spec[0]++; return s },
		"another piece 3":        func(s []Saved) []Saved { s[2].Pieces = append(s[2].Pieces, Piece{3, [32]byte{9}}); return s },
		"no member has saved":    func(s []Saved) []Saved { return nil },
		"2 pieces, 4 are needed": func(s []Saved) []Saved { return s[:1] },
		"may stand once":         func(s []Saved) []Saved { return append(s, s[0]) },
		"piece 300":              func(s []Saved) []Saved { s[0].Pieces[0].Index = 300; return s },
	} {
		if m, err := Commit("drill", 1, nil, change(saved())); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: manifest %+v, error %v", want, m, err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(bytesOf(f, someManifest()))
	_, text, _ := bytes.Cut(bytesOf(f, someManifest()), []byte("\n"))
	f.Add(text)
	f.Fuzz(func(t *testing.T, b []byte) {
		// What is fuzzed is the text behind a checksum that fits, too.
		signed := append(fmt.Appendf(nil, "%s %d %x\n", manifestMagic, manifestVersion, sha256.Sum256(b)), b...)
		for _, b := range [][]byte{b, signed} {
			m, err := ParseManifest(b)
			if err != nil {
				continue
			}
			if again := bytesOf(t, m); !bytes.Equal(again, b) {
				t.Fatalf("%s was taken for %s", b, again)
			}
		}
	})
}

package spec

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/torctrain/torc/sharding"
)

// resolved is a spec in which every field that can be set is set.
func resolved(t *testing.T) *Resolved {
	t.Helper()
	s := parse(t, small, "name=<a&b>", "data.validation=v.jsonl", "validate.every=5", "members={min: 1, max: 3}")
	r := &Resolved{Spec: *s, Samples: 7, Class: "cpu-1"}
	for i, role := range []string{"model/config.json", "train/0", "validation/0"} {
		r.Files = append(r.Files, File{SHA256: Sum{byte(i + 1)}, Size: int64(i), Path: "/x/" + role, Role: role})
	}
	return r
}

func marshal(t *testing.T, r *Resolved) []byte {
	t.Helper()
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestJSONReadsBackTheSame(t *testing.T) {
	r := resolved(t)
	text := marshal(t, r)
	got, err := FromJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if again := marshal(t, got); !bytes.Equal(again, text) {
		t.Errorf("canonical JSON changed on its way:\n%s\n%s", text, again)
	}
	if got.Hash() != r.Hash() {
		t.Error("hash changed on its way through JSON")
	}
}

// The canonical form is part of State and of every frame: a change of it makes old runs unreadable and must be meant.
func TestCanonicalFormStaysAsItIs(t *testing.T) {
	r := resolved(t)
	const want = `{"class":"cpu-1","files":[{"path":"/x/model/config.json","role":"model/config.json","sha256":"0100000000000000000000000000000000000000000000000000000000000000","size":0},` +
		`{"path":"/x/train/0","role":"train/0","sha256":"0200000000000000000000000000000000000000000000000000000000000000","size":1},` +
		`{"path":"/x/validation/0","role":"validation/0","sha256":"0300000000000000000000000000000000000000000000000000000000000000","size":2}],"samples":7,` +
		`"spec":{"batch":{"lanes":32,"micro":1},"checkpoint":{"data":4,"every":100,"keep":2,"keep_best":0,"parity":"auto"},"data":{"max_tokens":512,"overflow":"truncate","train":["train.jsonl"],"validation":["v.jsonl"]},"members":{"max":3,"min":1},` +
		`"method":{"modules":"linear","name":"lift","rank":16,"refresh":400},"model":"base","name":"<a&b>",` +
		`"optimizer":{"beta1":0.9,"beta2":0.95,"clip":0,"eps":0.000001,"lr":0.0002,"schedule":"linear","warmup":0.03,"weight_decay":0},` +
		`"reduce":{"bits":27,"hop_timeout":2000000000,"on_nonfinite":"stop","pack":true},"seed":42,"steps":10,"validate":{"every":5}}}`
	if got := string(marshal(t, r)); got != want {
		t.Errorf("canonical JSON is\n%s\nwant\n%s", got, want)
	}
	const hash = "957c44b0e65fa5a8f1bfa4a069389cdcd6fe550cacecf4d8d4338de6231fe568" // sha256 of the JSON above without the parts that are no result
	if got := fmt.Sprintf("%x", r.Hash()); got != hash {
		t.Errorf("hash is %s, want %s", got, hash)
	}
}

// interfaces.md: the result part is all but name, members, checkpoint, reduce.pack and reduce.hop_timeout; files count by
// content.
func TestHashIsOverTheResultPartAlone(t *testing.T) {
	free := []string{
		"name", "model", "data.train", "data.validation", "data.columns", "reduce.pack", "reduce.hop_timeout", "members.min", "members.max",
		"checkpoint.every", "checkpoint.keep", "checkpoint.keep_best", "checkpoint.data", "checkpoint.parity", "checkpoint.mirror",
	}
	first := resolved(t).Hash()
	seen := map[[32]byte]string{first: "nothing"}
	leaves := 0
	var walk func(section func(*Resolved) reflect.Value, prefix string)
	walk = func(section func(*Resolved) reflect.Value, prefix string) {
		typ := section(resolved(t)).Type()
		for i := range typ.NumField() {
			key := yamlKey(typ.Field(i))
			if key == "" {
				continue
			}
			at := func(r *Resolved) reflect.Value { return section(r).Field(i) }
			if typ.Field(i).Type.Kind() == reflect.Struct {
				walk(at, join(prefix, key))
				continue
			}
			leaves++
			r := resolved(t)
			change(at(r))
			h := r.Hash()
			if slices.Contains(free, join(prefix, key)) {
				if h != first {
					t.Errorf("a change of %s changes the hash", join(prefix, key))
				}
			} else if other, same := seen[h]; same {
				t.Errorf("changes of %s and of %s have one hash", join(prefix, key), other)
			} else {
				seen[h] = join(prefix, key)
			}
		}
	}
	walk(func(r *Resolved) reflect.Value { return reflect.ValueOf(&r.Spec).Elem() }, "")
	if leaves < 25 {
		t.Errorf("only %d fields were changed", leaves)
	}
	for name, do := range map[string]func(*Resolved){
		"samples": func(r *Resolved) { r.Samples++ }, "class": func(r *Resolved) { r.Class += "x" },
		"content": func(r *Resolved) { r.Files[1].SHA256[31]++ }, "size": func(r *Resolved) { r.Files[1].Size++ },
		"weight": func(r *Resolved) { r.Files[1].Weight = 2 }, "columns": func(r *Resolved) { r.Files[1].Columns = sharding.Columns{"text": "x"} },
		"bad rows": func(r *Resolved) { r.BadRows++ },
		"role":     func(r *Resolved) { r.Files[1].Role = "train/1" }, "order": func(r *Resolved) { slices.Reverse(r.Files) },
	} {
		r := resolved(t)
		do(r)
		if other, same := seen[r.Hash()]; same {
			t.Errorf("changes of %s and of %s have one hash", name, other)
		}
		seen[r.Hash()] = name
	}
	r := resolved(t)
	r.Files[1].Path = "/elsewhere"
	if r.Hash() != first {
		t.Error("the path of a file changes the hash")
	}
}

func change(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *string:
		*x += "x"
	case *int:
		*x++
	case *uint64:
		*x++
	case *float64:
		*x += 0.5
	case *bool:
		*x = !*x
	case *time.Duration:
		*x++
	case *[]string:
		*x = append(slices.Clone(*x), "x")
	case *sharding.Columns:
		*x = sharding.Columns{"text": "x"}
	default:
		panic("a field of a type the test does not know: " + v.Type().String())
	}
}

func TestFromJSONRefusesWhatWasNotResolved(t *testing.T) {
	good := string(marshal(t, resolved(t)))
	for _, c := range []struct{ old, new, want string }{
		{good, "", "EOF"},
		{good, good + "{}", "more than one"},
		{`"steps":10`, `"steps":0`, "neither steps nor epochs"},
		{`"steps":10`, `"epochs":2,"steps":0`, "has not been resolved"},
		{`"samples":7`, `"samples":0`, "samples is 0"},
		{`"seed":42`, `"sead":42`, "sead"},
		{`"lr":0.0002`, `"lr":-1`, "optimizer.lr is -1"},
		{`"sha256":"01`, `"sha256":"`, "62 digits, want 64"},
		{`"sha256":"01`, `"sha256":"zz`, "invalid byte"},
		{`"role":"train/0"`, `"role":"train/0","weight":1e18`, "weight of train/0 is 1e+18"},
		{`"role":"train/0"`, `"role":"train/0","weight":-1`, "weight of train/0 is -1"},
		{`"class":"cpu-1","files":[`, `"class":"cpu-1","files":[],"x":[`, "unknown field"},
	} {
		if _, err := FromJSON([]byte(strings.Replace(good, c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("with %q for %q: %v, want an error with %q", c.new, c.old, err, c.want)
		}
	}
}

func FuzzFromJSON(f *testing.F) {
	f.Add([]byte(`{"spec":{}}`))
	f.Add([]byte(`{"files":[{"sha256":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := FromJSON(text)
		if err != nil {
			return
		}
		once, err := r.JSON()
		if err != nil {
			t.Fatalf("took %q, which has no JSON: %v", text, err)
		}
		again, err := FromJSON(once)
		if err != nil || again.Hash() != r.Hash() {
			t.Errorf("%q reads back as another spec: %v", once, err)
		}
	})
}

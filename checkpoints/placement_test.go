package checkpoints

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func drawHolders(t *rapid.T) []Holder {
	n := rapid.IntRange(1, 9).Draw(t, "members")
	labelled := rapid.Bool().Draw(t, "labelled")
	var holders []Holder
	for i := range n {
		h := Holder{Name: fmt.Sprint("m", i)}
		if labelled {
			h.Host = rapid.SampledFrom([]string{"", "h1", "h2", "h3"}).Draw(t, "host")
			h.Zone = rapid.SampledFrom([]string{"", "z1", "z2"}).Draw(t, "zone")
		}
		holders = append(holders, h)
	}
	return holders
}

// left counts the distinct pieces that remain when the holders in lost (a bit each) are gone.
func left(holders []Holder, lost int) int {
	kept := map[int]bool{}
	for i, h := range holders {
		if lost>>i&1 == 0 {
			for _, p := range h.Has {
				kept[p] = true
			}
		}
	}
	return len(kept)
}

func ones(x int) (n int) {
	for ; x > 0; x &= x - 1 {
		n++
	}
	return n
}

// protocol.md I9: whichever parity members are lost, data distinct pieces remain; and no piece is given to two members. I11:
// Place is pure.
func TestPlacementSurvivesTheLossOfAnyParityMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		holders := drawHolders(t)
		data := rapid.IntRange(1, 8).Draw(t, "data")
		parity := rapid.IntRange(0, len(holders)-1).Draw(t, "parity")
		for i := range holders { // some have pieces already, also the same ones
			if rapid.Bool().Draw(t, "has") {
				has := rapid.SliceOfNDistinct(rapid.IntRange(0, 12), 0, 3, rapid.ID[int]).Draw(t, "pieces")
				slices.Sort(has)
				holders[i].Has = has
			}
		}
		before := fmt.Sprint(holders)
		placed, _, err := Place(holders, data, parity)
		if err != nil {
			t.Fatal(err)
		}
		if again, _, _ := Place(holders, data, parity); fmt.Sprint(again) != fmt.Sprint(placed) || fmt.Sprint(holders) != before {
			t.Fatal("Place is not a function of its arguments")
		}
		for lost := range 1 << len(placed) {
			if n := left(placed, lost); ones(lost) == parity && n < data {
				t.Fatalf("without %b there are %d of %d pieces: %s", lost, n, data, Describe(placed))
			}
		}
		given := map[int]bool{}
		for i, h := range placed {
			for _, p := range holders[i].Has {
				if !slices.Contains(h.Has, p) {
					t.Fatalf("%s lost piece %d", h.Name, p)
				}
			}
			for _, p := range h.Has {
				if slices.Contains(holders[i].Has, p) {
					continue
				}
				if given[p] || slices.ContainsFunc(holders, func(o Holder) bool { return slices.Contains(o.Has, p) }) {
					t.Fatalf("piece %d was given twice", p)
				}
				given[p] = true
			}
			if !slices.IsSorted(h.Has) {
				t.Fatalf("%s has %v", h.Name, h.Has)
			}
		}
	})
}

// Endure says the truth about every loss of members, hosts and zones, also when holders have the same pieces.
func TestEnduranceIsThatOfTheWorstLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		holders := drawHolders(t)
		data := rapid.IntRange(1, 5).Draw(t, "data")
		for i := range holders {
			holders[i].Has = rapid.SliceOfN(rapid.IntRange(0, 8), 0, 5).Draw(t, "has")
		}
		worst := func(domain func(i int, h Holder) string) int {
			of := map[string]int{}
			for i, h := range holders {
				of[domain(i, h)] |= 1 << i
			}
			var sets []int
			for _, s := range of {
				sets = append(sets, s)
			}
			bad := len(sets) + 1 // the least number of domains whose loss is fatal
			for pick := range 1 << len(sets) {
				lost := 0
				for i, s := range sets {
					if pick>>i&1 == 1 {
						lost |= s
					}
				}
				if left(holders, lost) < data {
					bad = min(bad, ones(pick))
				}
			}
			return bad - 1
		}
		want := Endurance{Members: worst(func(i int, h Holder) string { return fmt.Sprint(i) })}
		if slices.ContainsFunc(holders, func(h Holder) bool { return h.Host != "" }) {
			want.Hosts = max(0, worst(func(i int, h Holder) string {
				if h.Host == "" {
					return fmt.Sprint(i)
				}
				return h.Zone + "/" + h.Host
			}))
		}
		if slices.ContainsFunc(holders, func(h Holder) bool { return h.Zone != "" }) {
			want.Zones = max(0, worst(func(i int, h Holder) string {
				if h.Zone == "" {
					return fmt.Sprint(i)
				}
				return h.Zone
			}))
		}
		if got := Endure(holders, data); got != want {
			t.Fatalf("%s with data %d endures %+v, want %+v", Describe(holders), data, got, want)
		}
	})
}

// With very many holders the answer may be too low, never too high.
func TestEnduranceOfManyIsSafe(t *testing.T) {
	var mirrors, apart []Holder
	for i := range 40 {
		mirrors = append(mirrors, Holder{Name: fmt.Sprint(i), Has: []int{0, 1, 2, 3}})
		apart = append(apart, Holder{Name: fmt.Sprint(i), Has: []int{i}})
	}
	if got := Endure(mirrors, 4).Members; got < 0 || got > 39 {
		t.Errorf("40 mirrors endure %d losses, true are 39", got)
	}
	if got := Endure(apart, 4).Members; got != 36 {
		t.Errorf("40 members with a piece each endure %d losses, want 36", got)
	}
}

// The sizes that people are told of: pieces per member at the default parity, 4 data pieces.
func TestPlacementIsSmall(t *testing.T) {
	for n, want := range map[int]string{
		1: "a: 0 1 2 3",
		2: "a: 0 2 4 6, b: 1 3 5 7",
		3: "a: 0 3, b: 1 4, c: 2 5",
		4: "a: 0 4, b: 1 5, c: 2 6, d: 3 7",
		5: "a: 0 5, b: 1 6, c: 2 7, d: 3, e: 4",
		6: "a: 0 6, b: 1 7, c: 2 8, d: 3 9, e: 4, f: 5",
		8: "a: 0, b: 1, c: 2, d: 3, e: 4, f: 5, g: 6, h: 7",
		9: "a: 0, b: 1, c: 2, d: 3, e: 4, f: 5, g: 6, h: 7",
	} {
		var holders []Holder
		for i := range n {
			holders = append(holders, Holder{Name: string(rune('a' + i))})
		}
		placed, weak, err := Place(holders, 4, DefaultParity(n))
		if err != nil || len(weak) > 0 || Describe(placed) != want {
			t.Errorf("%d members: %s, want %s (weak %q, error %v)", n, Describe(placed), want, weak, err)
		}
	}
}

func TestPlacementMindsHostsAndZones(t *testing.T) {
	label := func(hosts, zones string) []Holder {
		var holders []Holder
		for i := range len(hosts) {
			h := Holder{Name: string(rune('a' + i)), Host: strings.TrimSpace(hosts[i : i+1])}
			if zones != "" {
				h.Zone = strings.TrimSpace(zones[i : i+1])
			}
			holders = append(holders, h)
		}
		return holders
	}
	for name, c := range map[string]struct {
		holders      []Holder
		parity       int
		hosts, zones int    // that may be lost
		weak         string // of what is said
	}{
		"two members on each host":  {label("112233", ""), 3, 1, 0, ""},
		"one big host":              {label("11112", ""), 2, 1, 0, ""},
		"one host":                  {label("111", ""), 1, 0, 0, "all members are in one host"},
		"too few on other hosts":    {label("1111111223", ""), 4, 2, 0, ""},
		"two zones":                 {label("123456", "xxxyyy"), 3, 3, 1, ""},
		"uneven zones":              {label("123456", "xyyyyy"), 3, 3, 1, ""},
		"some are not labelled":     {label("11  ", ""), 2, 1, 0, ""},
		"one zone, three hosts":     {label("123", "xxx"), 1, 1, 0, "all members are in one zone"},
		"hosts of one name":         {label("1111", "xxyy"), 2, 1, 1, ""},
		"a member alone":            {label("1", "x"), 0, 0, 0, ""},
		"nothing is to survive":     {label("1122", ""), 0, 0, 0, ""},
		"eight members, four hosts": {label("11223344", ""), 4, 2, 0, ""},
	} {
		placed, weak, err := Place(c.holders, 4, c.parity)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := Endure(placed, 4)
		if got.Members < c.parity || got.Hosts < c.hosts || got.Zones < c.zones {
			t.Errorf("%s: %s endures %+v", name, Describe(placed), got)
		}
		if said := strings.Join(weak, "; "); c.weak == "" && said != "" || !strings.Contains(said, c.weak) {
			t.Errorf("%s: it says %q, want %q", name, said, c.weak)
		}
	}
}

func TestImpossiblePlacementsAreRefused(t *testing.T) {
	many := make([]Holder, 200)
	for name, c := range map[string]struct {
		holders      []Holder
		data, parity int
		want         string
	}{
		"all members":     {many[:3], 4, 3, "3 of 3 members"},
		"nobody":          {nil, 4, 0, "0 of 0 members"},
		"no data":         {many[:3], 0, 1, "checkpoint.data is 0"},
		"too many pieces": {many, 4, 199, "more than the 256 pieces"},
		"a wild index":    {[]Holder{{Name: "a", Has: []int{256}}}, 4, 0, "a says that it has [256]"},
	} {
		if _, _, err := Place(c.holders, c.data, c.parity); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want %q", name, err, c.want)
		}
	}
}

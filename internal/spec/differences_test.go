package spec

import (
	"strings"
	"testing"
)

// What differs in a result is named with both values; what cannot show in it is not.
func TestDifferencesAreNamed(t *testing.T) {
	of := func(change func(r *Resolved)) *Resolved {
		r := &Resolved{Spec: Default("lift"), Samples: 9, Files: []File{{Role: "model/config.json", Path: "a"}, {Role: "train/0", Path: "b"}}}
		change(r)
		return r
	}
	one := of(func(*Resolved) {})
	for want, other := range map[string]*Resolved{
		"": of(func(r *Resolved) { r.Name, r.Members.Min, r.Checkpoint.Every, r.Files[0].Path = "x", 7, 3, "c" }),
		"method.rank is 16, there 8; optimizer.lr is 0.0002, there 0.1":          of(func(r *Resolved) { r.Method.Rank, r.Optimizer.LR = 8, 0.1 }),
		"model/config.json is another file":                                      of(func(r *Resolved) { r.Files[0].SHA256[3] = 1 }),
		"train/0 is not in the other":                                            of(func(r *Resolved) { r.Files = r.Files[:1] }),
		"train/1 is not in this one":                                             of(func(r *Resolved) { r.Files = append(r.Files, File{Role: "train/1"}) }),
		"class is \"\", there \"c\"; samples is 9, there 8; seed is 42, there 1": of(func(r *Resolved) { r.Samples, r.Seed, r.Class = 8, 1, "c" }),
	} {
		found, err := Differences(one, other)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(found, "; "); got != want {
			t.Errorf("differences are %q, want %q", got, want)
		}
		if same := one.Hash() == other.Hash(); same != (want == "") {
			t.Errorf("hashes are equal: %v, differences %q", same, want)
		}
	}
}

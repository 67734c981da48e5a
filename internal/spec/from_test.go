package spec

import (
	"strings"
	"testing"
)

// A State begins another run of the same model, method and seed with more steps; what differs otherwise is named with both values.
func TestARunBeginsWithTheStateOfAnother(t *testing.T) {
	dir := write(t, base(t, map[string]string{"more.jsonl": line + line}))
	first, err := Resolve(parse(t, small, "steps=10"), dir)
	if err != nil {
		t.Fatal(err)
	}
	state := File{SHA256: Sum{7}, Size: 9}
	for name, c := range map[string]struct {
		set  []string
		dir  string
		step uint64
		want string // empty: it begins
	}{
		"more steps, rate and data": {set: []string{"steps=20", "optimizer.lr=1e-3", "data.train=more.jsonl"}, step: 10},
		"no more steps":             {set: []string{"steps=10"}, step: 10, want: "is of step 10 and steps is 10"},
		"before the first step":     {set: []string{"steps=10"}, step: 0, want: "step 0"},
		"another rank":              {set: []string{"steps=20", "method.rank=3"}, step: 10, want: "method.rank is 3, there "},
		"another seed":              {set: []string{"steps=20", "seed=8"}, step: 10, want: "seed is 8, there 42"},
		"another model": {
			set: []string{"steps=20"}, step: 10, want: "model/config.json is another file",
			dir: write(t, base(t, map[string]string{"base/config.json": tinyConfig + "\n"})),
		},
	} {
		if c.dir == "" {
			c.dir = dir
		}
		r, err := Resolve(parse(t, small, c.set...), c.dir)
		if err != nil {
			t.Fatal(err)
		}
		hash := r.Hash()
		err = r.BeginFrom(first, c.step, state)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "optimizer") {
				t.Errorf("%s: %v, want it to say %q", name, err, c.want)
			}
			continue
		}
		if err != nil || r.After != 10 || r.Hash() == hash {
			t.Errorf("%s: %v, it begins after step %d", name, err, r.After)
		}
		again, err := FromJSON(marshal(t, r))
		if err != nil || again.Hash() != r.Hash() {
			t.Errorf("%s: does not survive its JSON: %v", name, err)
		}
		r.After = 0
		if _, err := FromJSON(marshal(t, r)); err == nil {
			t.Error("a State without its step is not noticed")
		}
	}
}

package control

import (
	"fmt"
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/view"
)

// Every step is listed exactly once, whatever became of the views (protocol.md I4: with it and the plan, audit proves that
// every sample was used exactly once per epoch).
func TestAuditListsEveryStepOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		views  int
		firsts string // VIEW@STEP …: the first step of a view
		last   uint64
		want   string // VIEW:FIRST-LAST …
	}{
		{"no step", 1, "", 0, ""},
		{"one view", 1, "1@1", 9, "1:1-9"},
		{"two", 2, "1@1 2@4", 9, "1:1-3 2:4-9"},
		{"one that was torn down at once", 3, "1@1 3@4", 9, "1:1-3 3:4-9"},
		{"the last was torn down at once", 3, "1@1 2@4", 9, "1:1-3 2:4-9"},
		{"a single step", 3, "1@1 2@4 3@5", 5, "1:1-3 2:4-4 3:5-5"},
		{"a step that only a lost member knew is made again", 3, "1@1 2@4 3@4", 9, "1:1-3 3:4-9"},
		{"begins again", 4, "1@1 2@4 3@1 4@3", 9, "3:1-2 4:3-9"},
		{"goes on from an earlier step", 4, "1@1 2@6 3@9 4@7", 9, "1:1-5 2:6-6 4:7-9"},
	} {
		e := &entry{}
		for n := range c.views {
			e.views = append(e.views, command{View: &view.View{Number: uint64(n + 1)}, Why: fmt.Sprint("why ", n+1)})
		}
		for _, f := range strings.Fields(c.firsts) {
			var cmd command
			if _, err := fmt.Sscanf(f, "%d@%d", &cmd.Number, &cmd.Step); err != nil {
				t.Fatal(err)
			}
			e.steps = append(e.steps, cmd)
		}
		var got []string
		next := uint64(1)
		for _, v := range audit(e, c.last) {
			got = append(got, fmt.Sprintf("%d:%d-%d", v.View.Number, v.First, v.Last))
			if v.First != next || v.Last < v.First || v.Why != fmt.Sprint("why ", v.View.Number) {
				t.Errorf("%s: after step %d comes %v", c.name, next-1, v)
			}
			next = v.Last + 1
		}
		if text := strings.Join(got, " "); text != c.want || c.want != "" && next != c.last+1 {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
	}
	if audit(nil, 3) != nil {
		t.Error("an unknown run has views")
	}
}

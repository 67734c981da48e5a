package train

import (
	"fmt"
	"testing"
	"time"
)

// A member keeps the last record, and more of them for those who need them: for a reader what it has not read, for a joiner what
// came after the copy of State; within the budget, and as long as they are asked for. Who stops reading to take its seat comes
// there two steps later at the most, and finds what it lacks, however long the steps are.
func TestRecordsAreKeptForThoseWhoNeedThem(t *testing.T) {
	const size = 40 // of a record
	start := time.Unix(1e9, 0)
	for name, c := range map[string]struct {
		budget int64
		step   time.Duration  // that a step takes
		copy   uint64         // there is one of this step; 0: none
		reads  map[int]uint64 // after these steps the records before this one were read
		want   string         // the records after each step from 3 on
	}{
		"nobody reads":                  {1 << 20, time.Second, 0, nil, "[3] [4] [5] [6] [7]"},
		"somebody follows":              {1 << 20, time.Second, 0, map[int]uint64{2: 3, 3: 4, 4: 5, 5: 6, 6: 7}, "[3] [4] [5] [6] [7]"},
		"somebody is behind":            {1 << 20, time.Second, 0, map[int]uint64{2: 2, 4: 3, 5: 6}, "[2 3] [2 3 4] [3 4 5] [6] [6 7]"},
		"somebody stops reading":        {1 << 20, 20 * time.Second, 0, map[int]uint64{2: 3}, "[3] [3 4] [5] [6] [7]"},
		"it stops, and steps are short": {1 << 20, 10 * time.Second, 0, map[int]uint64{2: 3}, "[3] [3 4] [3 4 5] [6] [7]"},
		"it stops, and steps are long":  {1 << 20, time.Hour, 0, map[int]uint64{2: 3}, "[3] [3 4] [5] [6] [7]"},
		"a joiner has a copy":           {1 << 20, time.Second, 2, nil, "[3] [3 4] [3 4 5] [3 4 5 6] [3 4 5 6 7]"},
		"it has read some":              {1 << 20, time.Second, 2, map[int]uint64{4: 4}, "[3] [3 4] [3 4 5] [3 4 5 6] [3 4 5 6 7]"},
		"no memory":                     {3*size - 1, time.Second, 0, map[int]uint64{2: 2}, "[2 3] [4] [5] [6] [7]"},
	} {
		now, k := start, newKeeper(0, c.budget)
		var r *reader
		var got []string
		for s := uint64(1); s <= 7; s++ {
			k.add(&record{step: s, sum: make([]int32, size/4)}, now)
			if s == c.copy {
				k.put(&stateCopy{step: s}, now)
			}
			if s >= 3 {
				var kept []uint64
				for _, r := range k.records {
					kept = append(kept, r.step)
				}
				got = append(got, fmt.Sprint(kept))
			}
			if next := c.reads[int(s)]; next > 0 && r == nil {
				r = k.follow(next, now)
			} else if next > 0 {
				k.goesOn(r, next, now)
			}
			now = now.Add(c.step)
		}
		if text := fmt.Sprint(got); text != "["+c.want+"]" {
			t.Errorf("%s: keeps %s, want [%s]", name, text, c.want)
		}
	}
}

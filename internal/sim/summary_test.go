package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/torctrain/torc/internal/pb"
)

// summary counts what happened in many schedules.
type summary struct {
	mu       sync.Mutex // guards what follows
	runs     int
	bad      int
	tied     int
	astray   int
	happened map[kind]int
	pauses   map[kind][]time.Duration
	virtual  time.Duration
}

func (s *summary) add(o *outcome, wrongs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.happened == nil {
		s.happened, s.pauses = map[kind]int{}, map[kind][]time.Duration{}
	}
	s.runs++
	s.virtual += o.virtual
	if len(wrongs) > 0 {
		s.bad++
	}
	if isTie(o) {
		s.tied++
	}
	if o.astray {
		s.astray++
	}
	for k, list := range o.pauses {
		s.pauses[k] = append(s.pauses[k], list...)
	}
	for _, k := range o.faults {
		s.happened[k]++
	}
}

func (s *summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d schedules, %d ended as they should, %v of the bubble's time each; bits that flip ended %d, and went unseen in %d\n",
		s.runs, s.runs-s.bad, (s.virtual / time.Duration(max(1, s.runs))).Round(time.Millisecond), s.tied, s.astray)
	for _, k := range slices.Sorted(maps.Keys(s.happened)) {
		fmt.Fprintf(&b, "  %-12s %6d", k, s.happened[k])
		if list := slices.Sorted(slices.Values(s.pauses[k])); len(list) > 0 {
			fmt.Fprintf(&b, "   next new step after %6.3f s (median), %6.3f s (99 of 100)", list[len(list)/2].Seconds(), list[len(list)*99/100].Seconds())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// isTie says whether a run ended because a bit flipped and nobody could tell whose State was right.
func isTie(o *outcome) bool {
	why := o.info.GetWhy()
	return slices.Contains(o.faults, flip) && o.info.GetState() == pb.RunState_RUN_FAILED &&
		(strings.Contains(why, "no majority tells") || strings.Contains(why, "members disagree"))
}

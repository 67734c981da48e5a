package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// summary counts what happened in many schedules.
type summary struct {
	mu       sync.Mutex // guards what follows
	runs     int
	bad      int
	gaps     int
	unkept   int
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
	if o.unkept {
		s.unkept++
	}
	if len(o.gaps) > 0 {
		s.gaps++
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
	fmt.Fprintf(&b, "%d schedules, %d survived, %v of the bubble's time each; in %d the journal does not say who made some steps,\nin %d the last State was not fetched because its holders could not be reached\n",
		s.runs, s.runs-s.bad, (s.virtual / time.Duration(max(1, s.runs))).Round(time.Millisecond), s.gaps, s.unkept)
	for _, k := range slices.Sorted(maps.Keys(s.happened)) {
		fmt.Fprintf(&b, "  %-12s %6d", k, s.happened[k])
		if list := slices.Sorted(slices.Values(s.pauses[k])); len(list) > 0 {
			fmt.Fprintf(&b, "   next new step after %6.3f s (median), %6.3f s (99 of 100)", list[len(list)/2].Seconds(), list[len(list)*99/100].Seconds())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// flippedAlone says whether a bit flipped in a run on which nobody could notice: there was one member.
func flippedAlone(o *outcome) bool {
	return slices.Contains(o.faults, flip) && len(o.info.GetView().GetMembers()) < 2
}

package allreduce

import "time"

// How long a silence counts as a loss is learned for each peer, between HopTimeout and most·HopTimeout. Two things make it
// longer than HopTimeout.
//
// Gaps between frames that come close to HopTimeout do so beforehand, by Jacobson's estimate (SIGCOMM 1988), mean + 4·deviation,
// of the longest gap in each window: of windows and not of frames, since a thousand frames of a sum come in less time than passes
// between two progress frames. The deviation counts upwards only, so that a link that becomes quicker is not given more
// time, and falls slowly, because silences that matter are rare.
//
// A peer that was taken for lost and comes to the next ring of the same view was not lost. Such a mistake doubles the time for
// a while: the gap was cut short and could not be measured.

const (
	// most bounds what is learned, in HopTimeouts: as far as mostMistakes double one.
	most         = 1 << mostMistakes
	mostMistakes = 2
	// forgiven is how long after the last mistake one of them no longer counts.
	forgiven = 5 * time.Minute
	// meanGain and deviationGain are the weights of a new gap, Jacobson's own; fallGain is that of one that deviates by less
	// than the last: with a window per second, half of a deviation is forgotten in 22 s.
	meanGain, deviationGain, fallGain = 1. / 8, 1. / 4, 1. / 32
)

// pace is what one member knows of how regularly frames of another come. The zero value knows nothing.
type pace struct {
	mean, deviation float64 // of the longest gap in a window, and upwards from that, in seconds

	mistakes int       // times that the peer was taken for lost and was not
	mistaken time.Time // when last
	accused  uint64    // the view in which it was taken for lost; 0 after it was met again
}

// learn enters the longest gap of a window, hop being the HopTimeout.
func (p *pace) learn(gap, hop time.Duration) {
	x := min(gap, most*hop).Seconds() // more cannot be made use of
	above := max(0, x-p.mean)
	p.mean += (x - p.mean) * meanGain
	if above > p.deviation {
		p.deviation += (above - p.deviation) * deviationGain
	} else {
		p.deviation += (above - p.deviation) * fallGain
	}
}

// accuse notes that the peer is taken for lost in a view, because nothing was heard from it.
func (p *pace) accuse(view uint64) {
	p.accused = view
}

// meet notes that there is a link to the peer in a view. Who was lost is in no such view any more: if it was accused in
// this one, that was a mistake.
func (p *pace) meet(view uint64, now time.Time) {
	if p.accused != 0 && p.accused == view {
		p.mistakes, p.mistaken = min(p.standing(now)+1, mostMistakes), now
	}
	p.accused = 0
}

// standing counts the mistakes that are not forgiven yet.
func (p *pace) standing(now time.Time) int {
	return max(0, p.mistakes-int(now.Sub(p.mistaken)/forgiven))
}

// timeout returns how long the peer may be silent, hop being the HopTimeout.
func (p *pace) timeout(now time.Time, hop time.Duration) time.Duration {
	expected := time.Duration((p.mean + 4*p.deviation) * float64(time.Second))
	return max(hop<<p.standing(now), min(expected, most*hop))
}

// lull finds the longest gap between frames of each window. It begins with from, the start of the first.
type lull struct {
	from, last time.Time
	longest    time.Duration
}

// heard notes a frame. When that completes a window it returns the longest gap in it.
func (l *lull) heard(now time.Time, window time.Duration) (longest time.Duration, complete bool) {
	l.longest = max(l.longest, now.Sub(l.last))
	l.last = now
	if now.Sub(l.from) < window {
		return 0, false
	}
	longest = l.longest
	l.from, l.longest = now, 0
	return longest, true
}

// deaf says that until now nobody listened: that is no gap.
func (l *lull) deaf(now time.Time) { l.last = now }

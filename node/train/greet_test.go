package train

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/torctrain/torc/allreduce"
)

// Which State counts where members at one place have different ones: the majority's. Members that have just fetched theirs
// make no majority, but one member alone does not prevail against them.
func TestTheMajorityOfWitnessesTellsWhichStateIsRight(t *testing.T) {
	for _, c := range []struct {
		hellos string // STEP:STATE of each rank, with + where it is a copy
		want   string // ranks that diverged; or tie
	}{
		{"5:a", "[]"},
		{"5:a 5:a", "[]"},
		{"5:a 5:b", "tie"},
		{"5:a 5:b 5:a", "[1]"},
		{"5:b 5:a 5:a", "[0]"},
		{"5:a 5:b 5:c", "tie"},
		{"5:a 5:b 5:a 5:b", "tie"},
		{"5:a 5:b 5:a 5:b 5:a", "[1 3]"},
		{"5:a 4:b", "[]"}, // who is behind has another one by right
		{"5:a 4:b 4:b", "[]"},
		{"5:a 5:a+", "[]"},
		{"5:a+", "[]"},
		{"5:a+ 5:a+", "[]"},
		{"5:a+ 5:b+", "tie"},
		{"5:a+ 5:a+ 5:b+", "[2]"},
		{"5:a 5:b+", "tie"},            // the copy was made before the member went astray, or went astray itself
		{"5:a 5:a 5:b+", "[2]"},        // of a member that was wrong
		{"5:a 5:a 5:b+ 5:b+", "[2 3]"}, // the same
		{"5:a 5:b 5:b+", "tie"},        // a copy of one of two is no witness
		{"5:a 5:a 5:b 5:b+", "[2 3]"},
		{"5:a 4:b 5:b+", "tie"},
	} {
		var hellos []hello
		for _, h := range strings.Fields(c.hellos) {
			step, state, _ := strings.Cut(h, ":")
			own, copied := strings.CutSuffix(state, "+")
			hellos = append(hellos, hello{place: place{Step: uint64(step[0] - '0'), Stage: computing}, State: uint64(own[0]), Copied: copied, Lanes: []uint64{0}})
		}
		a, err := agree(hellos, make([]int, 4))
		got := "tie"
		if err == nil {
			got = fmt.Sprint(a.diverged)
		} else if !errors.Is(err, ErrTie) {
			t.Errorf("%s: %v", c.hellos, err)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.hellos, got, c.want)
		}
	}
}

// Hellos arrive as they were sent.
func TestHellosKeepWhatTheySay(t *testing.T) {
	for _, h := range []hello{
		{place: place{Step: 7, Stage: selecting, Try: 2}, State: 0x1234, Oldest: 5, NonFinite: true, Lanes: []uint64{3, 1}},
		{place: place{Step: 8, Stage: computing}, State: 1, Oldest: 8, Copied: true, Lanes: []uint64{0, 0}},
	} {
		b := h.encode()
		got, err := decodeHello(b, 70)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(h) {
			t.Errorf("got %+v, %v, want %+v", got, err, h)
		}
		b[9] |= 4
		if _, err := decodeHello(b, 70); err == nil {
			t.Error("took a hello with a flag that does not exist")
		}
	}
}

// protocol.md I1: a member that fetched its State from one that had gone astray does not outvote the one that is right.
func TestAJoinerWithAWrongCopyDoesNotOutvote(t *testing.T) {
	c := liftToy()
	p := c.troupe(t)
	for _, err := range p.act(deal(2, c.lanes), func(net *allreduce.Net) { net.ResetAfter(1, 12) }, "a", "b") {
		if !ringError(err) {
			t.Fatal(err)
		}
	}
	p.members["a"].theta[3] += 1
	p.joins("c", "a")
	for rank, err := range p.act(deal(3, c.lanes), nil, "a", "b", "c") {
		if !errors.Is(err, ErrTie) {
			t.Errorf("rank %d got %v, want a tie", rank, err)
		}
	}
}

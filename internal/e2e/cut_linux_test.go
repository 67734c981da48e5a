package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// four are the nodes of the tests with faulty networks.
var four = []string{"ada", "bob", "cleo", "dora"}

// faultyRun is the demo with fewer lanes, over links so slow that they, and not the processors, make most of a step: so it
// lasts long enough for what happens to the network, on any machine.
func faultyRun(steps int) []string {
	return []string{"batch.lanes=8", fmt.Sprintf("steps=%d", steps), "method.refresh=10"}
}

const faultyLink = "10mbit"

// startFaulty begins such a run on four nodes and waits for its first step.
func startFaulty(t *testing.T, sets []string) (*crew, *process) {
	t.Helper()
	c := newCrew(t, four)
	for _, n := range four {
		c.shape(n, faultyLink)
	}
	launch := c.launch(sets...)
	launch.await(t, `^step \d+/\d+ .* 4 members`)
	return c, launch
}

// protocol.md §3, "a machine vanishes": a host that is cut off from everything is missed. When the network is whole again, its
// node takes part again by itself. The run may be over by then: so it is done up to three times.
func TestAHostThatIsCutOffIsMissedAndComesBack(t *testing.T) {
	for range 3 {
		if cutOff(t) {
			return
		}
	}
	t.Error("three runs ended before the node was back")
}

// cutOff says whether the node came back before the end of the run.
func cutOff(t *testing.T) (back bool) {
	t.Helper()
	sets := faultyRun(40)
	c, launch := startFaulty(t, sets)
	began := time.Now()
	c.cut("dora")
	launch.await(t, `view 2: .*lost member dora`)
	launch.await(t, `^step \d+/\d+ .* 3 members`)
	t.Logf("a step without the host after %v", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	c.heal("dora")
	digest := launch.await(t, `joins: dora|digest ([0-9a-f]{64})`)[1]
	if back = digest == ""; back {
		t.Logf("view with the host again after %v", time.Since(began).Round(time.Millisecond))
		digest = ended(t, launch)
	}
	if want := undisturbed(t, sets...); digest != want {
		t.Errorf("digest is %s, undisturbed %s", digest, want)
	}
	return back
}

// protocol.md §3, "two members cannot talk, both live": what one sends does not reach the other, whose own messages arrive. The
// run goes on without this link.
func TestAOneWayCutIsGoneAround(t *testing.T) {
	sets := faultyRun(15) // no step is made over the link that is cut
	c, launch := startFaulty(t, sets)
	began := time.Now()
	c.mute("ada", "bob")
	view := launch.await(t, `view \d+: .*(?:ada and bob cannot talk to each other|lost member ada|lost member bob).*`)[0]
	launch.await(t, `^step \d+/\d+ `)
	t.Logf("a step after %v in %s", time.Since(began).Round(time.Millisecond), view)
	if got, want := ended(t, launch), undisturbed(t, sets...); got != want {
		t.Errorf("digest is %s, undisturbed %s", got, want)
	}
}

// protocol.md §3, "the coordinator hears nobody": the steps need no coordinator. One that is cut off until it takes all of
// them for lost removes nobody, neither then nor when the network is whole again.
func TestACoordinatorThatIsCutOffRemovesNobody(t *testing.T) {
	undisturbedView(t, func() string {
		sets := faultyRun(25) // and the members may be at its end before
		c, launch := startFaulty(t, sets)
		c.cut(hubName)
		_, said := launch.upTo(t, `all members are lost`)
		c.heal(hubName)
		return laterViews(said) + finish(t, launch, sets)
	})
}

// Links of a gigabit, and then a host whose link has a hundredth of that, so that one sum over it takes longer than
// reduce.hop_timeout: it is slow, and not lost.
func TestSlowLinksLoseNobody(t *testing.T) {
	sets := []string{"batch.lanes=8", "steps=2", "method.rank=60"} // 835,584 trained values: sums go around the ring
	undisturbedView(t, func() string {
		c := newCrew(t, four)
		for _, n := range four {
			c.shape(n, "1gbit")
		}
		views := finish(t, c.launch(sets...), sets)
		c.shape("dora", "8mbit")
		return views + finish(t, c.launch(sets...), sets)
	})
}

var laterView = regexp.MustCompile(`(?m)^.*view (?:[2-9]|\d\d+): .*\n`)

// laterViews are the lines about views after the first.
func laterViews(said string) string { return strings.Join(laterView.FindAllString(said, -1), "") }

// finish waits for the end of a run, compares its digest, and returns what was said of views after the first.
func finish(t *testing.T, launch *process, sets []string) string {
	t.Helper()
	began := time.Now()
	code, said := launch.exit(t)
	digest := regexp.MustCompile(`digest ([0-9a-f]{64})`).FindStringSubmatch(said)
	if code != 0 || digest == nil {
		t.Fatalf("launch exited with %d:\n%s", code, said)
	}
	if want := undisturbed(t, sets...); digest[1] != want {
		t.Errorf("digest is %s, undisturbed %s", digest[1], want)
	}
	sent := regexp.MustCompile(`\S+ \S+ sent per member`).FindString(said)
	t.Logf("%s in %v, with launch and files", sent, time.Since(began).Round(time.Millisecond))
	return laterViews(said)
}

// undisturbedView does what must not change a view. On a starved machine one may change all the same, and so it is done up to
// three times: what the network alone brings about, it brings about each time.
func undisturbedView(t *testing.T, do func() (views string)) {
	t.Helper()
	const times = 3
	for i := range times {
		views := do()
		if views == "" || t.Failed() {
			return
		}
		t.Logf("views changed:\n%s", views)
		if i == times-1 {
			t.Errorf("views changed each of %d times", times)
		}
	}
}

package train

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// Ages are part of State: who is resumed from it at any step ends like those who made all of them, and State without ages is refused.
func TestAgesSurviveInState(t *testing.T) {
	c := agedToy()
	alone := c.run(t, 1, make([]int, c.lanes))[0]
	if o := liftToy().run(t, 1, make([]int, c.lanes))[0]; o.digest == alone.digest {
		t.Fatal("corrections by age and by step give one digest")
	}
	p := c.troupe(t)
	name := "a"
	p.member(name)
	for step := 1; ; step++ {
		p.members[name].Yield()
		err := p.act(make([]int, c.lanes), nil, name)[0]
		if err == nil {
			break
		}
		if !errors.Is(err, ErrYield) {
			t.Fatal(err)
		}
		ages := p.members[name].State().Ages
		if youngest, oldest := slices.Min(ages), slices.Max(ages); int(oldest) != step || step >= 3 && youngest == oldest {
			t.Errorf("after step %d ages are %d to %d", step, youngest, oldest)
		}
		next := fmt.Sprint("after ", step)
		p.joins(next, name)
		name = next
	}
	if got := p.digest(name); got != alone.digest[:12] {
		t.Errorf("resumed after every step the digest is %s, undisturbed %.12s", got, alone.digest)
	}
	s := p.members[name].State()
	s.Ages = nil
	if err := p.member("b").restore(s); err == nil {
		t.Error("a State without ages is taken")
	}
}

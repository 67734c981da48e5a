package methods

import (
	"fmt"

	"github.com/torctrain/torc/model"
)

// probed is s2ft whose channels are chosen by what a slice of the data shows. Its sets are the channels of each tensor. Until
// they are adopted nothing is trained, and θ is zero.
type probed struct {
	*s2ft
	probe    *channelProbe
	selected []Selected
	axes     []int // channels of each tensor's weight
	units    []int // and how many of them are chosen together
	sets     [][]uint32
}

var (
	_ Prober = (*probed)(nil)
	_ Sliced = (*probed)(nil)
)

func newProbed(c Config, l layout, params []model.ParamShape) (*probed, error) {
	f := &probed{s2ft: newS2FT(l, params, make([][]int32, len(params)))}
	var err error
	if f.probe, err = newChannelProbe(c, l, params); err != nil {
		return nil, err
	}
	for _, t := range l.tensors {
		p := params[t.Weight]
		f.axes, f.units = append(f.axes, axis(p)), append(f.units, unit(p))
		f.selected = append(f.selected, Selected{Weight: t.Weight, Count: t.Len * axis(p) / (p.Rows * p.Cols)})
	}
	return f, nil
}

func (f *probed) Due(step uint64) bool { return step == 1 }
func (f *probed) Selected() []Selected { return f.selected }
func (f *probed) Probe() Probe         { return f.probe }
func (f *probed) Sets() [][]uint32     { return f.sets }
func (f *probed) Retired() []Sparse    { return nil }

func (f *probed) Adopt(sets [][]uint32, w *model.Weights, theta, m, v []float32) error {
	f.mustLen("Adopt", len(theta))
	f.mustLen("Adopt", len(m))
	f.mustLen("Adopt", len(v))
	if err := f.take(sets); err != nil {
		return fmt.Errorf("adopt channels: %w", err)
	}
	copy(theta, f.Start(w))
	clear(m)
	clear(v)
	return nil
}

func (f *probed) Restore(sets [][]uint32, retired []Sparse, _ *model.Weights) error {
	if len(retired) > 0 {
		return fmt.Errorf("restore channels: %d lists of retired coordinates, s2ft retires none", len(retired))
	}
	if len(sets) == 0 { // a state from before the choice
		f.sets, f.channels = nil, make([][]int32, len(f.tensors))
		return nil
	}
	if err := f.take(sets); err != nil {
		return fmt.Errorf("restore channels: %w", err)
	}
	return nil
}

// take makes sets the channels, if they can be.
func (f *probed) take(sets [][]uint32) error {
	if len(sets) != len(f.tensors) {
		return fmt.Errorf("%d sets, want %d, one for each trained weight", len(sets), len(f.tensors))
	}
	all := make([][]int32, len(sets))
	for i, set := range sets {
		if err := checkSet(set, f.selected[i].Count, f.axes[i]); err != nil {
			return fmt.Errorf("channels of %s: %w", f.tensors[i].Name, err)
		}
		for j, c := range set {
			if in := j % f.units[i]; int(c)%f.units[i] != in || c != set[j-in]+uint32(in) {
				return fmt.Errorf("channels of %s: %d is not part of a whole head of %d", f.tensors[i].Name, c, f.units[i])
			}
			all[i] = append(all[i], int32(c))
		}
	}
	f.sets, f.channels = sets, all
	return nil
}

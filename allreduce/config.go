package allreduce

import (
	"fmt"
	"time"
)

// Config says how gradients are summed. The zero value is not valid: start from Default.
type Config struct {
	// Bits is where the largest sum of a tensor is steered to: L·M·2^e ≈ 2^Bits. Higher keeps more of each gradient and
	// leaves less room for it to grow: at Bits a gradient may grow 2^(31−Bits)-fold in one step before that step is
	// tried again. Default 27 (16-fold); 12 to 30. Part of the result.
	Bits int `yaml:"bits" json:"bits"`
	// Pack stores the values of a frame in as many bits as they need. The sum is the same either way. Default true;
	// turn it off where the network is faster than the processor (loopback, 100 Gbit/s).
	Pack bool `yaml:"pack" json:"pack"`
	// OnNonFinite says what a gradient with NaN or Inf does after it came up a second time: "stop" ends the run naming
	// the lanes, "skip" leaves the step out on all members alike. Default "stop". Part of the result.
	OnNonFinite string `yaml:"on_nonfinite" json:"on_nonfinite"`
	// HopTimeout is how long a neighbour may be silent before it is reported as lost, at the least: on a link that has
	// shown to be slow or irregular it may be so for longer, up to four times this (see Pace). Every member sends a
	// progress frame each 250 ms (more often under a HopTimeout below 1 s), however long its lane takes, so this need
	// not cover the compute. Default 2s; at least 100ms.
	HopTimeout time.Duration `yaml:"hop_timeout" json:"hop_timeout"`

	// FrameBytes is the largest payload of one frame, before packing. Default 512 KiB; 1 KiB to 1 MiB, a multiple of 256.
	// Small sums use smaller frames, so that hops overlap.
	FrameBytes int `yaml:"-" json:"-"`
	// DirectBytes is the largest vector that is exchanged directly, everyone to everyone in one round, instead of
	// going round the ring. Default 256 KiB: there (n−1)·bytes at 1 GB/s costs what 2(n−1) hops of about 0.1 ms cost.
	// At most 1 MiB; 0 means never.
	DirectBytes int `yaml:"-" json:"-"`
}

// Default returns the configuration used where a spec says nothing.
func Default() Config {
	return Config{
		Bits:        27,
		Pack:        true,
		OnNonFinite: "stop",
		HopTimeout:  2 * time.Second,
		FrameBytes:  512 << 10,
		DirectBytes: 256 << 10,
	}
}

// Validate reports the first field out of range.
func (c Config) Validate() error {
	switch {
	case c.Bits < 12 || c.Bits > 30:
		return fmt.Errorf("reduce.bits is %d: use 12 to 30", c.Bits)
	case c.OnNonFinite != "stop" && c.OnNonFinite != "skip":
		return fmt.Errorf("reduce.on_nonfinite is %q: use stop or skip", c.OnNonFinite)
	case c.HopTimeout < 100*time.Millisecond:
		return fmt.Errorf("reduce.hop_timeout is %v: use at least 100ms", c.HopTimeout)
	case c.FrameBytes < 1<<10 || c.FrameBytes > 1<<20 || c.FrameBytes%(4*group) != 0:
		return fmt.Errorf("frame bytes are %d: use 1 KiB to 1 MiB in multiples of %d", c.FrameBytes, 4*group)
	case c.DirectBytes < 0 || c.DirectBytes > 1<<20:
		return fmt.Errorf("direct bytes are %d: use 0 to 1 MiB", c.DirectBytes)
	}
	return nil
}

// progressEvery is how often an idle link carries a progress frame.
func (c Config) progressEvery() time.Duration { return min(250*time.Millisecond, c.HopTimeout/4) }

package train

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/methods"
)

// BenchmarkCheckpoint takes checkpoints of a state as large as that of LIFT with rank 16 on a model of 135M parameters, on one
// of three members, 4+2. stall-ms is how long a step is held up, worst-ms the longest, and the same with cpu in their names in
// processor time, which other work on the machine does not lengthen; save-ms goes on beside the steps.
func BenchmarkCheckpoint(b *testing.B) {
	const k = 480 * 10176
	st := &checkpoints.State{Spec: [32]byte{1}, Theta: make([]float32, k), M: make([]float32, k), V: make([]float32, k), Sets: make([][]uint32, 210), Retired: make([]methods.Sparse, 210)}
	for i := range k {
		st.Theta[i] = float32(i*2654435761%1000003) * 1e-7
		st.M[i], st.V[i] = st.Theta[i]/3, st.Theta[i]*st.Theta[i]
		set := &st.Sets[i%210]
		*set = append(*set, uint32(13*(i/210)))
	}
	s := newSaver(&Config{Home: b.TempDir(), Disk: checkpoints.Disk{}, Node: view.NodeID{Name: "ada"}}, "r", st.Spec, checkpoints.Default(), slog.New(slog.DiscardHandler), func() {})
	ctx, cancel := context.WithCancel(b.Context())
	var serving sync.WaitGroup
	serving.Go(func() { s.serve(ctx) })
	defer serving.Wait()
	defer cancel()
	s.reserve(st) // as when a run begins
	s.settle(ctx)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var stall, worst, cpu, worstCPU, save time.Duration
	for b.Loop() {
		st.Step++
		began, busy := time.Now(), threadTime(b)
		s.take(ctx, st, Totals{}, []int{0, 3})
		took, busy := time.Since(began), threadTime(b)-busy
		stall, worst = stall+took, max(worst, took)
		cpu, worstCPU = cpu+busy, max(worstCPU, busy)
		s.settle(ctx)
		save += time.Since(began) - took
	}
	n := float64(b.N)
	b.ReportMetric(stall.Seconds()*1e3/n, "stall-ms")
	b.ReportMetric(worst.Seconds()*1e3, "worst-ms")
	b.ReportMetric(cpu.Seconds()*1e3/n, "stall-cpu-ms")
	b.ReportMetric(worstCPU.Seconds()*1e3, "worst-cpu-ms")
	b.ReportMetric(save.Seconds()*1e3/n, "save-ms")
}

// threadTime is the processor time that this thread has had.
func threadTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

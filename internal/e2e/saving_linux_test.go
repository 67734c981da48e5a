package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Checkpoints are saved without the network: a run that takes one after each step sends no more, by the counters of its hosts'
// interfaces, than one that takes none, but for less than half of what lies on the disks afterwards: a
// step may be tried again.
func TestSavingSendsNothing(t *testing.T) {
	names := []string{"ada", "bob", "cleo"}
	sent := func(every string) (network, disk int64) {
		c := newCrew(t, names)
		count := func() (n int64) {
			for _, name := range names {
				_, line, _ := strings.Cut(c.hosts[name].do("cat", "/proc/net/dev"), nic+":")
				fields := strings.Fields(line) // eight of what was received, then bytes sent
				if len(fields) < 9 {
					t.Fatalf("%s has no interface %s", name, nic)
				}
				bytes, err := strconv.ParseInt(fields[8], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				n += bytes
			}
			return n
		}
		before := count()
		ended(t, c.launch("steps=12", "batch.lanes=3", "optimizer.warmup=0", "checkpoint.keep=100", "checkpoint.every="+every))
		network = count() - before
		for _, name := range names {
			pieces, err := filepath.Glob(filepath.Join(c.hosts[name].home, "runs", "*", "checkpoints", name, "*.piece"))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pieces {
				info, err := os.Stat(p)
				if err != nil {
					t.Fatal(err)
				}
				disk += info.Size()
			}
		}
		return network, disk
	}
	without, none := sent("0")
	with, disk := sent("1")
	t.Logf("without checkpoints %d bytes were sent, with them %d, and %d lie on disks", without, with, disk)
	if none != 0 || disk < 4<<20 || without < 1<<20 {
		t.Fatalf("%d bytes of pieces without checkpoints, %d with them: this compares nothing", none, disk)
	}
	if with-without > disk/2 {
		t.Errorf("saving %d bytes of pieces sent %d bytes", disk, with-without)
	}
}

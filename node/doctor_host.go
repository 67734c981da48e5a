package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/torctrain/torc/model/cpu"
)

// host is this machine as its files tell.
type host struct{ root fs.FS }

// line is the first line of a file, or nothing.
func (h host) line(name string) string {
	b, err := fs.ReadFile(h.root, name)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(first)
}

func (h host) cores(threads int) check {
	return judgeCores(runtime.NumCPU(), threads, h.allowedCores())
}

// allowedCores is what the control group lets its processes use, or +Inf.
func (h host) allowedCores() float64 {
	quota, period := h.line("sys/fs/cgroup/cpu.max"), ""
	if quota != "" {
		quota, period, _ = strings.Cut(quota, " ")
	} else {
		quota, period = h.line("sys/fs/cgroup/cpu/cpu.cfs_quota_us"), h.line("sys/fs/cgroup/cpu/cpu.cfs_period_us")
	}
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 != nil || err2 != nil || q <= 0 || p <= 0 {
		return math.Inf(1)
	}
	return q / p
}

func (h host) tier(asked string) check {
	kernels, err := cpu.New(1, cpu.Tier(asked))
	if err != nil {
		return check{Name: "processor", State: bad, Found: err.Error(), Advice: "leave out the setting cpu, or the variable TORC_CPU"}
	}
	defer kernels.Close()
	return judgeTier(string(kernels.Tier()), runtime.GOARCH)
}

func (h host) memory() check {
	total, free := h.meminfo()
	for _, limit := range []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if n, err := strconv.ParseUint(h.line(limit), 10, 64); err == nil && n < total {
			total, free = n, min(free, n)
		}
	}
	return judgeMemory(total, free)
}

// meminfo is the memory of the machine and what is free of it.
func (h host) meminfo() (total, free uint64) {
	b, err := fs.ReadFile(h.root, "proc/meminfo")
	if err != nil {
		return 0, 0
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		n, err := strconv.ParseUint(f[1], 10, 54)
		if err != nil {
			continue
		}
		switch f[0] {
		case "MemTotal:":
			total = n << 10
		case "MemAvailable:":
			free = n << 10
		}
	}
	return total, free
}

func (h host) clock() check { return judgeClock(clockKept()) }

// gpu tells which GPUs the driver shows; torc uses those it has kernels for.
func (h host) gpu() check {
	files, _ := fs.Glob(h.root, "proc/driver/nvidia/gpus/*/information") // the pattern is well formed
	nodes, _ := fs.Glob(h.root, "dev/nvidia[0-9]*")
	var models []string
	for _, name := range files {
		b, err := fs.ReadFile(h.root, name)
		if err != nil {
			continue
		}
		for _, l := range strings.Split(string(b), "\n") {
			if model, ok := strings.CutPrefix(l, "Model:"); ok {
				models = append(models, strings.TrimSpace(model))
			}
		}
	}
	c := check{Name: "gpu", State: good, Value: float64(len(models))}
	switch {
	case len(models) == 0 && len(nodes) == 0:
		c.Found = "none, trains on the processor"
	case len(models) > 0 && len(nodes) == 0:
		c.State, c.Found = so, strings.Join(models, ", ")+", but no device to open"
		c.Advice = "let the driver make its devices (nvidia-modprobe -u -c=0); in a container, ask for the GPU (runtime nvidia, limit nvidia.com/gpu)"
	case !h.has("libcuda.so.1"):
		c.State, c.Found = so, fmt.Sprintf("%d devices, but no libcuda.so.1", len(nodes))
		c.Advice = "install the driver's user part (libcuda1, nvidia-driver); in a container, use the runtime nvidia, which brings it along"
	default:
		c.Found = strings.Join(models, ", ")
		if len(models) == 0 {
			c.Found = fmt.Sprintf("%d devices", len(nodes))
		}
		if driver := h.line("proc/driver/nvidia/version"); driver != "" {
			c.Found += "; " + driver
		}
	}
	return c
}

// has says whether a library is where loaders look.
func (h host) has(lib string) bool {
	for _, dir := range []string{"usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib", "lib64", "usr/local/nvidia/lib64", "run/opengl-driver/lib"} {
		if _, err := fs.Stat(h.root, dir+"/"+lib); err == nil {
			return true
		}
	}
	return false
}

const (
	diskTrialBytes = 64 << 20
	diskTrialLimit = 3 * time.Second
)

// disk measures durable writes below home, with a file that is gone afterwards.
func disk(home string) check {
	fail := func(err error) check {
		return check{Name: "disk", State: bad, Found: err.Error(), Advice: fmt.Sprintf("let this user write to %s, or choose another place with --home or TORC_HOME", home)}
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return fail(err)
	}
	f, err := os.CreateTemp(home, ".doctor-*")
	if err != nil {
		return fail(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := bytes.Repeat([]byte("torc doctor "), 1<<20/12) // not zeros, which some disks do not keep
	begin, written := time.Now(), 0
	for written < diskTrialBytes && time.Since(begin) < diskTrialLimit {
		n, err := f.Write(block)
		written += n
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			return fail(err)
		}
	}
	return judgeDisk(filepath.Clean(home), float64(written)/time.Since(begin).Seconds())
}

// space looks at the file system that home lies on.
func space(home string) check {
	free, err := freeBytes(home)
	if err != nil {
		return check{Name: "space", State: unknown, Found: err.Error()}
	}
	return judgeSpace(home, free)
}

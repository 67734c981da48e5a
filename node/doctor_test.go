package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/torctrain/torc/internal/trust"
)

func TestJudgesSayWhatToDoAndOnlyThen(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		got    check
		want   state
		advice string
	}{
		"all cores":               {judgeCores(8, 8, math.Inf(1)), good, ""},
		"limited, fewer threads":  {judgeCores(8, 2, 2), good, ""},
		"more threads than cores": {judgeCores(8, 16, math.Inf(1)), so, "--threads 8"},
		"more threads than limit": {judgeCores(64, 64, 3.5), so, "--threads 3"},
		"wide kernels":            {judgeTier("avx512", "amd64"), good, ""},
		"no AVX2":                 {judgeTier("portable", "amd64"), so, "host-passthrough"},
		"portable is all there is": {
			judgeTier("portable", "arm64"), good, "",
		},
		"memory":               {judgeMemory(16<<30, 8<<30), good, ""},
		"little memory free":   {judgeMemory(16<<30, 1<<30), so, "--memory"},
		"little memory":        {judgeMemory(1<<30, 1<<30), bad, "coordinator plan"},
		"memory unknown":       {judgeMemory(0, 0), unknown, ""},
		"disk":                 {judgeDisk("/d", 500e6), good, ""},
		"slow disk":            {judgeDisk("/d", 20e6), so, "SSD"},
		"space":                {judgeSpace("/d", 100<<30), good, ""},
		"little space":         {judgeSpace("/d", 2<<30), so, "--home"},
		"no space":             {judgeSpace("/d", 1<<20), bad, "make room"},
		"clock":                {judgeClock(true, true), good, ""},
		"clock runs free":      {judgeClock(false, true), so, "chrony"},
		"clock unknown":        {judgeClock(false, false), unknown, ""},
		"clocks agree":         {judgeSkew(now, now.Add(-time.Hour), now.Add(time.Hour)), good, ""},
		"clock behind":         {judgeSkew(now, now.Add(time.Hour), now.Add(2*time.Hour)), bad, "set the clock"},
		"clock ahead":          {judgeSkew(now, now.Add(-2*time.Hour), now.Add(-time.Hour)), bad, "set this machine's clock"},
		"plain MTU":            {judgeMTU("p", "eth0", 1500, 1448), good, ""},
		"loopback":             {judgeMTU("p", "lo", 65536, 32741), good, ""},
		"tunnel":               {judgeMTU("p", "wg0", 1420, 1368), so, "tunnel"},
		"jumbo against plain":  {judgeMTU("p", "eth0", 9000, 1448), so, "same MTU"},
		"peer behind a tunnel": {judgeMTU("p", "eth0", 1500, 1348), so, "same MTU"},
		"IPv6":                 {judgeMTU("p", "eth0", 1500, 1428), good, ""},
		"tiny MTU":             {judgeMTU("p", "ppp0", 576, 524), bad, "ppp0"},
		"MTU unknown":          {judgeMTU("p", "", 0, 0), unknown, ""},
		"ten gigabit":          {judgeLink("p", 1.2e9, 1.2e9, time.Millisecond), good, ""},
		"below gigabit":        {judgeLink("p", 50e6, 50e6, time.Millisecond), so, "reduce.pack"},
		"below Fast Ethernet":  {judgeLink("p", 5e6, 50e6, time.Millisecond), bad, "cable"},
		"far away":             {judgeLink("p", 1e9, 1e9, 40*time.Millisecond), so, "one place"},
		"one direction slower": {judgeLink("p", 1.2e9, 200e6, time.Millisecond), so, "duplex"},
	} {
		if c.got.State != c.want {
			t.Errorf("%s: %s, want %s (%s)", name, c.got.State, c.want, c.got.Found)
		}
		if !strings.Contains(c.got.Advice, c.advice) || (c.advice == "") != (c.got.Advice == "") {
			t.Errorf("%s: advice %q, want %q in it", name, c.got.Advice, c.advice)
		}
		if c.got.Found == "" || c.got.Name == "" {
			t.Errorf("%s: %+v says nothing", name, c.got)
		}
	}
}

func TestControlGroupBoundsWhatTheHostHas(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	meminfo := file("MemTotal:       16384000 kB\nMemFree: 1 kB\nMemAvailable:   8192000 kB\n")
	plain := host{fstest.MapFS{"proc/meminfo": meminfo}}
	v1 := host{fstest.MapFS{"sys/fs/cgroup/cpu/cpu.cfs_quota_us": file("250000\n"), "sys/fs/cgroup/cpu/cpu.cfs_period_us": file("100000\n")}}
	v2 := host{fstest.MapFS{
		"proc/meminfo": meminfo, "sys/fs/cgroup/cpu.max": file("150000 100000\n"), "sys/fs/cgroup/memory.max": file("3221225472\n"),
	}}
	free := host{fstest.MapFS{"sys/fs/cgroup/cpu.max": file("max 100000\n")}}
	if got := plain.allowedCores(); !math.IsInf(got, 1) {
		t.Errorf("without a control group: %v cores, want no limit", got)
	}
	if got := free.allowedCores(); !math.IsInf(got, 1) {
		t.Errorf("control group without a quota: %v cores, want no limit", got)
	}
	if got := v1.allowedCores(); got != 2.5 {
		t.Errorf("control groups of the first kind: %v cores, want 2.5", got)
	}
	if got := v2.allowedCores(); got != 1.5 {
		t.Errorf("control groups of the second kind: %v cores, want 1.5", got)
	}
	if got := plain.memory(); got.Value != 8192000<<10 {
		t.Errorf("free memory %v, want MemAvailable", got.Value)
	}
	if got := v2.memory(); got.Value != 3<<30 || !strings.HasPrefix(got.Found, "3072 MiB") {
		t.Errorf("memory in a control group: %+v, want its 3 GiB", got)
	}
}

func TestGPUIsMissingItsDeviceOrItsLibrary(t *testing.T) {
	info := &fstest.MapFile{Data: []byte("Model: \t\t NVIDIA H100\nIRQ: 1\n")}
	empty := &fstest.MapFile{}
	const name = "proc/driver/nvidia/gpus/0000:01:00.0/information"
	for what, c := range map[string]struct {
		files fstest.MapFS
		want  state
		text  string
	}{
		"none":       {fstest.MapFS{}, good, "none"},
		"no device":  {fstest.MapFS{name: info}, so, "nvidia-modprobe"},
		"no library": {fstest.MapFS{name: info, "dev/nvidia0": empty}, so, "libcuda"},
		"complete":   {fstest.MapFS{name: info, "dev/nvidia0": empty, "usr/lib64/libcuda.so.1": empty}, good, "NVIDIA H100"},
	} {
		if got := (host{c.files}).gpu(); got.State != c.want || !strings.Contains(got.Found+got.Advice, c.text) {
			t.Errorf("%s: %+v, want %s and %q", what, got, c.want, c.text)
		}
	}
}

func TestDiskTrialLeavesNothing(t *testing.T) {
	home := t.TempDir() + "/new"
	if c := disk(home); c.State == bad || c.Value <= 0 {
		t.Errorf("disk: %+v", c)
	}
	if left, err := os.ReadDir(home); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if c := disk("/proc/torc"); c.State != bad || !strings.Contains(c.Advice, "--home") {
		t.Errorf("a place that cannot be written to: %+v", c)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestLinkIsMeasuredInBothDirections(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := listen(t)
	served := make(chan error, 1) // the one result
	go func() { served <- serveLinks(ctx, l, slog.New(slog.DiscardHandler)) }()
	s, err := measureLink(ctx, l.Addr().String(), 20*time.Millisecond)
	if err != nil || s.There <= 0 || s.Back <= 0 || s.RoundTrip <= 0 {
		t.Errorf("got %+v, %v", s, err)
	}
	var names []string
	for _, c := range peerAt(ctx, l.Addr().String()) {
		names = append(names, c.Name)
	}
	if got := strings.Join(names, " "); got != "peer mtu link" {
		t.Errorf("a peer that measures: checks %s", got)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestPeerThatCannotBeReachedIsNamedWithItsPort(t *testing.T) {
	l := listen(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	got := peerAt(t.Context(), "127.0.0.1:"+port)
	if len(got) != 1 || got[0].State != bad || !strings.Contains(got[0].Found, "port "+port+" of 127.0.0.1") || !strings.Contains(got[0].Advice, "nobody listens") {
		t.Errorf("refused: %+v", got)
	}
	dropped := unreached("peer", "192.0.2.1:7172", "", &net.OpError{Op: "dial", Err: context.DeadlineExceeded})
	if !strings.Contains(dropped.Advice, "firewall drops packets to TCP port 7172 of 192.0.2.1") {
		t.Errorf("dropped: %+v", dropped)
	}
	unnamed := unreached("peer", "nowhere:7172", "", &net.DNSError{Err: "no such host", Name: "nowhere"})
	if !strings.Contains(unnamed.Advice, "/etc/hosts") {
		t.Errorf("no such name: %+v", unnamed)
	}
}

func TestPeerThatDoesNotMeasureIsSaidSo(t *testing.T) {
	l := listen(t)
	go func() { // ends when the test closes l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	if _, err := measureLink(t.Context(), l.Addr().String(), time.Millisecond); !errors.Is(err, errNoBench) {
		t.Errorf("got %v, want errNoBench", err)
	}
}

func TestClockIsComparedWithTheCoordinatorsCertificate(t *testing.T) {
	authority, err := trust.Open(trust.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	l := tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{*authority.Wallet().Certificate()}, NextProtos: []string{"h2"}})
	go func() { // ends when the test closes l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
	}()
	for name, c := range map[string]struct {
		at   time.Time
		want state
	}{
		"right":  {time.Now(), good},
		"behind": {time.Now().Add(-3 * time.Hour), bad},
		"ahead":  {time.Now().Add(5 * 365 * 24 * time.Hour), bad},
	} {
		all := coordinatorAt(t.Context(), l.Addr().String(), func() time.Time { return c.at })
		if last := all[len(all)-1]; last.Name != "clocks" || last.State != c.want {
			t.Errorf("%s: %+v, want %s", name, all, c.want)
		}
	}
}

func TestDoctorPrintsAnObjectWhereAsked(t *testing.T) {
	var out, people bytes.Buffer
	cmd := newDoctorCmd()
	cmd.Flags().String("home", "", "")
	cmd.SetOut(&out)
	cmd.SetErr(&people)
	cmd.SetArgs([]string{"--json", "--home", t.TempDir()})
	err := cmd.ExecuteContext(t.Context())
	var got struct {
		OK     bool
		Checks []check
	}
	if e := json.Unmarshal(out.Bytes(), &got); e != nil || len(got.Checks) < 8 || got.OK != (err == nil) {
		t.Errorf("got %q: %v, command: %v", out.String(), e, err)
	}
	if !strings.Contains(people.String(), "processor") {
		t.Errorf("people see %q", people.String())
	}
	for _, c := range got.Checks {
		if c.State == bad && c.Advice == "" {
			t.Errorf("%s failed without advice: %+v", c.Name, c)
		}
	}
}

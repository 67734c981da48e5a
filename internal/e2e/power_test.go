package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/torctrain/torc/coordinator/control"
	wire "github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
)

// power is a coordinator in this process that has little patience, and nodes as processes with disks that outlive them.
type power struct {
	t     *testing.T
	home  string            // the coordinator's
	disks map[string]string // of nodes, by name
	nodes map[string]*process

	addr string
	off  func()
	conn pb.ControlClient
	ckpt pb.CheckpointsClient
}

func newPower(t *testing.T) *power {
	return &power{t: t, home: t.TempDir(), disks: map[string]string{}, nodes: map[string]*process{}}
}

// on starts a coordinator with what the last one left, and nodes with the disks they had.
func (p *power) on(names ...string) {
	p.t.Helper()
	timing := control.DefaultTiming()
	timing.Hope = time.Second
	server, err := control.New(control.Config{Home: p.home, Listen: "127.0.0.1:0", Timing: timing})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	conn, err := wire.Dial(server.Addr())
	if err != nil {
		p.t.Fatal(err)
	}
	p.off = func() {
		for name := range p.nodes {
			p.kill(name)
		}
		_ = conn.Close()
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("coordinator ended with %v", err)
		}
		p.off = nil
	}
	p.t.Cleanup(func() {
		if p.off != nil {
			p.off()
		}
	})
	p.addr, p.conn, p.ckpt = server.Addr(), pb.NewControlClient(conn), pb.NewCheckpointsClient(conn)
	for _, n := range names {
		p.join(n)
	}
}

func (p *power) join(name string) {
	p.t.Helper()
	if p.disks[name] == "" {
		p.disks[name] = p.t.TempDir()
	}
	p.nodes[name] = start(p.t, p.disks[name], "node", "join", p.addr, "--insecure", "--name", name, "--threads", "1")
	p.nodes[name].await(p.t, `msg=joined`)
}

// kill takes the power from a node.
func (p *power) kill(name string) {
	_ = p.nodes[name].cmd.Process.Signal(syscall.SIGKILL)
	_ = p.nodes[name].cmd.Wait()
	delete(p.nodes, name)
}

// burn takes a node's disk.
func (p *power) burn(name string) {
	if err := os.RemoveAll(p.disks[name]); err != nil {
		p.t.Fatal(err)
	}
	delete(p.disks, name)
}

// said waits for what the run's log says.
func (p *power) follow(run string, until func(*pb.RunEvent) bool) *pb.RunInfo {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	stream, err := p.conn.Follow(ctx, &pb.FollowRequest{Run: run})
	if err != nil {
		p.t.Fatal(err)
	}
	for {
		e, err := stream.Recv()
		if err != nil {
			p.t.Fatalf("follow %s: %v", run, err)
		}
		for _, l := range e.Logs {
			p.t.Logf("%s: %s", l.Node, l.Text)
		}
		if until(e) {
			return e.Info
		}
		if s := e.Info.State; s >= pb.RunState_RUN_FINISHED {
			p.t.Fatalf("run %s is %v after step %d: %s", run, s, e.Info.Step, e.Info.Why)
		}
	}
}

func (p *power) finished(run string) string {
	p.t.Helper()
	info := p.follow(run, func(e *pb.RunEvent) bool { return e.Info.State == pb.RunState_RUN_FINISHED })
	return fmt.Sprintf("%x", info.Digest)
}

// committed waits for a checkpoint of step least or later, and returns its step.
func (p *power) committed(run string, least uint64) (step uint64) {
	p.t.Helper()
	p.follow(run, func(e *pb.RunEvent) bool {
		for _, l := range e.Logs {
			if _, err := fmt.Sscanf(l.Text, "checkpoint of step %d:", &step); err == nil && step >= least {
				return true
			}
		}
		return false
	})
	return step
}

// protocol.md I9: parity members lose their disks and all others their power; elsewhere another number of members goes on from
// the last checkpoint, by itself, and ends with the digest of the undisturbed run.
func TestTheClusterSurvivesALossOfPower(t *testing.T) {
	for name, method := range map[string]string{
		"lift":  "{name: lift, rank: 4, refresh: 7}",
		"s2ft":  "{name: s2ft}",
		"sorsa": "{name: sorsa, rank: 4}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPower(t)
			dir := workplace(t, p.home)
			p.on("ada", "bob", "cleo")
			text, err := os.ReadFile(filepath.Join(dir, "spec.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "spec.yaml"), strings.Replace(string(text), "{name: lift, rank: 4, refresh: 5}", method, 1))
			set := []string{"--set", "steps=60", "--set", "checkpoint.every=10", "--set", "validate.every=50"}
			launch := start(t, p.home, "coordinator", append([]string{"launch", filepath.Join(dir, "spec.yaml"), "--coordinator", p.addr, "--insecure"}, set...)...)
			run := launch.await(t, `run (\S+) is`)[1]
			step := p.committed(run, 20)
			p.off()
			p.burn("bob")

			p.on("ada", "cleo", "dora", "erin")
			if got, want := p.finished(run), alone(t, dir, set); got != want {
				t.Errorf("digest is %s, undisturbed %s; power was lost after step %d", got, want, step)
			}
		})
	}
}

// All disks are lost, and the run goes on from the mirror.
func TestTheMirrorSurvivesAllDisks(t *testing.T) {
	p := newPower(t)
	dir, mirror := workplace(t, p.home), t.TempDir()
	p.on("ada", "bob", "cleo")
	set := []string{"--set", "steps=90", "--set", "checkpoint.every=60", "--set", "checkpoint.mirror=" + mirror}
	launch := start(t, p.home, "coordinator", append([]string{"launch", filepath.Join(dir, "spec.yaml"), "--coordinator", p.addr, "--insecure"}, set...)...)
	run := launch.await(t, `run (\S+) is`)[1]
	p.mirrored(mirror, run, p.committed(run, 60))
	p.off()
	for _, name := range []string{"ada", "bob", "cleo"} {
		p.burn(name)
	}
	p.on("dora", "erin")
	if got, want := p.finished(run), alone(t, dir, set); got != want {
		t.Errorf("digest is %s, undisturbed %s", got, want)
	}
}

// mirrored waits until the mirror has all pieces of a step.
func (p *power) mirrored(mirror, run string, step uint64) {
	p.t.Helper()
	var pieces []string
	for begin := time.Now(); time.Since(begin) < deadline; time.Sleep(10 * time.Millisecond) {
		var err error
		if pieces, err = filepath.Glob(filepath.Join(mirror, run, fmt.Sprintf("%012d-*.piece", step))); err != nil {
			p.t.Fatal(err)
		}
		if len(pieces) == 6 {
			return
		}
	}
	p.t.Fatalf("the mirror has %v of step %d", pieces, step)
}

func alone(t *testing.T, dir string, set []string) string {
	t.Helper()
	var one launched
	coordinator(t, t.TempDir(), &one, append([]string{"launch", filepath.Join(dir, "spec.yaml"), "--local", "1"}, set...)...)
	return one.Digest
}

// protocol.md I9: with more holders gone than can be lost the run waits, names them, and goes on when one of them returns.
func TestTooFewPiecesAreNamedAndWaitedFor(t *testing.T) {
	p := newPower(t)
	dir := workplace(t, p.home)
	p.on("ada", "bob", "cleo")
	set := []string{"--set", "steps=30", "--set", "checkpoint.every=10"}
	launch := start(t, p.home, "coordinator", append([]string{"launch", filepath.Join(dir, "spec.yaml"), "--coordinator", p.addr, "--insecure"}, set...)...)
	run := launch.await(t, `run (\S+) is`)[1]
	p.committed(run, 10)
	p.off()
	p.on("ada")
	p.follow(run, func(e *pb.RunEvent) bool {
		return strings.Contains(e.Info.Why, "4 distinct ones are needed, nodes that attend have 2; others were kept by bob: 1 4, cleo: 2 5")
	})
	p.join("cleo")
	if got, want := p.finished(run), alone(t, dir, set); got != want {
		t.Errorf("digest is %s, undisturbed %s", got, want)
	}
}

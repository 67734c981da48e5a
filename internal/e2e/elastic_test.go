package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cluster is a coordinator and nodes as processes of their own.
type cluster struct {
	t     *testing.T
	home  string // of the coordinator
	dir   string // with the spec
	addr  string
	serve *process
	nodes map[string]*process
}

func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, home: t.TempDir(), nodes: map[string]*process{}}
	c.dir = workplace(t, c.home)
	c.serve = start(t, c.home, "coordinator", "serve", "--insecure", "--listen", "127.0.0.1:0")
	c.addr = c.serve.await(t, `msg="coordinator serves" addr=(\S+)`)[1]
	for _, n := range names {
		c.join(n)
	}
	return c
}

// join starts a node and waits until it is in.
func (c *cluster) join(name string) {
	c.t.Helper()
	c.nodes[name] = start(c.t, c.t.TempDir(), "node", "join", c.addr, "--insecure", "--name", name, "--threads", "1")
	c.nodes[name].await(c.t, `msg=joined`)
}

// launch starts the spec and returns the process that follows it.
func (c *cluster) launch(steps string) *process {
	c.t.Helper()
	return start(c.t, c.home, "coordinator", "launch", filepath.Join(c.dir, "spec.yaml"), "--coordinator", c.addr, "--insecure",
		"--set", "steps="+steps, "--set", "validate.every=50")
}

func (c *cluster) signal(name string, s os.Signal) {
	c.t.Helper()
	if err := c.nodes[name].cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// alone is the digest of the same run on one undisturbed member.
func (c *cluster) alone(steps string) string {
	c.t.Helper()
	var one launched
	coordinator(c.t, c.t.TempDir(), &one, "launch", filepath.Join(c.dir, "spec.yaml"), "--local", "1", "--set", "steps="+steps, "--set", "validate.every=50")
	return one.Digest
}

// digest waits for the end of a run and returns its digest.
func (c *cluster) digest(launch *process) string {
	c.t.Helper()
	d := launch.await(c.t, `digest ([0-9a-f]{64})`)[1]
	if code, rest := launch.exit(c.t); code != 0 {
		c.t.Errorf("launch exited with %d:\n%s", code, rest)
	}
	return d
}

// protocol.md I1, I8: members that are killed, frozen and awakened, that join and leave while the run goes on, cannot be seen
// in its result; and the journal proves that every sample was used exactly once per epoch.
func TestCrashFreezeJoinAndLeaveDoNotShow(t *testing.T) {
	const steps = "300"
	c := newCluster(t, "ada", "bob", "cleo")
	launch := c.launch(steps)
	launch.await(t, `^step \d+/300 .* 3 members`)

	c.signal("bob", syscall.SIGKILL)
	killed := time.Now()
	launch.await(t, `view 2: .*lost member bob`)
	t.Logf("view without the killed member after %v", time.Since(killed).Round(time.Millisecond))
	c.join("dora")
	launch.await(t, `view 3: .*joins: dora`)

	c.signal("cleo", syscall.SIGSTOP)
	frozen := time.Now()
	launch.await(t, `view 4: .*lost member cleo`)
	t.Logf("view without the frozen member after %v", time.Since(frozen).Round(time.Millisecond))
	c.signal("cleo", syscall.SIGCONT)
	launch.await(t, `view 5: .*joins: cleo`)

	var drained map[string]any
	coordinator(t, c.home, &drained, "drain", "ada", "--coordinator", c.addr, "--insecure")
	launch.await(t, `view 6: .*leaves: ada`)
	if code, rest := c.nodes["ada"].exit(t); code != 0 {
		t.Errorf("the drained node exited with %d:\n%s", code, rest)
	}
	c.signal("dora", syscall.SIGTERM)
	launch.await(t, `view 7: .*leaves: dora`)
	if code, rest := c.nodes["dora"].exit(t); code != 0 {
		t.Errorf("the node that was asked to end exited with %d:\n%s", code, rest)
	}

	if got, want := c.digest(launch), c.alone(steps); got != want {
		t.Errorf("digest is %s, undisturbed %s", got, want)
	}
	var runs struct{ Runs []struct{ Run string } }
	coordinator(t, c.home, &runs, "runs", "--coordinator", c.addr, "--insecure")
	var audit struct {
		ExactlyOnce bool `json:"exactly_once"`
		Epochs      int
		Views       []map[string]any
	}
	coordinator(t, c.home, &audit, "audit", runs.Runs[0].Run, "--coordinator", c.addr, "--insecure")
	if !audit.ExactlyOnce || audit.Epochs < 10 || len(audit.Views) < 4 {
		t.Errorf("audit says %+v", audit)
	}
}

// protocol.md I8: the steps need no coordinator. One that is killed and starts again takes up the run, and a member that was
// lost meanwhile is missed as soon as it is back.
func TestCoordinatorLossDoesNotShow(t *testing.T) {
	const steps = "250"
	c := newCluster(t, "ada", "bob", "cleo")
	launch := c.launch(steps)
	launch.await(t, `^step \d+/250 .* 3 members`)
	kill := func(p *process) {
		t.Helper()
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.exit(t)
	}
	kill(c.serve)
	c.restart()
	launch.await(t, `^step \d+/250 .* 3 members`)

	kill(c.serve)
	kill(c.nodes["bob"])
	c.restart()
	launch.await(t, `view 2: .*lost member bob`)
	c.join("dora")
	launch.await(t, `joins: dora`)
	if got, want := c.digest(launch), c.alone(steps); got != want {
		t.Errorf("digest is %s, undisturbed %s", got, want)
	}
}

// restart starts the coordinator again where it was, with what it left on disk.
func (c *cluster) restart() {
	c.t.Helper()
	c.serve = start(c.t, c.home, "coordinator", "serve", "--insecure", "--listen", c.addr)
	c.serve.await(c.t, `msg="coordinator serves"`)
}

// A coordinator with another's journal finds the members, and through them the other, which serves: it refuses to and says
// why. When the other is gone it serves, at its own address, and the members find it by gossip.
func TestMovedCoordinatorIsFoundAndASecondOneRefused(t *testing.T) {
	const steps = "200"
	c := newCluster(t, "ada", "bob")
	launch := c.launch(steps)
	launch.await(t, `^step \d+/200 .* 2 members`)

	second := t.TempDir()
	pause := func(sig syscall.Signal) {
		t.Helper()
		if err := c.serve.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	pause(syscall.SIGSTOP)
	journal, err := os.ReadFile(filepath.Join(c.home, "coordinator.db"))
	pause(syscall.SIGCONT)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(second, "coordinator.db"), string(journal))
	code, said := start(t, second, "coordinator", "serve", "--insecure", "--listen", "127.0.0.1:0").exit(t)
	if code != 1 || !strings.Contains(said, "another coordinator serves this cluster, at "+c.addr) {
		t.Errorf("a second coordinator exited with %d:\n%s", code, said)
	}

	if err := c.serve.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.serve.exit(t)
	moved := start(t, c.home, "coordinator", "serve", "--insecure", "--listen", "127.0.0.1:0")
	c.addr = moved.await(t, `msg="coordinator serves" addr=(\S+)`)[1]
	moved.await(t, `msg="node attends" node=ada`)
	var runs struct {
		Runs []struct{ Run, State, Digest string }
	}
	list := func() {
		t.Helper()
		coordinator(t, c.home, &runs, "runs", "--coordinator", c.addr, "--insecure")
	}
	list()
	start(t, c.home, "coordinator", "logs", "--follow", runs.Runs[0].Run, "--coordinator", c.addr, "--insecure").exit(t)
	list()
	if got, want := runs.Runs[0].Digest, c.alone(steps); got != want || runs.Runs[0].State != "finished" {
		t.Errorf("run is %s with digest %s, undisturbed %s", runs.Runs[0].State, got, want)
	}
}

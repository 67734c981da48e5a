package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// protocol.md I8: a coordinator that has lost its directory, and kept but its address and the trust directory, takes the run
// up from its members, which go on meanwhile. It misses who was lost, lets others join, and keeps the last State.
func TestCoordinatorThatLostItsDirectoryDoesNotShow(t *testing.T) {
	const steps = "250"
	home := t.TempDir()
	trust := filepath.Join(t.TempDir(), "trust")
	c := &cluster{t: t, home: home, dir: workplace(t, home), nodes: map[string]*process{}}
	serve := func(addr string) {
		t.Helper()
		c.serve = start(t, c.home, "coordinator", "serve", "--trust", trust, "--listen", addr)
		c.addr = c.serve.await(t, `msg="coordinator serves" addr=(\S+)`)[1]
	}
	join := func(name string) {
		t.Helper()
		c.nodes[name] = start(t, t.TempDir(), "node", "join", c.addr, "--name", name, "--threads", "1")
		c.nodes[name].await(t, `msg=joined`)
	}
	kill := func(p *process) {
		t.Helper()
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.exit(t)
	}
	serve("127.0.0.1:0")
	for _, name := range []string{"ada", "bob", "cleo"} {
		join(name)
	}
	launch := start(t, c.home, "coordinator", "launch", filepath.Join(c.dir, "spec.yaml"), "--coordinator", c.addr,
		"--set", "steps="+steps, "--set", "validate.every=50")
	run := launch.await(t, `run (\S+) is`)[1]
	launch.await(t, `^step \d+/250 .* 3 members`)

	kill(c.serve)
	if err := os.RemoveAll(c.home); err != nil {
		t.Fatal(err)
	}
	serve(c.addr)
	launch.await(t, `^step \d+/250 .* 3 members`)
	kill(c.nodes["bob"])
	launch.await(t, `view 2: .*lost member bob`)
	join("dora")
	launch.await(t, `joins: dora`)
	if got, want := c.digest(launch), c.alone(steps); got != want {
		t.Errorf("digest is %s, undisturbed %s", got, want)
	}
	var exported map[string]any
	coordinator(t, c.home, &exported, "export", run, "-o", filepath.Join(t.TempDir(), "tuned"))
}

// A coordinator that moved while no run was at work finds the gossip of its nodes where it was, and through it they find it.
func TestIdleNodesFindAMovedCoordinator(t *testing.T) {
	c := newCluster(t, "ada", "bob")
	for _, name := range []string{"ada", "bob"} {
		c.serve.await(t, `msg="node attends" node=`+name)
	}
	var nodes struct{ Nodes []map[string]any }
	for kept := false; !kept; time.Sleep(50 * time.Millisecond) { // until it has noted where they gossip
		text, err := os.ReadFile(filepath.Join(c.home, "coordinator.db"))
		if err != nil {
			t.Fatal(err)
		}
		kept = strings.Contains(string(text), `gossip["127.0.0.1:`)
	}
	if err := c.serve.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.serve.exit(t)
	c.serve = start(t, c.home, "coordinator", "serve", "--insecure", "--listen", "127.0.0.1:0")
	c.addr = c.serve.await(t, `msg="coordinator serves" addr=(\S+)`)[1]
	c.serve.await(t, `msg="node attends" node=(ada|bob)`)
	c.serve.await(t, `msg="node attends" node=(ada|bob)`)
	coordinator(t, c.home, &nodes, "nodes", "--coordinator", c.addr, "--insecure")
	if len(nodes.Nodes) != 2 {
		t.Errorf("the moved coordinator has nodes %v", nodes.Nodes)
	}
}

// A coordinator that has neither the directory nor the address of the one before is named one of its nodes; all learn through
// their gossip where it is.
func TestACoordinatorWithNothingIsNamedAMember(t *testing.T) {
	trust := filepath.Join(t.TempDir(), "trust")
	serve := func(args ...string) (p *process, addr string) {
		t.Helper()
		p = start(t, t.TempDir(), "coordinator", append([]string{"serve", "--trust", trust, "--listen", "127.0.0.1:0"}, args...)...)
		return p, p.await(t, `msg="coordinator serves" addr=(\S+)`)[1]
	}
	first, addr := serve()
	var member string
	for _, name := range []string{"ada", "bob"} {
		node := start(t, t.TempDir(), "node", "join", addr, "--name", name, "--threads", "1")
		member = node.await(t, `msg=joined .* addr=(\S+)`)[1]
		first.await(t, `msg="node attends" node=`+name)
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.exit(t)
	second, _ := serve("--member", member)
	second.await(t, `msg="serves the cluster of its members"`)
	second.await(t, `msg="node attends" node=(ada|bob)`)
	second.await(t, `msg="node attends" node=(ada|bob)`)
}

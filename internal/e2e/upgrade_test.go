package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// protocol.md I1, I8: nodes that are exchanged for those of another build, one after the other as a rolling update does it,
// lose no step and cannot be seen in the result.
func TestNodesAreUpgradedOneByOneDuringARun(t *testing.T) {
	const steps = "200"
	next := "node-next"
	build := exec.Command("go", "build", "-ldflags", "-X main.version=next", "-o", filepath.Join(bin, next), "../../node")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOAMD64=v1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the next release: %v\n%s", err, out)
	}
	c := newCluster(t)
	homes := map[string]string{"ada": t.TempDir(), "bob": t.TempDir()}
	join := func(program, name string) {
		t.Helper()
		c.nodes[name] = start(t, homes[name], program, "join", c.addr, "--insecure", "--name", name, "--threads", "1")
		c.nodes[name].await(t, `msg=joined`)
	}
	for _, name := range []string{"ada", "bob"} {
		join("node", name)
	}
	launch := c.launch(steps)
	launch.await(t, `^step \d+/200 .* 2 members`)
	for _, name := range []string{"ada", "bob"} {
		c.signal(name, syscall.SIGTERM) // as systemd and Kubernetes do
		launch.await(t, `view \d+: .*leaves: `+name)
		if code, rest := c.nodes[name].exit(t); code != 0 {
			t.Errorf("%s exited with %d:\n%s", name, code, rest)
		}
		join(next, name)
		launch.await(t, `view \d+: .*joins: `+name)
	}
	if got, want := c.digest(launch), c.alone(steps); got != want {
		t.Errorf("digest is %s, undisturbed %s", got, want)
	}
}

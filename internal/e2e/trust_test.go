package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// refused runs a program that must be refused, with what it says about it.
func refused(t *testing.T, home, says, program string, args ...string) {
	t.Helper()
	code, said := start(t, home, program, args...).exit(t)
	if code != 4 || !strings.Contains(said, says) {
		t.Errorf("%s %s: exit code %d, want 4 and %q:\n%s", program, strings.Join(args, " "), code, says, said)
	}
}

// From the first start of a coordinator to a revoked node, by commands; a token makes a node go by TLS even on loopback.
func TestNodesAndPeopleHaveTheirCertificates(t *testing.T) {
	home := t.TempDir()
	dir := workplace(t, home)
	serve := start(t, home, "coordinator", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json")
	metrics := serve.await(t, `"msg":"metrics and health are served","addr":"([^"]+)"`)[1]
	addr := serve.await(t, `"msg":"coordinator serves","addr":"([^"]+)"`)[1]
	for _, secret := range []string{home + "-trust/ca.key", home + "/identity.pem"} {
		if info, err := os.Stat(secret); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", secret, info, err)
		}
	}

	var made struct{ Token, ID string }
	coordinator(t, home, &made, "token", "create", "--coordinator", addr)
	elsewhere := t.TempDir()
	ada := start(t, elsewhere, "node", "join", addr, "--name", "ada", "--threads", "1", "--token", made.Token)
	member := ada.await(t, `msg=joined .*addr=(\S+)`)[1]
	refused(t, t.TempDir(), "was used already, by node ada", "node", "join", member, "--name", "bob", "--token", made.Token)
	if code, said := start(t, t.TempDir(), "node", "join", addr, "--name", "bob", "--token", made.Token[:50]).exit(t); code != 2 || !strings.Contains(said, "read join token") {
		t.Errorf("half a token: %d\n%s", code, said)
	}

	// A viewer looks on, and no more.
	eve := filepath.Join(t.TempDir(), "eve.pem")
	if code, said := start(t, home, "coordinator", "identity", "create", "eve", "--coordinator", addr, "-o", eve).exit(t); code != 0 {
		t.Fatalf("identity create: %d\n%s", code, said)
	}
	var nodes struct{ Nodes []struct{ Name string } }
	coordinator(t, t.TempDir(), &nodes, "nodes", "--coordinator", addr, "--identity", eve)
	if len(nodes.Nodes) != 1 || nodes.Nodes[0].Name != "ada" {
		t.Errorf("a viewer sees nodes %v", nodes.Nodes)
	}
	refused(t, t.TempDir(), "viewer eve may not call", "coordinator", "launch", filepath.Join(dir, "spec.yaml"), "--coordinator", addr, "--identity", eve)
	refused(t, t.TempDir(), "viewer eve may not call", "coordinator", "token", "create", "--coordinator", addr, "--identity", eve)

	// A run over it, then the node is revoked.
	var run launched
	coordinator(t, home, &run, "launch", filepath.Join(dir, "spec.yaml"), "--coordinator", addr, "--set", "steps=2")
	if run.Members != 1 || len(run.Digest) != 64 {
		t.Errorf("launched %+v", run)
	}
	if code, said := start(t, home, "coordinator", "identity", "revoke", "ada", "--coordinator", addr).exit(t); code != 0 {
		t.Fatalf("identity revoke: %d\n%s", code, said)
	}
	if code, said := ada.exit(t); code != 4 || !strings.Contains(said, "node ada was revoked") {
		t.Errorf("the revoked node ended with %d:\n%s", code, said)
	}
	refused(t, elsewhere, "node ada was revoked", "node", "join", addr, "--name", "ada", "--token", made.Token)

	resp, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`torc_runs{state="finished"} 1`, `torc_join_attempts_total{result="admitted"} 1`,
		`torc_certificates{role="node"} 0`, `torc_certificates{role="viewer"} 1`, `torc_build_info{program="coordinator"`,
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("metrics lack %s", line)
		}
	}
}

// A token that does not count is refused with the reason and what to do; the node has nothing afterwards.
func TestTokensThatDoNotCountAreRefused(t *testing.T) {
	found := func() (addr string, token func(args ...string) string) {
		t.Helper()
		home := t.TempDir()
		addr = start(t, home, "coordinator", "serve", "--listen", "127.0.0.1:0").await(t, `msg="coordinator serves" addr=(\S+)`)[1]
		return addr, func(args ...string) string {
			t.Helper()
			var made struct{ Token string }
			coordinator(t, home, &made, append([]string{"token", "create", "--coordinator", addr}, args...)...)
			return made.Token
		}
	}
	addr, token := found()
	_, elsewhere := found()
	expired := token("--ttl", "1s")
	time.Sleep(time.Second) // by the coordinator's clock, which is this one
	for says, token := range map[string]string{
		"expired at ": expired, "the join token is for another cluster": elsewhere(),
	} {
		home := t.TempDir()
		refused(t, home, says, "node", "join", addr, "--name", "bob", "--token", token)
		if left, err := filepath.Glob(filepath.Join(home, "identity", "*")); err != nil || len(left) > 0 {
			t.Errorf("%s: the node keeps %v, %v", says, left, err)
		}
	}
}

func TestInsecureIsByNameAndWithAWarning(t *testing.T) {
	home := t.TempDir()
	serve := start(t, home, "coordinator", "serve", "--listen", "127.0.0.1:0", "--insecure")
	serve.await(t, `level=WARN msg="INSECURE: `)
	addr := serve.await(t, `msg="coordinator serves" addr=(\S+)`)[1]
	start(t, t.TempDir(), "node", "join", addr, "--name", "ada", "--threads", "1", "--insecure").await(t, `msg=joined`)
	// A node that brings a token is told why it is of no use here.
	secure := start(t, t.TempDir(), "coordinator", "serve", "--listen", "127.0.0.1:0")
	other := secure.await(t, `msg="coordinator serves" addr=(\S+)`)[1]
	var made struct{ Token string }
	coordinator(t, t.TempDir(), &made, "token", "create", "--coordinator", other)
	refused(t, t.TempDir(), "--insecure", "node", "join", addr, "--name", "bob", "--token", made.Token)
	// And a node without trust gets nowhere with a coordinator that has it.
	if code, _ := start(t, t.TempDir(), "node", "join", other, "--name", "bob", "--insecure", "--wait", "1s").exit(t); code != 3 {
		t.Errorf("an insecure node at a secure coordinator: exit code %d, want 3", code)
	}
}

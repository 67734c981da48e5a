package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var demo = flag.Bool("demo", false, "train the whole demo where the documented commands train for a few steps")

// plaintexts are what the members of a crew say that everybody could read.
type plaintexts struct {
	overTCP []string // files, specs, names and frames
	overUDP []string // gossip
}

// wirePlaintexts are of the demo's run: a sample, the tokenizer, tensor names of the model, a name in the spec, names of nodes,
// and the head of the frame that opens a link of the ring.
func wirePlaintexts(t *testing.T, spec string, nodes ...string) plaintexts {
	t.Helper()
	data, err := os.Open("../../examples/arithmetic/train.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	line, err := bufio.NewReader(data).ReadString('\n')
	if err != nil || len(line) < 60 {
		t.Fatalf("the first sample is %q, %v", line, err)
	}
	return plaintexts{
		overTCP: append([]string{line[20:50], `"added_tokens"`, "model.layers.0.mlp.down_proj.weight", spec, "torc\x01\x01\x00"}, nodes...),
		overUDP: nodes,
	}
}

func (p plaintexts) all() []string { return p.overTCP } // which has those of gossip, too

// The new user's way, by the commands of the install page: three hosts become a cluster with tokens and certificates and finish
// the demo's run with the digest of one undisturbed member; and nothing of it can be read on the wire.
func TestDocumentedCommandsMakeAClusterOfThreeHosts(t *testing.T) {
	n := newNetwork(t, hubName, "node-ada", "node-bob")
	texts := wirePlaintexts(t, "arithmetic", "node-ada", "node-bob")
	wire := n.sniff(texts.all()...)
	w := newWalk(t, n)
	for _, line := range shLines(t, "../../docs/install.md") {
		w.line(line)
	}
	if w.launched.Members != 3 {
		t.Errorf("the run had %d members", w.launched.Members)
	}
	if got, want := w.launched.Digest, undisturbed(t, w.sets...); got != want {
		t.Errorf("digest is %s, of one member %s", got, want)
	}
	wire.stop()
	if wire.err != nil || wire.payload < 5<<20 {
		t.Errorf("heard %d bytes on the wire, %v", wire.payload, wire.err)
	}
	for what, count := range wire.found {
		t.Errorf("%q can be read on the wire, %d times", what, count)
	}
	if len(w.tokens) != 3 {
		t.Errorf("made %d tokens", len(w.tokens))
	}
}

// What the test above does not find is there to be found where it is not encrypted.
func TestInsecureWireCanBeRead(t *testing.T) {
	nodes := []string{"node-ada", "node-bob"}
	c := newCrew(t, nodes, "--insecure")
	texts := wirePlaintexts(t, "wire-canary", nodes...)
	wire := c.sniff(texts.all()...)
	sets := []string{"steps=2", "batch.lanes=4", "name=wire-canary"}
	if got, want := ended(t, c.launch(sets...)), undisturbed(t, sets...); got != want {
		t.Errorf("digest is %s, of one member %s", got, want)
	}
	wire.stop()
	for _, text := range texts.overTCP {
		if wire.found["tcp "+text] == 0 {
			t.Errorf("%q was not found in what went by TCP: %v in %d bytes, %v", text, wire.found, wire.payload, wire.err)
		}
	}
	for _, text := range texts.overUDP {
		if wire.found["udp "+text] == 0 {
			t.Errorf("%q was not found in gossip: %v in %d bytes, %v", text, wire.found, wire.payload, wire.err)
		}
	}
}

// A host that drops what comes to the ring port of another: the doctor and the node itself name port and host, and what to do.
func TestAPortThatCannotBeReachedIsNamed(t *testing.T) {
	n := newNetwork(t, hubName, "ada", "bob")
	hub, ada, bob := n.hosts[hubName], n.hosts["ada"], n.hosts["bob"]
	hub.start("coordinator", "serve", "--listen", "0.0.0.0").await(t, `msg="coordinator serves"`)
	var made struct{ Token string }
	hub.ask(&made, "token", "create", "--uses", "2")
	join := []string{"join", hubName, "--listen", "0.0.0.0:7172", "--threads", "1", "--token", made.Token}
	ada.start("node", join...).await(t, `msg=joined`)
	n.mute("bob", "ada")
	want := "port 7172 of " + ada.addr + " cannot be reached"
	what := "open that port from this machine"
	out, err := bob.command(filepath.Join(bin, "node"), "doctor", hubName, "--peer", ada.addr+":7172").Output()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), want) || !strings.Contains(string(out), what) {
		t.Errorf("doctor: %v\n%s", err, out)
	}
	said := bob.start("node", join...).await(t, `msg="peer cannot be reached.*`)[0]
	if !strings.Contains(said, want) || !strings.Contains(said, what) {
		t.Errorf("the node says %s", said)
	}
}

// shLines are the commands of a page that its readers run as they stand.
func shLines(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, block := range strings.Split("\n"+string(text), "\n```sh\n")[1:] {
		body, _, ok := strings.Cut(block, "\n```")
		if !ok {
			t.Fatalf("%s: a block does not end", page)
		}
		lines = append(lines, strings.Split(body, "\n")...)
	}
	return lines
}

// walk runs documented commands on the hosts for which they are: the coordinator's on its own, a node's on every one.
type walk struct {
	t        *testing.T
	n        *network
	bin      string // the programs under their installed names
	tokens   []string
	launched launched
	sets     []string // changes that the launched spec had
	person   string   // whose identity was made
}

func newWalk(t *testing.T, n *network) *walk {
	w := &walk{t: t, n: n, bin: t.TempDir()}
	for _, program := range []string{"coordinator", "node"} {
		if err := os.Symlink(filepath.Join(bin, program), filepath.Join(w.bin, "torc-"+program)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(examplesDir(t), filepath.Join(n.hosts[hubName].home, "examples")); err != nil {
		t.Fatal(err)
	}
	return w
}

// shell is a command line on a host, with the programs in its PATH.
func (w *walk) shell(h *host, line string) *exec.Cmd {
	c := h.command("bash", "-euo", "pipefail", "-c", line)
	c.Env = append(c.Env, "PATH="+w.bin+":"+os.Getenv("PATH"), "TORC_THREADS=1")
	return c
}

// output runs a command line on a host to its end.
func (w *walk) output(h *host, line string) string {
	w.t.Helper()
	var stderr strings.Builder
	c := w.shell(h, line)
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		w.t.Fatalf("on %s: %s: %v\n%s%s", h.name, line, err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func (w *walk) line(line string) {
	w.t.Helper()
	hub := w.n.hosts[hubName]
	line = strings.ReplaceAll(line, "RUN", w.launched.Run)
	switch {
	case strings.Contains(line, "launch") && strings.Contains(line, "--local"):
		// On one machine: docs_test.go does that.
	case strings.HasPrefix(line, "torc-coordinator serve"):
		watch(w.t, w.shell(hub, "exec "+line)).await(w.t, `msg="coordinator serves"`)
	case line == "torc-coordinator token create": // one for each machine that is to work
		for range w.n.hosts {
			w.tokens = append(w.tokens, w.output(hub, line))
		}
	case strings.HasPrefix(line, "torc-node join"):
		for i, h := range w.inOrder() {
			watch(w.t, w.shell(h, "exec "+strings.ReplaceAll(line, "TOKEN", w.tokens[i]))).await(w.t, `msg=joined`)
		}
	case strings.HasPrefix(line, "torc-node"):
		for _, h := range w.inOrder() {
			w.output(h, line)
		}
	case strings.HasPrefix(line, "torc-coordinator launch"):
		w.launch(hub, line)
	case strings.Contains(line, "--identity"): // from another machine, to which somebody brought the file
		h := w.inOrder()[1]
		pem, err := os.ReadFile(filepath.Join(hub.home, w.person+".pem"))
		if err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.home, w.person+".pem"), pem, 0o600); err != nil {
			w.t.Fatal(err)
		}
		if out := w.output(h, line); !strings.Contains(out, w.launched.Run) {
			w.t.Errorf("on %s: %s: does not name run %s:\n%s", h.name, line, w.launched.Run, out)
		}
	default:
		if m := regexp.MustCompile(`identity create (\S+)`).FindStringSubmatch(line); m != nil {
			w.person = m[1]
		}
		w.output(hub, line)
	}
}

var stepsOf = regexp.MustCompile(` --set (steps=\d+)`)

func (w *walk) launch(hub *host, line string) {
	w.t.Helper()
	if *demo {
		line = stepsOf.ReplaceAllString(line, "")
	}
	for _, m := range stepsOf.FindAllStringSubmatch(line, -1) {
		w.sets = append(w.sets, m[1])
	}
	lines := strings.Split(w.output(hub, line+" --json"), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &w.launched); err != nil {
		w.t.Fatalf("%s: %v", line, err)
	}
}

// inOrder are the hosts, the coordinator's first.
func (w *walk) inOrder() []*host {
	return []*host{w.n.hosts[hubName], w.n.hosts["node-ada"], w.n.hosts["node-bob"]}
}

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// network is a switch with hosts at it. Each is a network namespace without a name, which lives as long as a process that
// holds it; these end with the test's standard input to them, however the test ends, and the kernel takes away the rest.
// Nothing is made outside of them.
type network struct {
	t     *testing.T
	lan   *host // with the bridge and one port for each host, named as the host
	hosts map[string]*host
}

// host has its own network, host name and /etc/hosts, which names all hosts of its network. The first of a network also goes
// by coordinator.example.net, and it alone has the examples: what other hosts need of them has to come over the network.
type host struct {
	t    *testing.T
	name string
	addr string // its IP address
	home string // its $HOME and $TORC_HOME
	held int    // the process that holds its namespaces
}

// The bridge, and the interface of each host.
const (
	bridge = "lan"
	nic    = "eth0"
)

// newNetwork makes a network, or skips the test where that is not to be had.
func newNetwork(t *testing.T, names ...string) *network {
	t.Helper()
	if testing.Short() {
		t.Skip("networks are not tried with -short")
	}
	for _, tool := range []string{"ip", "tc", "nsenter", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("networks cannot be tried without the program %s (Debian: iproute2, util-linux, mount)", tool)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("networks cannot be tried: only root may make network namespaces")
	}
	n := &network{t: t, hosts: map[string]*host{}}
	hosts := "127.0.0.1 localhost\n"
	for i, name := range names {
		h := &host{t: t, name: name, addr: fmt.Sprintf("10.77.0.%d", i+1), home: t.TempDir()}
		n.hosts[name] = h
		hosts += h.addr + " " + name + "\n"
	}
	hosts += n.hosts[names[0]].addr + " coordinator.example.net\n"
	file := filepath.Join(t.TempDir(), "hosts")
	write(t, file, hosts)
	n.lan = &host{t: t, name: "lan", home: t.TempDir()}
	n.lan.hold(file, true)
	if out, err := n.lan.command("ip", "link", "add", bridge, "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("networks cannot be tried: this kernel makes no bridge: %s", out)
	}
	n.lan.do("ip", "link", "set", bridge, "up")
	for i, name := range names {
		h := n.hosts[name]
		h.hold(file, i == 0)
		cable := n.lan.command("ip", "link", "add", name, "master", bridge, "type", "veth", "peer", "name", nic, "netns", strconv.Itoa(h.held))
		if out, err := cable.CombinedOutput(); err != nil {
			t.Skipf("networks cannot be tried: this kernel makes no pairs of interfaces: %s", out)
		}
		n.lan.do("ip", "link", "set", name, "up")
		h.do("ip", "addr", "add", h.addr+"/24", "dev", nic)
		h.do("ip", "link", "set", nic, "up")
		h.do("ip", "link", "set", "lo", "up")
	}
	return n
}

// hold makes the namespaces and a process that has them until the test ends.
func (h *host) hold(hosts string, examples bool) {
	h.t.Helper()
	script := `mount --bind "$1" /etc/hosts && echo "$2" >/proc/sys/kernel/hostname`
	if !examples {
		script += ` && mount -t tmpfs none "$3"`
	}
	p := exec.Command("sh", "-c", script+" && echo held && exec cat", "sh", hosts, h.name, examplesDir(h.t))
	p.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNS}
	p.Stderr = os.Stderr
	hold, err := p.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		h.t.Skipf("networks cannot be tried: this system gives no network namespace: %v", err)
	}
	h.held = p.Process.Pid
	h.t.Cleanup(func() {
		_ = hold.Close()
		_ = p.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		h.t.Skipf("networks cannot be tried: no namespaces of mounts and host names here: %q, %v", line, err)
	}
}

// command is a command on the host. It takes the place of the process that is started, so that signals reach it.
func (h *host) command(name string, args ...string) *exec.Cmd {
	c := exec.Command("nsenter", append([]string{"--target", strconv.Itoa(h.held), "--net", "--uts", "--mount", "--wd=" + h.home, "--", name}, args...)...)
	c.Env = append(os.Environ(), "HOME="+h.home, "TORC_HOME="+h.home)
	return c
}

// do runs a command on the host and returns its output.
func (h *host) do(name string, args ...string) string {
	h.t.Helper()
	var stderr bytes.Buffer
	c := h.command(name, args...)
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		h.t.Fatalf("on %s: %s %s: %v\n%s%s", h.name, name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// start starts one of the programs on the host.
func (h *host) start(program string, args ...string) *process {
	h.t.Helper()
	return watch(h.t, h.command(filepath.Join(bin, program), args...))
}

// ask runs the coordinator's program on the host and decodes the JSON object of its last line.
func (h *host) ask(result any, args ...string) {
	h.t.Helper()
	lines := strings.Split(strings.TrimSpace(h.do(filepath.Join(bin, "coordinator"), append(args, "--json")...)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), result); err != nil {
		h.t.Fatalf("coordinator %s: last line of stdout: %v\n%s", strings.Join(args, " "), err, lines)
	}
}

// cut takes a host off the network without a word: its link stays up, and nothing passes.
func (n *network) cut(name string) {
	n.t.Helper()
	n.lan.do("ip", "link", "set", name, "nomaster")
}

// heal ends cut.
func (n *network) heal(name string) {
	n.t.Helper()
	n.lan.do("ip", "link", "set", name, "master", bridge)
}

// mute drops all packets from one host to another, whose own still pass: they go to an Ethernet address that nobody has.
func (n *network) mute(from, to string) {
	n.t.Helper()
	n.hosts[from].do("ip", "neigh", "replace", n.hosts[to].addr, "lladdr", "02:00:00:00:00:01", "dev", nic, "nud", "permanent")
}

// shape gives a host's link a rate, 20mbit or 1gbit, in both directions.
func (n *network) shape(name, rate string) {
	n.t.Helper()
	h := n.hosts[name]
	for _, end := range []struct {
		h   *host
		dev string
	}{{h, nic}, {n.lan, name}} {
		args := []string{"qdisc", "replace", "dev", end.dev, "root", "tbf", "rate", rate, "burst", "256kb", "latency", "200ms"}
		if out, err := end.h.command("tc", args...).CombinedOutput(); err != nil {
			n.t.Skipf("links cannot be made slow: tc %s: %s", strings.Join(args, " "), out)
		}
	}
}

// crew is a coordinator and nodes on the hosts of a network.
type crew struct {
	*network
	hub   *host // of the coordinator
	serve *process
	nodes map[string]*process
	args  []string // of every command: --insecure, or none
}

// hubName is the host of the coordinator in every crew.
const hubName = "hub"

// newCrew starts a coordinator on a host of its own and a node on each of the others: with tokens and certificates, unless
// args say otherwise.
func newCrew(t *testing.T, names []string, args ...string) *crew {
	t.Helper()
	n := newNetwork(t, append([]string{hubName}, names...)...)
	c := &crew{network: n, hub: n.hosts[hubName], nodes: map[string]*process{}, args: args}
	c.serve = c.hub.start("coordinator", append([]string{"serve", "--listen", "0.0.0.0"}, args...)...)
	c.serve.await(t, `msg="coordinator serves"`)
	var made struct{ Token string }
	if len(args) == 0 {
		c.hub.ask(&made, "token", "create", "--uses", strconv.Itoa(len(names)))
	}
	for _, name := range names {
		join := append([]string{"join", hubName, "--threads", "1"}, args...)
		if made.Token != "" {
			join = append(join, "--token", made.Token)
		}
		c.nodes[name] = n.hosts[name].start("node", join...)
	}
	for _, name := range names {
		c.nodes[name].await(t, `msg=joined`)
	}
	return c
}

// launch starts the demo's spec, with changes, and returns the process that follows it.
func (c *crew) launch(sets ...string) *process {
	c.t.Helper()
	return c.hub.start("coordinator", append(append([]string{"launch", demoSpec(c.t)}, set(sets)...), c.args...)...)
}

// examplesDir is where the demo lies.
func examplesDir(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// demoSpec is the demo's spec.
func demoSpec(t *testing.T) string { return filepath.Join(examplesDir(t), "arithmetic.yaml") }

// set are the flags that change fields of a spec.
func set(fields []string) []string {
	var flags []string
	for _, f := range fields {
		flags = append(flags, "--set", f)
	}
	return flags
}

// digests are those of undisturbed runs, by what was changed of the demo. Tests that use them are not parallel.
var digests = map[string]string{}

// undisturbed is the digest of the demo's run, with changes, on one member.
func undisturbed(t *testing.T, sets ...string) string {
	t.Helper()
	key := strings.Join(sets, " ")
	if digests[key] == "" {
		var one launched
		coordinator(t, t.TempDir(), &one, append([]string{"launch", demoSpec(t), "--local", "1"}, set(sets)...)...)
		digests[key] = one.Digest
	}
	return digests[key]
}

// ended waits for the end of a run and returns its digest.
func ended(t *testing.T, launch *process) string {
	t.Helper()
	d := launch.await(t, `digest ([0-9a-f]{64})`)[1]
	if code, rest := launch.exit(t); code != 0 {
		t.Errorf("launch exited with %d:\n%s", code, rest)
	}
	return d
}

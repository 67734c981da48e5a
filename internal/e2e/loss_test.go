package e2e

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// process is a program under test whose standard error is read line by line.
type process struct {
	cmd   *exec.Cmd
	lines chan string // closed at the end of its standard error; capacity for all a test prints
}

// start starts a program with its own $TORC_HOME and kills it at the end of the test, if it still runs.
func start(t *testing.T, home, program string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Env = append(os.Environ(), "TORC_HOME="+home)
	return watch(t, cmd)
}

// watch starts a command and kills it at the end of the test, if it still runs.
func watch(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, lines: make(chan string, 1<<16)}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(stderr)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	return p
}

func (p *process) read(r io.Reader) {
	defer close(p.lines)
	for s := bufio.NewScanner(r); s.Scan(); {
		p.lines <- s.Text()
	}
}

// await returns the submatches of the first line that matches.
func (p *process) await(t *testing.T, pattern string) []string {
	t.Helper()
	match, _ := p.upTo(t, pattern)
	return match
}

// upTo returns the submatches of the first line that matches, and all lines up to it that were not read yet.
func (p *process) upTo(t *testing.T, pattern string) (match []string, said string) {
	t.Helper()
	re, timeout := regexp.MustCompile(pattern), time.After(deadline)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("%v ended without a line like %q:\n%s", p.cmd.Args, pattern, said)
			}
			said += line + "\n"
			if m := re.FindStringSubmatch(line); m != nil {
				return m, said
			}
		case <-timeout:
			t.Fatalf("%v printed no line like %q in %v:\n%s", p.cmd.Args, pattern, deadline, said)
		}
	}
}

// exit waits for the end of the program and returns its code and the lines not read yet.
func (p *process) exit(t *testing.T) (code int, rest string) {
	t.Helper()
	for line := range p.lines {
		rest += line + "\n"
	}
	err := p.cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), rest
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, rest
}

// What is taken is refused, with what to do, and disturbs nobody.
func TestTakenNamesPortsAndDirectoriesAreRefused(t *testing.T) {
	home := t.TempDir()
	serve := start(t, home, "coordinator", "serve", "--listen", "127.0.0.1:0")
	addr := serve.await(t, `msg="coordinator serves" addr=(\S+)`)[1]
	start(t, t.TempDir(), "node", "join", addr, "--name", "ada").await(t, `msg=joined`)

	for _, c := range []struct {
		what, home, program string
		args                []string
		code                int
		says                string
	}{
		{"name", t.TempDir(), "node", []string{"join", addr, "--name", "ada"}, 4, "choose another --name"},
		{"port", t.TempDir(), "coordinator", []string{"serve", "--listen", addr}, 1, "choose another port with --listen"},
		{"directory", home, "coordinator", []string{"serve", "--listen", "127.0.0.1:0"}, 1, "choose another with --home"},
		{"name", t.TempDir(), "node", []string{"join", addr, "--name", "a/b"}, 2, "--name"},
	} {
		code, said := start(t, c.home, c.program, c.args...).exit(t)
		if code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("taken %s: exit code %d, want %d and %q:\n%s", c.what, code, c.code, c.says, said)
		}
	}
	var nodes struct{ Nodes []map[string]any }
	coordinator(t, home, &nodes, "nodes", "--coordinator", addr)
	if len(nodes.Nodes) != 1 {
		t.Errorf("cluster has nodes %v, want ada alone", nodes.Nodes)
	}
}

// Package docs_test runs the commands that the pages name.
package docs_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// block is a fenced block of a page: its words after the fence, and its lines.
type block struct {
	kind  string
	lines []string
}

// blocks reads the fenced blocks of a page.
func blocks(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	open := false
	for _, line := range strings.Split(string(text), "\n") {
		kind, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !open:
			all = append(all, block{kind: kind})
			open = true
		case fence:
			open = false
		case open:
			last := &all[len(all)-1]
			last.lines = append(last.lines, line)
		}
	}
	if open {
		t.Fatalf("%s: a block does not end", page)
	}
	return all
}

// programs builds both under the names that packages give them.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range []string{"coordinator", "node"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, p), "../"+p)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOAMD64=v1")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", p, err, out)
		}
		if err := os.Symlink(p, filepath.Join(dir, "torc-"+p)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// elsewhere counts, for each page with commands, the blocks that this test does not run, by where they run instead: as root on
// a machine of one's own, in the source tree, on a Kubernetes cluster.
var elsewhere = map[string]map[string]int{
	"../README.md":  {"sh source": 1},
	"guide.md":      {"sh source": 1},
	"install.md":    {"sh root": 1, "sh source": 2},
	"bare-metal.md": {"sh root": 3},
	"failures.md":   {"sh cluster": 1},
	"kubernetes.md": {"sh cluster": 7},
}

func TestCommandsOfThePages(t *testing.T) {
	bin := programs(t)
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("exist", func(t *testing.T) { commandsExist(t, bin, append(pages, "../README.md")) })
	for _, page := range slices.Sorted(maps.Keys(elsewhere)) {
		t.Run(strings.TrimPrefix(page, "../"), func(t *testing.T) { walk(t, bin, page) })
	}
}

// material puts what the guide's reader brings into dir: a model, data, and the guide's own spec with fewer steps.
func material(t *testing.T, dir string) {
	t.Helper()
	examples, err := filepath.Abs("../examples")
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"examples": "", "base": "base", "train.jsonl": "arithmetic/train.jsonl"} {
		if err := os.Symlink(filepath.Join(examples, target), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	test, err := os.ReadFile(filepath.Join(examples, "arithmetic/test.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(test, []byte("\n"))
	write := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("test.jsonl", bytes.Join(lines[:8], nil))
	steps := regexp.MustCompile(`(?m)^steps: \d+ `)
	for _, b := range blocks(t, "guide.md") {
		if text := strings.Join(b.lines, "\n"); b.kind == "yaml" && steps.MatchString(text) {
			text = steps.ReplaceAllString(text, "steps: 4 ")
			write("spec.yaml", []byte(text))
			write("run.yaml", []byte(text))
			return
		}
	}
	t.Fatal("guide.md has no spec")
}

var (
	call      = regexp.MustCompile(`(?:^|[|&;] *|-- |-u torc )(?:/usr/lib/torc/|torc-)?(coordinator|node) +([a-z][^|&;>#]*)`)
	makeCall  = regexp.MustCompile(`^make ([a-z]+)`)
	flagNames = regexp.MustCompile(`(?:^| )--([a-z][a-z-]*)`)
)

// commandsExist asks the programs' help for each command and flag that a block names.
func commandsExist(t *testing.T, bin string, pages []string) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	helps, checked := map[string]string{}, 0
	for _, page := range pages {
		var lines []string
		for _, b := range blocks(t, page) {
			for _, line := range b.lines {
				if m := makeCall.FindStringSubmatch(line); m != nil && !bytes.Contains(makefile, []byte("\n"+m[1]+":")) {
					t.Errorf("%s: %s: there is no such target", page, line)
				}
				lines = append(lines, line)
			}
		}
		for _, line := range append(lines, spans(t, page)...) {
			for _, m := range call.FindAllStringSubmatch(line, -1) {
				checked++
				if why := missing(t, bin, helps, m[1], strings.Fields(m[2]), m[2]); why != "" {
					t.Errorf("%s: %s: %s", page, strings.TrimSpace(line), why)
				}
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d commands found on all pages: is the pattern right?", checked)
	}
}

var (
	fenced = regexp.MustCompile("(?s)\n```.*?\n```")
	span   = regexp.MustCompile("`([^`]+)`")
)

// spans are the pieces of code within a page's sentences.
func spans(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range span.FindAllSubmatch(fenced.ReplaceAll(text, nil), -1) {
		all = append(all, strings.Join(strings.Fields(string(m[1])), " "))
	}
	return all
}

// missing says what a command line names that the program does not have.
func missing(t *testing.T, bin string, helps map[string]string, program string, words []string, text string) string {
	t.Helper()
	path := []string{program}
	for _, w := range words {
		help := helpOf(t, bin, helps, path)
		if !regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(w) + ` `).MatchString(help) {
			break
		}
		path = append(path, w)
	}
	if len(path) == 1 {
		return "there is no such command"
	}
	help := helpOf(t, bin, helps, path)
	for _, m := range flagNames.FindAllStringSubmatch(text, -1) {
		if !strings.Contains(help, "--"+m[1]) {
			return fmt.Sprintf("%s has no flag --%s", strings.Join(path, " "), m[1])
		}
	}
	return ""
}

func helpOf(t *testing.T, bin string, helps map[string]string, path []string) string {
	t.Helper()
	key := strings.Join(path, " ")
	if help, ok := helps[key]; ok {
		return help
	}
	out, err := exec.Command(filepath.Join(bin, path[0]), append(slices.Clone(path[1:]), "--help")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s --help: %v\n%s", key, err, out)
	}
	helps[key] = string(out)
	return helps[key]
}

// walker runs a page's commands in a folder of its own, on this machine alone.
type walker struct {
	t       *testing.T
	page    string
	dir     string
	env     []string
	replace *strings.Replacer
	token   string // the last one made
	run     string // the last one launched
}

// walk runs the sh blocks of a page in their order.
func walk(t *testing.T, bin, page string) {
	dir := t.TempDir()
	material(t, dir)
	coordinator, link := free(t), free(t)
	w := &walker{
		t: t, page: page, dir: dir,
		env: append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "TORC_HOME="+filepath.Join(dir, "home"),
			"TORC_COORDINATOR="+coordinator, "TORC_THREADS=1"),
		// One machine plays them all, at ports that are free here. The coordinator that looks for members has another one's home.
		replace: strings.NewReplacer(
			"serve --listen 0.0.0.0 --member HOST:PORT", "serve --home moved --listen 127.0.0.1:0 --member "+link,
			"coordinator.example.net:7170", coordinator, "coordinator.example.net", coordinator, "--listen 0.0.0.0:7172", "--listen 127.0.0.1:0",
			"HOST:7170", coordinator, "DIR", "base", "BASE", "base", "node1.example.net:7199", link, "--listen 0.0.0.0:7199", "--listen "+link, "--listen 0.0.0.0", "--listen "+coordinator,
		),
	}
	ran, passed := 0, map[string]int{}
	for _, b := range blocks(t, page) {
		switch b.kind {
		case "sh":
			for _, line := range b.lines {
				ran++
				w.line(line)
			}
		case "sh cluster", "sh root", "sh source":
			passed[b.kind]++
		case "yaml", "text":
		default:
			t.Errorf("block ```%s: say where it runs (sh, sh root, sh source or sh cluster) or what it is (yaml, text)", b.kind)
		}
	}
	if !maps.Equal(passed, elsewhere[page]) {
		t.Errorf("blocks that run elsewhere are %v, known are %v: does each of the new ones have to?", passed, elsewhere[page])
	}
	if ran == 0 && page != "kubernetes.md" {
		t.Error("nothing on this page was run")
	}
}

// free is an address that was free a moment ago.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// goesOn are commands that end only when they are told to, and what they say when they have begun.
var goesOn = []struct{ command, begun *regexp.Regexp }{
	{regexp.MustCompile(`^(torc-)?coordinator serve`), regexp.MustCompile(`coordinator serves`)},
	{regexp.MustCompile(`^(torc-)?node bench link --listen `), regexp.MustCompile(`measuring links`)},
}

var (
	comment  = regexp.MustCompile(`\s+#.*$`)
	tokens   = regexp.MustCompile(`^(torc-)?coordinator token create`)
	joins    = regexp.MustCompile(`^(torc-)?node join`)
	launches = regexp.MustCompile(`^(torc-)?coordinator launch`)
)

func (w *walker) line(line string) {
	w.t.Helper()
	text := w.replace.Replace(comment.ReplaceAllString(line, ""))
	for word, value := range map[string]string{"TOKEN": w.token, "RUN": w.run} {
		if strings.Contains(text, word) && value == "" {
			w.t.Fatalf("%s: no command before it gave what %s stands for", line, word)
		}
		text = strings.ReplaceAll(text, word, value)
	}
	for _, g := range goesOn {
		if g.command.MatchString(line) {
			w.start(text, g.begun)
			return
		}
	}
	if joins.MatchString(line) {
		w.join(text)
		return
	}
	switch {
	case tokens.MatchString(line):
		w.token = strings.TrimSpace(w.command(text))
	case launches.MatchString(line):
		var ended struct{ Run string }
		if err := json.Unmarshal([]byte(w.command(text+" --json")), &ended); err != nil {
			w.t.Fatalf("%s: %v", text, err)
		}
		w.run = ended.Run
	default:
		w.command(text)
	}
}

// join starts a node and waits until the coordinator has one more.
func (w *walker) join(text string) {
	w.t.Helper()
	nodes := func() int { return strings.Count(w.command("coordinator nodes"), "\n") }
	before := nodes()
	w.start(text, regexp.MustCompile(`msg=joined`))
	for nodes() == before {
		time.Sleep(100 * time.Millisecond)
	}
}

// command runs a line to its end and returns its output.
func (w *walker) command(text string) string {
	w.t.Helper()
	var out, errs bytes.Buffer
	c := exec.CommandContext(w.t.Context(), "bash", "-euo", "pipefail", "-c", text)
	c.Dir, c.Env, c.Stdout, c.Stderr = w.dir, w.env, &out, &errs
	if err := c.Run(); err != nil {
		w.t.Fatalf("%s: %v\n%s%s", text, err, out.String(), errs.String())
	}
	return out.String()
}

// start runs a line until the test ends, and waits until it says that it has begun.
func (w *walker) start(text string, begun *regexp.Regexp) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, "bash", "-c", "exec "+text)
	c.Dir, c.Env = w.dir, w.env
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	log, err := c.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	var rest sync.WaitGroup
	w.t.Cleanup(func() {
		cancel()
		rest.Wait()
		_ = c.Wait()
	})
	var said []string
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		said = append(said, lines.Text())
		if begun.MatchString(lines.Text()) {
			rest.Go(func() { _, _ = io.Copy(io.Discard, log) })
			return
		}
	}
	w.t.Fatalf("%s: ended without %v:\n%s", text, begun, strings.Join(said, "\n"))
}

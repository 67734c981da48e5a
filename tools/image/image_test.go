package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

const source = "../.."

// built are the archives of this machine's platform, by program.
func built(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := run(t.Context(), source, dir, "1.2.3", []string{runtime.GOARCH}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// open unpacks an archive and returns its only image.
func open(t *testing.T, path string) v1.Image {
	t.Helper()
	dir := t.TempDir()
	unpack(t, path, dir)
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := index.IndexManifest()
		if err != nil || len(m.Manifests) != 1 {
			t.Fatalf("index of %s: %+v, %v: want one entry", path, m, err)
		}
		if !m.Manifests[0].MediaType.IsIndex() {
			image, err := index.Image(m.Manifests[0].Digest)
			if err != nil {
				t.Fatal(err)
			}
			return image
		}
		if index, err = index.ImageIndex(m.Manifests[0].Digest); err != nil {
			t.Fatal(err)
		}
	}
}

// unpack writes a tar file's entries below dir with their modes and owners.
func unpack(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	untar(t, f, dir)
}

func untar(t *testing.T, r io.Reader, dir string) {
	t.Helper()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(name, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, name)
		default:
			var data []byte
			if data, err = io.ReadAll(tr); err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o600))
			}
		}
		if err == nil && os.Getuid() == 0 {
			err = os.Lchown(name, h.Uid, h.Gid)
		}
		if err == nil && h.Typeflag != tar.TypeSymlink {
			err = os.Chmod(name, h.FileInfo().Mode())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestImages builds them twice, which takes most of its time.
func TestImages(t *testing.T) {
	a, b := built(t), built(t)
	t.Run("the same source makes the same bytes", func(t *testing.T) { sameBytes(t, a, b) })
	t.Run("programs run on what the image has", func(t *testing.T) { programsRun(t, a) })
}

func sameBytes(t *testing.T, a, b string) {
	for _, p := range programs() {
		one, err := os.ReadFile(filepath.Join(a, "torc-"+p.name+".oci.tar"))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(b, "torc-"+p.name+".oci.tar"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one, two) {
			t.Errorf("%s: two builds differ (%d and %d bytes)", p.name, len(one), len(two))
		}
		if bytes.Contains(one, []byte(a)) {
			t.Errorf("%s: the folder it was built in is part of the image", p.name)
		}
	}
}

// box runs an image's program as a container engine would, with the image's files, user, folder and environment and nothing
// else.
type box struct {
	t      *testing.T
	root   string
	config v1.Config
}

func newBox(t *testing.T, archive string) box {
	t.Helper()
	image := open(t, archive)
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != runtime.GOARCH || config.OS != "linux" || config.Config.User != "65532:65532" {
		t.Errorf("%s: is for %s/%s and runs as %q", archive, config.OS, config.Architecture, config.Config.User)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp("", "torc-box-*") // below /tmp, which everybody may walk through; t.TempDir is ours alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		untar(t, r, root)
		_ = r.Close()
	}
	return box{t, root, config.Config}
}

func (b box) command(ctx context.Context, args ...string) *exec.Cmd {
	all := append(append([]string{}, b.config.Entrypoint...), args...)
	c := exec.CommandContext(ctx, all[0], all[1:]...)
	c.Env, c.Dir = b.config.Env, b.config.WorkingDir
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: b.root, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	return c
}

func (b box) output(args ...string) string {
	b.t.Helper()
	var out, errs bytes.Buffer
	c := b.command(b.t.Context(), args...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		b.t.Fatalf("%v: %v\n%s", args, err, errs.String())
	}
	return out.String()
}

// serve starts a program that goes on until the test ends, and returns the first line of its log that matches.
func (b box) serve(mark *regexp.Regexp, args ...string) []string {
	b.t.Helper()
	c := b.command(b.t.Context(), args...)
	log, err := c.StderrPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Wait() }) // the context of the test is done before this runs
	var said []string
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		said = append(said, lines.Text())
		if m := mark.FindStringSubmatch(lines.Text()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, log) }() // ends with the program
			return m
		}
	}
	b.t.Fatalf("%v ended without saying %v:\n%s", args, mark, strings.Join(said, "\n"))
	return nil
}

func programsRun(t *testing.T, dir string) {
	if os.Getuid() != 0 {
		t.Skip("chroot needs root: run `make image` as root to try the programs on the image's files alone")
	}
	coordinator, node := newBox(t, filepath.Join(dir, "torc-coordinator.oci.tar")), newBox(t, filepath.Join(dir, "torc-node.oci.tar"))
	for _, b := range []box{coordinator, node} {
		var v struct{ Version, Platform string }
		if err := json.Unmarshal([]byte(b.output("version", "--json")), &v); err != nil || v.Version != "1.2.3" || v.Platform != "linux/"+runtime.GOARCH {
			t.Errorf("version: %+v, %v", v, err)
		}
		link, err := os.Readlink(filepath.Join(b.root, "usr/bin/torc-"+filepath.Base(b.config.Entrypoint[0])))
		if _, e := os.Stat(filepath.Join(b.root, "usr/bin", link)); err != nil || e != nil {
			t.Errorf("the link to the program leads to %q: %v, %v", link, err, e)
		}
	}
	addr := coordinator.serve(regexp.MustCompile(`msg="coordinator serves" addr=(\S+)`), "serve", "--listen", "127.0.0.1:0")[1]
	token := strings.TrimSpace(coordinator.output("token", "create", "--coordinator", addr))
	node.serve(regexp.MustCompile(`msg=joined`), "join", addr, "--token", token, "--name", "boxed", "--threads", "1")
	if out := coordinator.output("nodes", "--coordinator", addr, "--json"); !strings.Contains(out, `"boxed"`) {
		t.Errorf("the coordinator in its image does not list the node in its image: %s", out)
	}
}

func TestTreeNamesFoldersBeforeWhatIsInThem(t *testing.T) {
	tree := &Tree{}
	tree.File("a/b/c", 0o644, []byte("x"))
	tree.File("a-b", 0o644, nil)
	tree.Dir("tmp", 0o1777, 0)
	content, err := tree.Tar()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(bytes.NewReader(content)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if !h.ModTime.Equal(h.ModTime.Truncate(0)) || h.ModTime.Unix() != 0 {
			t.Errorf("%s has a time: %v", h.Name, h.ModTime)
		}
	}
	if got := strings.Join(names, " "); got != "a/ a/b/ a/b/c a-b tmp/" {
		t.Errorf("got %s", got)
	}
}

// The Dockerfile and this program make images that are used in the same way.
func TestDockerfileSaysTheSame(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(source, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	stages := strings.Split(string(text), "\nFROM ")
	for _, p := range programs() {
		image, err := pack(p, &Tree{}, "1", "amd64")
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		stage := ""
		for _, s := range stages {
			if first, _, _ := strings.Cut(s, "\n"); strings.HasSuffix(first, " AS "+p.name) {
				stage = s
			}
		}
		c := config.Config
		for _, line := range []string{
			"ENV " + strings.Join(c.Env, " "), "WORKDIR " + c.WorkingDir, "USER " + c.User, "VOLUME " + state,
			"EXPOSE " + strings.Join(p.ports, " "), `ENTRYPOINT ["` + c.Entrypoint[0] + `"]`,
		} {
			if !strings.Contains(stage, "\n"+line+"\n") {
				t.Errorf("the stage %s of the Dockerfile lacks the line %s", p.name, line)
			}
		}
	}
}

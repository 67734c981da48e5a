package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nobody runs the programs: a user and a group of no rights, numbered as Kubernetes wants to see it.
const nobody = 65532

// state is the only folder of an image that its program writes to, /tmp apart: what it does below home, the CA beside it.
const state = "/var/lib/torc"

// where is the folder of the programs, in images and packages alike; Node.js has a program called node, too.
const where = "usr/lib/torc"

// program is one of torc's, and what its image is told.
type program struct {
	name  string
	title string
	ports []string
}

func programs() []program {
	return []program{
		{"coordinator", "torc's control plane and command line", []string{"7170/tcp", "7180/tcp"}},
		{"node", "a worker of a torc cluster", []string{"7171/tcp", "7180/tcp"}},
	}
}

// tree is everything that the image of p has: the program, who runs it, whom it trusts, where it may write.
func (p program) tree(ctx context.Context, source, version, arch string) (*Tree, error) {
	binary, err := build(ctx, source, p.name, version, arch)
	if err != nil {
		return nil, err
	}
	roots, err := rootsPEM()
	if err != nil {
		return nil, err
	}
	t := &Tree{}
	t.File("etc/passwd", 0o644, fmt.Appendf(nil, "torc:x:%d:%d:torc:%s:/nonexistent\n", nobody, nobody, state))
	t.File("etc/group", 0o644, fmt.Appendf(nil, "torc:x:%d:\n", nobody))
	t.File("etc/ssl/certs/ca-certificates.crt", 0o644, roots)
	t.File(where+"/"+p.name, 0o755, binary)
	t.Link("usr/bin/torc-"+p.name, "../lib/torc/"+p.name)
	t.Dir("tmp", 0o1777, 0)
	t.Dir(strings.TrimPrefix(state, "/"), 0o750, nobody)
	return t, nil
}

// build compiles a program so that nothing of this machine or folder gets into it.
func build(ctx context.Context, source, name, version, arch string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "torc-image-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= -X main.version="+version, "-o", binary, "./"+name)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off", "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s for %s: %w\n%s", name, arch, err, out)
	}
	if err := static(binary); err != nil {
		return nil, fmt.Errorf("build %s for %s: %w", name, arch, err)
	}
	return os.ReadFile(binary)
}

// rootsPEM are the CA certificates that a server of data may show, as a file that Go and others read.
func rootsPEM() ([]byte, error) {
	var text []byte
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // trusted within bounds that a file cannot express
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})...)
	}
	if len(text) == 0 {
		return nil, fmt.Errorf("the bundle of CA certificates is empty")
	}
	return text, nil
}

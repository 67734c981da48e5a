package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"path"
	"slices"
	"strings"
	"time"
)

// Tree is what an image consists of. The zero value is empty. Folders above an entry come by themselves.
type Tree struct{ entries []entry }

type entry struct {
	name string // from the root, without a slash before it
	kind byte   // as in a tar header
	mode int64
	uid  int
	link string
	data []byte
}

// File adds a file of root's.
func (t *Tree) File(name string, mode int64, data []byte) {
	t.entries = append(t.entries, entry{name: name, kind: tar.TypeReg, mode: mode, data: data})
}

// Link adds a symbolic link.
func (t *Tree) Link(name, to string) {
	t.entries = append(t.entries, entry{name: name, kind: tar.TypeSymlink, mode: 0o777, link: to})
}

// Dir adds a folder that belongs to uid.
func (t *Tree) Dir(name string, mode int64, uid int) {
	t.entries = append(t.entries, entry{name: name, kind: tar.TypeDir, mode: mode, uid: uid})
}

// Tar is the tree as an archive: sorted by name, folders before what is in them, every time the epoch.
func (t *Tree) Tar() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range t.sorted() {
		h := &tar.Header{
			Typeflag: e.kind, Name: e.name, Linkname: e.link, Mode: e.mode, Uid: e.uid, Gid: e.uid,
			Size: int64(len(e.data)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		if e.kind == tar.TypeDir {
			h.Name += "/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// sorted are the entries with the folders above them.
func (t *Tree) sorted() []entry {
	all := slices.Clone(t.entries)
	have := map[string]bool{}
	for _, e := range all {
		have[e.name] = true
	}
	for _, e := range t.entries {
		for dir := path.Dir(e.name); dir != "." && !have[dir]; dir = path.Dir(dir) {
			have[dir] = true
			all = append(all, entry{name: dir, kind: tar.TypeDir, mode: 0o755})
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Compare(strings.ReplaceAll(a.name, "/", "\x00"), strings.ReplaceAll(b.name, "/", "\x00"))
	})
	return all
}

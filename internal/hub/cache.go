package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/torctrain/torc/internal/durable"
)

// The cache of the Hugging Face libraries:
//
//	models--org--name/refs/main                     the commit that main was when somebody last asked
//	models--org--name/blobs/HASH                    a file: by SHA-256, or by git's SHA-1 where it is small
//	models--org--name/blobs/HASH.incomplete         part of one
//	models--org--name/snapshots/COMMIT/config.json  a link to ../../blobs/HASH

func (c *Client) folder(r repo) string { return filepath.Join(c.Cache, r.folder()) }

// commitOf is the commit that a revision is in the cache.
func commitOf(folder, revision string) (string, bool) {
	if hexCommit.MatchString(revision) {
		return revision, true
	}
	if !filepath.IsLocal(revision) {
		return "", false
	}
	text, err := os.ReadFile(filepath.Join(folder, "refs", filepath.FromSlash(revision)))
	commit := strings.TrimSpace(string(text))
	return commit, err == nil && hexCommit.MatchString(commit)
}

// cached is the snapshot of a model, if the cache has all of it that a run needs.
func (c *Client) cached(r repo) (string, bool) {
	folder := c.folder(r)
	commit, ok := commitOf(folder, r.revision)
	if !ok {
		return "", false
	}
	dir := filepath.Join(folder, "snapshots", commit)
	return dir, whole(dir)
}

// snapshotOf is the snapshot of main, or the only one, in a directory of the cache.
func snapshotOf(folder string) (string, bool) {
	if commit, ok := commitOf(folder, "main"); ok {
		return filepath.Join(folder, "snapshots", commit), true
	}
	list, err := os.ReadDir(filepath.Join(folder, "snapshots"))
	if err != nil || len(list) != 1 || !hexCommit.MatchString(list[0].Name()) {
		return "", false
	}
	return filepath.Join(folder, "snapshots", list[0].Name()), true
}

// whole says whether dir has a model's configuration, tokenizer and weights, single or sharded.
func whole(dir string) bool {
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name)) // follows links
		return err == nil
	}
	if !there("config.json") || !there("tokenizer.json") {
		return false
	}
	if there(singleName) {
		return true
	}
	shards, err := shardsOf(filepath.Join(dir, indexName))
	if err != nil {
		return false
	}
	for _, name := range shards {
		if !there(name) {
			return false
		}
	}
	return true
}

const (
	singleName = "model.safetensors"
	indexName  = "model.safetensors.index.json"
)

// shardsOf are the files that an index of weights names.
func shardsOf(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	seen := map[string]bool{}
	var names []string
	for _, name := range index.WeightMap {
		if name != filepath.Base(name) || name == "." || name == ".." {
			return nil, fmt.Errorf("read %s: %q is no name of a file beside it", path, name)
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("read %s: it names no files", path)
	}
	return names, nil
}

// remember notes which commit a revision is.
func remember(folder, revision, commit string) error {
	if hexCommit.MatchString(revision) || !filepath.IsLocal(revision) {
		return nil
	}
	return replace(filepath.Join(folder, "refs", filepath.FromSlash(revision)), []byte(commit))
}

// replace makes a file with text of what is at path, at once.
func replace(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, text, 0o644)
}

// link makes the file of a snapshot stand for a blob.
func link(folder, commit, name, hash string) error {
	path := filepath.Join(folder, "snapshots", commit, filepath.FromSlash(name))
	up := strings.Repeat("../", 2+strings.Count(name, "/"))
	target := up + "blobs/" + hash
	if old, err := os.Readlink(path); err == nil && old == target {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(filepath.FromSlash(target), path)
}

package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// listing is what a hub says of a repository at a revision.
type listing struct {
	SHA      string    `json:"sha"`
	Siblings []sibling `json:"siblings"`
}

// sibling is a file of a repository.
type sibling struct {
	Name string `json:"rfilename"`
	Size int64  `json:"size"`
	Blob string `json:"blobId"` // git's SHA-1
	LFS  *struct {
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"lfs"`
}

// hash names the file's content: SHA-256 where git has only a pointer to it, else git's SHA-1.
func (s sibling) hash() string {
	if s.LFS != nil {
		return s.LFS.SHA256
	}
	return s.Blob
}

// maxListing bounds what a hub may say of a repository, in bytes.
const maxListing = 64 << 20

// list asks the hub for the files of a repository.
func (c *Client) list(ctx context.Context, r repo) (*listing, error) {
	address := fmt.Sprintf("%s/api/%s/%s/revision/%s?blobs=true", c.Endpoint, r.kind, r.id, url.PathEscape(r.revision))
	var l listing
	err := c.repeat(ctx, func() error {
		reply, err := c.get(ctx, address, nil)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		if reply.StatusCode != http.StatusOK {
			return c.refused(reply, r)
		}
		text, err := io.ReadAll(io.LimitReader(reply.Body, maxListing+1))
		if err != nil {
			return again(err, 0)
		}
		if len(text) > maxListing {
			return fmt.Errorf("the hub's list of files has more than %d bytes", maxListing)
		}
		l = listing{}
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("%s is no hub: its list of files is no JSON: %w", c.Endpoint, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !hexCommit.MatchString(l.SHA) {
		return nil, fmt.Errorf("%s says that %s is commit %q, which is none", c.Endpoint, r, l.SHA)
	}
	for _, s := range l.Siblings {
		if !filepath.IsLocal(s.Name) || strings.Contains(s.Name, "\\") {
			return nil, fmt.Errorf("%s has a file %q, whose name leads elsewhere", r, s.Name)
		}
	}
	return &l, nil
}

// refused says what a hub's answer means and what to do.
func (c *Client) refused(reply *http.Response, r repo) error {
	switch code := reply.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		if c.Token == "" {
			return fmt.Errorf("%s does not show %s to everybody (%s): set HF_TOKEN to a token that may read it; if it does not exist, correct its name", c.Endpoint, r, reply.Status)
		}
		return fmt.Errorf("%s does not show %s to the owner of this token (%s): ask for access on its page, or set HF_TOKEN to another", c.Endpoint, r, reply.Status)
	case code == http.StatusNotFound:
		return fmt.Errorf("%s has no %s: correct name or revision; a private one needs HF_TOKEN", c.Endpoint, r)
	}
	return answer(reply)
}

// model brings a model into the cache and returns its snapshot.
func (c *Client) model(ctx context.Context, r repo, accept func(string) error) (string, error) {
	dir, there := c.cached(r)
	if there && (c.Offline || hexCommit.MatchString(r.revision)) {
		return dir, nil
	}
	if c.Offline {
		return "", fmt.Errorf("%s is not in %s as a whole, and HF_HUB_OFFLINE forbids to ask for it", r, c.Cache)
	}
	l, err := c.list(ctx, r)
	if err != nil {
		if there && errors.As(err, new(*passing)) {
			c.Note(fmt.Sprintf("the hub does not answer (%v), taking what the cache has of %s", err, r))
			return dir, nil
		}
		return "", err
	}
	small, weights, err := wanted(l)
	if err != nil {
		return "", err
	}
	if dir, err = c.bring(ctx, r, l.SHA, small); err != nil {
		return "", err
	}
	if accept != nil {
		if err := accept(dir); err != nil {
			return "", err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, indexName)); err == nil && !slices.ContainsFunc(weights, func(s sibling) bool { return s.Name == singleName }) {
		shards, err := shardsOf(filepath.Join(dir, indexName))
		if err != nil {
			return "", err
		}
		weights = slices.DeleteFunc(weights, func(s sibling) bool { return !slices.Contains(shards, s.Name) })
	}
	if dir, err = c.bring(ctx, r, l.SHA, weights); err != nil {
		return "", err
	}
	return dir, remember(c.folder(r), r.revision, l.SHA)
}

// goesAlong are the files of a model that a run or an export uses, besides weights.
var goesAlong = []string{
	"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "chat_template.jinja", "chat_template.json", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE",
}

// wanted parts the files of a model into weights and those to look at first.
func wanted(l *listing) (small, weights []sibling, err error) {
	single, index := false, false
	for _, s := range l.Siblings {
		single = single || s.Name == singleName
		index = index || s.Name == indexName
	}
	for _, s := range l.Siblings {
		switch {
		case slices.Contains(goesAlong, s.Name), s.Name == indexName && !single:
			small = append(small, s)
		case s.Name == singleName, index && !single && !strings.Contains(s.Name, "/") && strings.HasSuffix(s.Name, ".safetensors"):
			weights = append(weights, s)
		}
	}
	if len(weights) == 0 {
		return nil, nil, errors.New("it has no weights as safetensors: convert them, or take another revision")
	}
	return small, weights, nil
}

// dataset brings the files of a dataset that match pattern into the cache and returns their paths.
func (c *Client) dataset(ctx context.Context, r repo, pattern string) ([]string, error) {
	folder := c.folder(r)
	commit, known := commitOf(folder, r.revision)
	if c.Offline {
		if known {
			if paths, err := filepath.Glob(filepath.Join(folder, "snapshots", commit, filepath.FromSlash(pattern))); err == nil && len(paths) > 0 {
				return paths, nil
			}
		}
		return nil, fmt.Errorf("%s is not in %s, and HF_HUB_OFFLINE forbids to ask for it", pattern, c.Cache)
	}
	l, err := c.list(ctx, r)
	if err != nil {
		return nil, err
	}
	var found []sibling
	for _, s := range l.Siblings {
		if ok, _ := path.Match(pattern, s.Name); ok { // parseData has tried the pattern
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no file %q at commit %s: it has %s", r, pattern, l.SHA[:7], some(l.Siblings))
	}
	slices.SortFunc(found, func(a, b sibling) int { return strings.Compare(a.Name, b.Name) })
	dir, err := c.bring(ctx, r, l.SHA, found)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, s := range found {
		paths = append(paths, filepath.Join(dir, filepath.FromSlash(s.Name)))
	}
	return paths, remember(folder, r.revision, l.SHA)
}

// some names a few files.
func some(list []sibling) string {
	var names []string
	for _, s := range list {
		if len(names) == 8 {
			names = append(names, "…")
			break
		}
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// bring fetches files that the cache lacks, and returns the snapshot they are in.
func (c *Client) bring(ctx context.Context, r repo, commit string, files []sibling) (string, error) {
	folder := c.folder(r)
	for _, s := range files {
		hash := s.hash()
		if !hexHash.MatchString(hash) || s.LFS != nil && len(hash) != 64 {
			return "", fmt.Errorf("%s does not say the hash of %s: it is no hub whose files can be checked", c.Endpoint, s.Name)
		}
		blob := filepath.Join(folder, "blobs", hash)
		if info, err := os.Stat(blob); err != nil || info.Size() != s.Size {
			if err := os.MkdirAll(filepath.Dir(blob), 0o755); err != nil {
				return "", err
			}
			d := download{
				name: s.Name, url: c.fileURL(r, commit, s.Name), part: blob + ".incomplete", hash: hash, size: s.Size, immutable: true,
				refused: func(reply *http.Response) error { return c.refused(reply, r) },
			}
			if _, err := c.download(ctx, &d); err != nil {
				return "", fmt.Errorf("%s: %w", s.Name, err)
			}
			if err := os.Rename(d.part, blob); err != nil {
				return "", err
			}
		}
		if err := link(folder, commit, s.Name, hash); err != nil {
			return "", err
		}
	}
	return filepath.Join(folder, "snapshots", commit), nil
}

// fileURL is where the hub has a file.
func (c *Client) fileURL(r repo, commit, name string) string {
	kind := ""
	if r.kind != "models" {
		kind = r.kind + "/"
	}
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return fmt.Sprintf("%s/%s%s/resolve/%s/%s", c.Endpoint, kind, r.id, commit, strings.Join(parts, "/"))
}

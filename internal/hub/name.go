package hub

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// repo is a repository of a hub at a revision.
type repo struct {
	kind     string // models or datasets
	id       string // org/name, or a name alone
	revision string // a branch, a tag or a commit; default main
}

func (r repo) String() string { return r.id + "@" + r.revision }

// folder is the name of the repository in the cache.
func (r repo) folder() string { return r.kind + "--" + strings.ReplaceAll(r.id, "/", "--") }

// Remote says whether a name is to be fetched: a URL of the web or of a hub.
func Remote(name string) bool {
	return strings.HasPrefix(name, "hf://") || strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://")
}

var (
	idPart    = `[A-Za-z0-9_][A-Za-z0-9._-]{0,95}`
	modelName = regexp.MustCompile(`^(` + idPart + `(?:/` + idPart + `)?)(?:@([^@]+))?$`)
	dataName  = regexp.MustCompile(`^datasets/(` + idPart + `/` + idPart + `)(?:@(refs/(?:convert|pr)/[^/@]+|[^/@]+))?/(.+)$`)
	hexCommit = regexp.MustCompile(`^[0-9a-f]{40}$`)
	hexHash   = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// parseModel reads hf://org/name[@revision].
func parseModel(name string) (repo, error) {
	m := modelName.FindStringSubmatch(strings.TrimPrefix(name, "hf://"))
	if m == nil || strings.HasPrefix(m[1], "datasets/") || strings.HasPrefix(m[1], "spaces/") {
		return repo{}, fmt.Errorf("%q names no model of a hub: write hf://org/name or hf://org/name@revision", name)
	}
	return repo{"models", m[1], orMain(m[2])}, nil
}

// parseData reads hf://datasets/org/name[@revision]/path.
func parseData(name string) (repo, string, error) {
	m := dataName.FindStringSubmatch(strings.TrimPrefix(name, "hf://"))
	if m == nil {
		return repo{}, "", fmt.Errorf("%q names no file of a hub's dataset: write hf://datasets/org/name/path or hf://datasets/org/name@revision/path", name)
	}
	if _, err := path.Match(m[3], ""); err != nil {
		return repo{}, "", fmt.Errorf("%q: %w", name, err)
	}
	revision, err := url.PathUnescape(orMain(m[2]))
	if err != nil {
		return repo{}, "", fmt.Errorf("%q: %w", name, err)
	}
	return repo{"datasets", m[1], revision}, m[3], nil
}

func orMain(revision string) string {
	if revision == "" {
		return "main"
	}
	return revision
}

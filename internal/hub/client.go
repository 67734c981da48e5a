package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Client fetches. Its fields are not to be changed after its first use.
type Client struct {
	Endpoint string // of the hub, without a slash at the end
	Token    string // for the hub; "" for none
	Cache    string // directory in the layout of the Hugging Face cache
	Files    string // directory of files from elsewhere
	Offline  bool   // take what is there and ask nobody
	HTTP     *http.Client
	// Note is called with what a person may want to know while a fetch goes on: one line without an end.
	Note func(line string)
	// Pause is how long to wait before the first repetition of a request that failed; it doubles each time.
	Pause time.Duration
}

// DefaultEndpoint is the hub that is asked unless HF_ENDPOINT names another.
const DefaultEndpoint = "https://huggingface.co"

// New returns a client set up as the Hugging Face libraries are, from HF_ENDPOINT, HF_TOKEN (or the file at HF_TOKEN_PATH, by
// default $HF_HOME/token), HF_HUB_CACHE, HF_HOME and HF_HUB_OFFLINE. home is $TORC_HOME, below which files from elsewhere are kept.
func New(getenv func(string) string, home string) (*Client, error) {
	base := getenv("HF_HOME")
	if base == "" {
		cache := getenv("XDG_CACHE_HOME")
		if cache == "" {
			user := getenv("HOME")
			if user == "" {
				user = home
			}
			cache = filepath.Join(user, ".cache")
		}
		base = filepath.Join(cache, "huggingface")
	}
	c := &Client{
		Endpoint: strings.TrimRight(first(getenv("HF_ENDPOINT"), DefaultEndpoint), "/"),
		Token:    strings.TrimSpace(getenv("HF_TOKEN")),
		Cache:    first(getenv("HF_HUB_CACHE"), filepath.Join(base, "hub")),
		Files:    filepath.Join(home, "cache", "fetched"),
		HTTP:     &http.Client{CheckRedirect: keepToken}, // without a time limit for the whole: a model takes hours
		Note:     func(string) {},
		Pause:    time.Second,
	}
	switch strings.ToLower(getenv("HF_HUB_OFFLINE")) {
	case "1", "on", "yes", "true":
		c.Offline = true
	}
	if c.Token == "" {
		text, err := os.ReadFile(first(getenv("HF_TOKEN_PATH"), filepath.Join(base, "token")))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the hub's token: %w", err)
		}
		c.Token = strings.TrimSpace(string(text))
	}
	return c, nil
}

// keepToken follows redirections and lets the token go no further than the host it was for.
func keepToken(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("too many redirections")
	}
	if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
		req.Header.Del("Authorization")
	}
	return nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Data returns the files that a remote name stands for, in order of name. sha256 is the hex hash that a file of the web must
// have, or empty: a file that is there and has it is not asked for again.
func (c *Client) Data(ctx context.Context, name, sha256 string) ([]string, error) {
	if !strings.HasPrefix(name, "hf://") {
		path, err := c.file(ctx, name, strings.ToLower(sha256))
		if err != nil {
			return nil, fmt.Errorf("fetch %s: %w", name, err)
		}
		return []string{path}, nil
	}
	r, pattern, err := parseData(name)
	if err != nil {
		return nil, err
	}
	paths, err := c.dataset(ctx, r, pattern)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	return paths, nil
}

// Model returns the directory of the model that name stands for, and whether it stands for one: a path is left to others.
// accept, if not nil, is called with the directory when all but the weights are there, and may refuse the model.
func (c *Client) Model(ctx context.Context, name string, accept func(dir string) error) (dir string, ok bool, err error) {
	if strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://") {
		return "", true, fmt.Errorf("model %q is a URL: name a directory, or a model of a hub as hf://org/name", name)
	}
	if strings.HasPrefix(name, "hf://") {
		r, err := parseModel(name)
		if err != nil {
			return "", true, err
		}
		if dir, err = c.model(ctx, r, accept); err != nil {
			return "", true, fmt.Errorf("fetch %s: %w", name, err)
		}
		return dir, true, nil
	}
	if info, err := os.Stat(name); err == nil {
		dir, ok := snapshotOf(name)
		return dir, ok && info.IsDir(), nil
	}
	r, err := parseModel(name)
	if err != nil || !strings.Contains(r.id, "/") {
		return "", false, nil
	}
	if dir, ok := c.cached(r); ok {
		return dir, true, nil
	}
	if strings.HasPrefix(name, ".") || filepath.IsAbs(name) {
		return "", false, nil
	}
	return "", true, fmt.Errorf("model %q is neither a directory nor in the cache of a hub, %s: write hf://%s to fetch it", name, c.Cache, name)
}

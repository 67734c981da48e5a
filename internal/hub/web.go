package hub

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// fetched is what is known of a file of the web that is kept; a file fetched.json beside it.
type fetched struct {
	URL       string `json:"url"`
	Validator string `json:"validator"` // "" if the server gives none
	Complete  bool   `json:"complete"`
	SHA256    string `json:"sha256"`
}

// file brings a file of the web here and returns its path. A file that is kept is asked for again only to hear whether it
// has changed.
func (c *Client) file(ctx context.Context, address, sum string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(address))
	dir := filepath.Join(c.Files, fmt.Sprintf("%x", key[:8]))
	name := path.Base(u.Path)
	if name == "." || name == "/" || !filepath.IsLocal(name) || strings.ContainsAny(name, `\:`) || name == "fetched.json" {
		name = "file"
	}
	at, about := filepath.Join(dir, name), filepath.Join(dir, "fetched.json")
	known := read(about)
	if known.URL != address {
		known = fetched{URL: address}
	}
	if _, err := os.Stat(at); err != nil {
		known.Complete = false
	}
	if known.Complete && (c.Offline || sum != "" && known.SHA256 == sum) {
		return at, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if known.Complete && known.Validator != "" {
		same, err := c.unchanged(ctx, address, known.Validator)
		if err == nil && same && sum != "" { // which it does not have, see above
			err = fmt.Errorf("it has SHA-256 %s and should have %s: it is another file", known.SHA256, sum)
		}
		if err != nil || same {
			return at, err
		}
	}
	if known.Complete {
		known = fetched{URL: address} // a part would be of the old one
		if err := os.RemoveAll(at + ".part"); err != nil {
			return "", err
		}
	}
	write := func(f fetched) error {
		text, err := json.Marshal(f)
		return errors.Join(err, replace(about, text))
	}
	d := download{
		name: name, url: address, part: at + ".part", hash: sum, size: -1, validator: known.Validator, refused: refusedFile,
		began: func(validator string) error { return write(fetched{URL: address, Validator: validator}) }, // with it the part can be continued
	}
	got, err := c.download(ctx, &d)
	if err != nil {
		return "", err
	}
	if err := os.Rename(d.part, at); err != nil {
		return "", err
	}
	return at, write(fetched{address, d.validator, true, got})
}

// read returns what is known of a kept file, nothing if that cannot be read.
func read(about string) (f fetched) {
	text, err := os.ReadFile(about)
	if err != nil || json.Unmarshal(text, &f) != nil {
		return fetched{}
	}
	return f
}

// unchanged asks whether a file is still what the validator says.
func (c *Client) unchanged(ctx context.Context, address, validator string) (same bool, err error) {
	header := map[string]string{"If-Modified-Since": validator}
	if strings.HasPrefix(validator, `"`) {
		header = map[string]string{"If-None-Match": validator}
	}
	err = c.repeat(ctx, func() error {
		reply, err := c.get(ctx, address, header)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		switch same = reply.StatusCode == http.StatusNotModified; {
		case same, reply.StatusCode == http.StatusOK:
			return nil
		}
		return refusedFile(reply)
	})
	return same, err
}

func refusedFile(reply *http.Response) error {
	if err := answer(reply); errors.As(err, new(*passing)) {
		return err
	}
	return fmt.Errorf("%s answers %s: correct the URL", reply.Request.URL.Host, reply.Status)
}

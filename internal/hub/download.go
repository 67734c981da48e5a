package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// download is one file on its way to part.
type download struct {
	name, url, part string
	hash            string // that it must have: SHA-256, or git's SHA-1 of a blob; "" for any
	size            int64  // that it must have; −1 for any
	immutable       bool   // what the URL stands for never changes, so that a part can always be continued
	validator       string // ETag or Last-Modified of what part is of; "" if not known
	refused         func(*http.Response) error
	began           func(validator string) error // called when the file comes from its first byte on; may be nil
}

const (
	tries     = 6                // of a request or a part of one, in a row without a byte
	patience  = 60 * time.Second // without a byte
	noteEvery = 10 * time.Second
)

// passing is an error that may be gone when one asks again.
type passing struct {
	err   error
	after time.Duration // what the server asks to wait
}

func (p *passing) Error() string { return p.err.Error() }
func (p *passing) Unwrap() error { return p.err }

func again(err error, after time.Duration) error { return &passing{err, after} }

// repeat calls do until it succeeds, fails for good, or has failed too often.
func (c *Client) repeat(ctx context.Context, do func() error) error {
	pause := c.Pause
	for try := 1; ; try++ {
		err := do()
		var p *passing
		if err == nil || !errors.As(err, &p) || try == tries || ctx.Err() != nil {
			return err
		}
		wait := max(pause, min(p.after, 5*time.Minute))
		c.Note(fmt.Sprintf("%v; asking again in %v", err, wait))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		pause *= 2
	}
}

// get asks for a URL. The token goes to the hub alone: the http package drops it when another host is named instead.
func (c *Client) get(ctx context.Context, address string, header map[string]string) (*http.Response, error) {
	if c.Offline {
		return nil, errors.New("HF_HUB_OFFLINE forbids to ask for it")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "torc")
	req.Header.Set("Accept-Encoding", "identity") // the bytes as they are, to be continued and hashed
	if c.Token != "" && sameHost(address, c.Endpoint) {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	reply, err := c.HTTP.Do(req)
	if err != nil {
		return nil, again(err, 0)
	}
	return reply, nil
}

func sameHost(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	return errX == nil && errY == nil && x.Scheme == y.Scheme && x.Host == y.Host
}

// answer is the error of an answer that is none of those one hopes for.
func answer(reply *http.Response) error {
	err := fmt.Errorf("%s answers %s", reply.Request.URL.Host, reply.Status)
	if reply.StatusCode >= 500 || reply.StatusCode == http.StatusTooManyRequests || reply.StatusCode == http.StatusRequestTimeout {
		seconds, _ := strconv.Atoi(reply.Header.Get("Retry-After"))
		return again(err, time.Duration(seconds)*time.Second)
	}
	return err
}

// download makes d.part the whole file, going on with what is there, and returns its SHA-256. It is on disk then.
func (c *Client) download(ctx context.Context, d *download) (string, error) {
	f, err := os.OpenFile(d.part, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := lock(f); err != nil {
		return "", fmt.Errorf("somebody else is fetching it: wait for that to end (%w)", err)
	}
	if d.size == 0 { // there is nothing to ask for
		return d.check(f)
	}
	for tired := 0; ; {
		before := length(f)
		err := c.repeat(ctx, func() error { return c.more(ctx, d, f) })
		if err == nil {
			break
		}
		if length(f) > before {
			tired = 0 // it got on
		} else if tired++; tired > 1 || !errors.As(err, new(*passing)) {
			return "", err
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	sum, err := d.check(f)
	if err != nil {
		return "", errors.Join(err, f.Truncate(0)) // nothing to go on with
	}
	return sum, f.Sync()
}

func length(f *os.File) int64 {
	n, _ := f.Seek(0, io.SeekEnd) // an error shows when it is written
	return n
}

// more asks for what f lacks of d and appends it.
func (c *Client) more(ctx context.Context, d *download, f *os.File) error {
	have := length(f)
	if d.size >= 0 && have > d.size || have > 0 && !d.immutable && d.validator == "" {
		have = 0
	}
	if d.size >= 0 && have == d.size {
		return nil
	}
	header := map[string]string{}
	if have > 0 {
		header["Range"] = fmt.Sprintf("bytes=%d-", have)
		if !d.immutable {
			header["If-Range"] = d.validator
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reply, err := c.get(ctx, d.url, header)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	switch {
	case reply.StatusCode == http.StatusPartialContent && have > 0 && strings.HasPrefix(reply.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)):
	case reply.StatusCode == http.StatusOK:
		have = 0
		if d.validator = validatorOf(reply); d.began != nil {
			if err := d.began(d.validator); err != nil {
				return err
			}
		}
	case reply.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0: // what was there is no beginning of it
		return errors.Join(again(answer(reply), 0), f.Truncate(0))
	default:
		return d.refused(reply)
	}
	if err := f.Truncate(have); err != nil {
		return err
	}
	if _, err := f.Seek(have, io.SeekStart); err != nil {
		return err
	}
	return c.pour(f, d, reply, have, cancel)
}

// validatorOf is what tells a later version of a file from this one.
func validatorOf(reply *http.Response) string {
	if tag := reply.Header.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return reply.Header.Get("Last-Modified")
}

// pour copies the body of a reply to f, which has so many bytes, and gives up when nothing comes for long.
func (c *Client) pour(f *os.File, d *download, reply *http.Response, have int64, cancel context.CancelCauseFunc) error {
	stalled := fmt.Errorf("%s sends nothing for %v", reply.Request.URL.Host, patience)
	watch := time.AfterFunc(patience, func() { cancel(stalled) })
	defer watch.Stop()
	total := d.size
	if total < 0 && reply.ContentLength >= 0 {
		total = have + reply.ContentLength
	}
	noted := time.Now()
	buffer := make([]byte, 1<<18)
	for {
		n, err := reply.Body.Read(buffer)
		watch.Reset(patience)
		if have += int64(n); d.size >= 0 && have > d.size {
			return fmt.Errorf("it has more than the %d bytes it should have", d.size)
		}
		if _, err := f.Write(buffer[:n]); err != nil {
			return err
		}
		if time.Since(noted) >= noteEvery {
			noted = time.Now()
			c.Note(fmt.Sprintf("fetching %s: %s", d.name, share(have, total)))
		}
		if err == io.EOF {
			if total >= 0 && have < total {
				return again(io.ErrUnexpectedEOF, 0)
			}
			return nil
		}
		if err != nil {
			return again(err, 0)
		}
	}
}

func share(have, total int64) string {
	if total <= 0 {
		return fmt.Sprintf("%d MB", have/1e6)
	}
	return fmt.Sprintf("%d of %d MB", have/1e6, total/1e6)
}

// check compares the file with the hash it must have and returns its SHA-256.
func (d *download) check(f *os.File) (string, error) {
	size := length(f)
	if d.size >= 0 && size != d.size {
		return "", fmt.Errorf("it has %d bytes and should have %d", size, d.size)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	sum := sha256.New()
	var git hash.Hash = sha1.New()
	fmt.Fprintf(git, "blob %d\x00", size)
	if len(d.hash) != 2*sha1.Size {
		git = nil
	}
	to := io.Writer(sum)
	if git != nil {
		to = io.MultiWriter(sum, git)
	}
	if _, err := io.Copy(to, f); err != nil {
		return "", err
	}
	got := hex.EncodeToString(sum.Sum(nil))
	is := got
	if git != nil {
		is = hex.EncodeToString(git.Sum(nil))
	}
	if d.hash != "" && is != d.hash {
		return "", fmt.Errorf("what came has hash %s and should have %s: it was damaged on its way, or is another file; try again", is, d.hash)
	}
	return got, nil
}

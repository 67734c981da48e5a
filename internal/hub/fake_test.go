package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fakeHub is a hub with one model and one dataset. Large files lie on a second host, to which it redirects.
type fakeHub struct {
	hub, store *httptest.Server
	token      string            // that must be sent; "" for none
	files      map[string][]byte // by repository kind, id and name: models/org/name/config.json
	commit     string

	mu       sync.Mutex // guards the rest
	requests []string   // method-less: path and Range
	cut      int        // how many answers end in the middle
	fail     int        // how many requests are answered 503
	damaged  bool       // bytes are not those of the list
	leaked   bool       // the token was sent to the store
	onCut    func()     // called when an answer has ended in the middle
}

const commitA = "0123456789abcdef0123456789abcdef01234567"

func newFakeHub(t *testing.T) *fakeHub {
	t.Helper()
	h := &fakeHub{commit: commitA, files: map[string][]byte{}}
	h.store = httptest.NewServer(http.HandlerFunc(h.serveStore))
	h.hub = httptest.NewServer(http.HandlerFunc(h.serveHub))
	t.Cleanup(h.hub.Close)
	t.Cleanup(h.store.Close)
	return h
}

// client is a client of h that waits for nothing.
func (h *fakeHub) client(t *testing.T, env map[string]string) *Client {
	t.Helper()
	all := map[string]string{"HF_ENDPOINT": h.hub.URL + "/", "HF_HOME": t.TempDir(), "HF_TOKEN": h.token}
	for k, v := range env {
		all[k] = v
	}
	c, err := New(func(key string) string { return all[key] }, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c.Pause = 0
	return c
}

func large(name string) bool {
	return strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".parquet")
}

func (h *fakeHub) serveHub(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.requests = append(h.requests, r.URL.EscapedPath()+r.Header.Get("Range"))
	fail := h.fail > 0
	h.fail--
	h.mu.Unlock()
	if fail {
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	if h.token != "" && r.Header.Get("Authorization") != "Bearer "+h.token {
		http.Error(w, "who are you", http.StatusUnauthorized)
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/api/"); ok {
		h.list(w, rest)
		return
	}
	id, name, ok := strings.Cut(strings.Replace(r.URL.Path[1:], "/resolve/main/", "/resolve/"+h.commit+"/", 1), "/resolve/"+h.commit+"/")
	if !strings.HasPrefix(id, "datasets/") {
		id = "models/" + id
	}
	text, known := h.files[id+"/"+name]
	w.Header().Set("X-Repo-Commit", h.commit)
	if known && large(name) {
		w.Header().Set("X-Linked-Etag", fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(text))))
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(text)))
	}
	switch {
	case !ok || !known:
		http.NotFound(w, r)
	case large(name):
		http.Redirect(w, r, h.store.URL+"/"+id+"/"+name, http.StatusFound)
	default:
		h.send(w, r, text)
	}
}

func (h *fakeHub) list(w http.ResponseWriter, rest string) {
	id, revision, _ := strings.Cut(rest, "/revision/")
	l := map[string]any{"sha": h.commit, "id": id}
	var siblings []any
	for key, text := range h.files {
		name, ok := strings.CutPrefix(key, id+"/")
		if !ok {
			continue
		}
		s := map[string]any{"rfilename": name, "size": len(text), "blobId": gitHash(text)}
		if large(name) {
			s["lfs"] = map[string]any{"sha256": fmt.Sprintf("%x", sha256.Sum256(text)), "size": len(text), "pointerSize": 130}
		}
		siblings = append(siblings, s)
	}
	if siblings == nil || revision != "main" && revision != h.commit && revision != "refs/convert/parquet" {
		http.NotFound(w, nil)
		return
	}
	l["siblings"] = siblings
	json.NewEncoder(w).Encode(l)
}

func (h *fakeHub) serveStore(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.requests = append(h.requests, r.URL.Path+r.Header.Get("Range"))
	h.leaked = h.leaked || r.Header.Get("Authorization") != ""
	h.mu.Unlock()
	h.send(w, r, h.files[r.URL.Path[1:]])
}

// send answers with text, or the range of it that is asked for, and may stop in the middle.
func (h *fakeHub) send(w http.ResponseWriter, r *http.Request, text []byte) {
	h.mu.Lock()
	cut := h.cut > 0
	h.cut--
	if h.damaged {
		text = append([]byte("x"), text[1:]...)
	}
	h.mu.Unlock()
	tag := fmt.Sprintf("%q", gitHash(text))
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("ETag", tag)
	from, status := 0, http.StatusOK
	if given := r.Header.Get("Range"); given != "" && (r.Header.Get("If-Range") == "" || r.Header.Get("If-Range") == tag) {
		from, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(given, "bytes="), "-"))
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(text)-1, len(text)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(text)-from))
	w.WriteHeader(status)
	if text = text[from:]; cut {
		text = text[:(len(text)+1)/2]
	}
	w.Write(text)
	if cut && h.onCut != nil {
		h.onCut()
	}
}

// gitHash is the name that git gives a file's content.
func gitHash(text []byte) string {
	return fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text)))
}

// asked is how often a path was asked for whose name contains part.
func (h *fakeHub) asked(part string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, r := range h.requests {
		if strings.Contains(r, part) {
			n++
		}
	}
	return n
}

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestTheDoorShowsMetricsAndHealthAndProfilesApart(t *testing.T) {
	sick := errors.New("no coordinator")
	d, err := Open(Config{Admin: "127.0.0.1:0", Pprof: "127.0.0.1:0"}, Registry("node", "v1"), Checks{Ready: func() error { return sick }}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx) }()
	admin, pprof := "http://"+d.Addrs()[0], "http://"+d.Addrs()[1]
	for _, c := range []struct {
		url  string
		code int
		says string
	}{
		{admin + "/metrics", 200, `torc_build_info{program="node",version="v1"} 1`},
		{admin + "/metrics", 200, "go_goroutines"},
		{admin + "/healthz", 200, "ok"},
		{admin + "/readyz", 503, "no coordinator"},
		{admin + "/debug/pprof/", 404, ""},
		{pprof + "/debug/pprof/", 200, "goroutine"},
		{pprof + "/metrics", 404, ""},
	} {
		if code, body := get(t, c.url); code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %.200q, want %d and %q", c.url, code, body, c.code, c.says)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestProfilesAreForThisMachineAlone(t *testing.T) {
	for addr, ok := range map[string]bool{
		"": true, "127.0.0.1:6060": true, "localhost:0": true, "[::1]:6060": true,
		"0.0.0.0:6060": false, ":6060": false, "10.0.0.1:6060": false, "example.org:1": false, "6060": false,
	} {
		if err := (Config{Pprof: addr}).Validate(); (err == nil) != ok {
			t.Errorf("pprof at %q: %v", addr, err)
		}
	}
}

func TestLogsAreTextOrJSON(t *testing.T) {
	var out bytes.Buffer
	log, err := Logger(&out, "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("node joins", "node", "ada")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "node joins" || line["node"] != "ada" || line["level"] != "INFO" {
		t.Errorf("logged %q: %v", out.String(), err)
	}
	if _, err := Logger(&out, "xml"); err == nil {
		t.Error("a format nobody knows was taken")
	}
}

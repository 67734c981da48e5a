package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestVersionIsAnObjectWhereAsked(t *testing.T) {
	var out bytes.Buffer
	cmd := newVersionCmd()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--json"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	var got struct{ Version, Go, Platform string }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Version != version || got.Go == "" || got.Platform == "" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

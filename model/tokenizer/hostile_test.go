package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every file of testdata/hostile is refused, and expect.txt says with what words.
func TestHostileFilesAreRefusedWithTheExpectedError(t *testing.T) {
	const dir = "testdata/hostile"
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 50 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	talk := []json.RawMessage{
		[]byte(`{"role":"user","content":"Hi"}`), []byte(`{"role":"assistant","content":"Hello"}`),
		[]byte(`{"role":"user","content":"Bye"}`), []byte(`{"role":"assistant","content":"Ciao"}`),
	}
	var got strings.Builder
	for _, e := range entries {
		if e.Name() == "expect.txt" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(e.Name()) == ".json" {
			_, err = Parse(text)
		} else {
			_, err = chatterIn(t, "{}", string(text)).Chat(talk, nil)
		}
		if err == nil {
			t.Errorf("%s is accepted", e.Name())
			continue
		}
		fmt.Fprintf(&got, "%s: %s\n", e.Name(), strings.ReplaceAll(err.Error(), "\n", " "))
	}
	expect := filepath.Join(dir, "expect.txt")
	if *update {
		if err := os.WriteFile(expect, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(expect)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("errors are\n%s\nwant\n%s", got.String(), want)
	}
}

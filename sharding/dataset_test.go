package sharding

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// write makes a file in a directory of the test's own and returns its path.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSamplesAreTheLinesThatAreNotBlank(t *testing.T) {
	a := write(t, "a.jsonl", "{\"text\":\"1\"}\n\n  {\"text\":\"2\"}  \r\n   \n{\"text\":\"3\"}")
	b := write(t, "b.jsonl", "\n{\"prompt\":\"4\",\"completion\":\"\"}\n")
	d, err := IndexFiles([]File{{Path: a, Name: "a"}, {Path: b, Name: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ raw, where string }{
		{`{"text":"1"}`, "a:1"}, {`{"text":"2"}`, "a:3"}, {`{"text":"3"}`, "a:5"}, {`{"prompt":"4","completion":""}`, "b:2"},
	}
	if d.Len() != len(want) {
		t.Fatalf("%d samples, want %d", d.Len(), len(want))
	}
	for i, w := range want {
		raw, where, err := d.Sample(Sample(i))
		if err != nil || string(raw) != w.raw || where != w.where {
			t.Errorf("sample %d is %q at %s (%v), want %q at %s", i, raw, where, err, w.raw, w.where)
		}
	}
	lines, err := d.read(1, 4)
	if err != nil || len(lines) != 3 || lines[0].where != "a:3" || lines[2].where != "b:2" {
		t.Errorf("samples 1 to 3 are %v, %v", lines, err)
	}
}

func TestOpenFindsWhatIndexHasAccepted(t *testing.T) {
	d := corpus(t, 50)
	files := make([]File, len(d.files))
	for i, x := range d.files {
		files[i] = File{Path: x.path, Name: x.name}
	}
	again, err := OpenPart(files, Part{}, "")
	if err != nil || !reflect.DeepEqual(again, d) {
		t.Errorf("Open finds another dataset than Index (%v)", err)
	}
	if d, err := OpenPart([]File{{Path: write(t, "d.jsonl", "no JSON\n"), Name: "d"}}, Part{}, ""); err != nil || d.Len() != 1 {
		t.Errorf("Open looks into lines: %v", err)
	}
}

func TestBadLinesAreNamed(t *testing.T) {
	good := `{"question":"q","answer":"a"}` + "\n"
	for want, text := range map[string]string{
		"byte 18: invalid character":           good + good + `{"question": "a" "answer"}`,
		":2: is not JSON":                      good + `{"question":"q","answer":"a`,
		":1: is not a JSON object":             `"text"`,
		":1: is null":                          `null`,
		":1: is a JSON array":                  `[{"text":"a"}]`,
		":2: is not UTF-8":                     good + "{\"text\":\"\xff\"}",
		":1: begins with a byte order mark":    "\xef\xbb\xbf" + good,
		`:1: "answer" is not a string`:         `{"question":"q","answer":7}`,
		`:1: "question" is not a string`:       `{"question":null,"answer":"7"}`,
		`:2: "text" is empty`:                  good + `{"text":""}`,
		`:2: keys (none) make no known sample`: good + `{}`,
		`nearest is question/answer, where it lacks "question", "answer" and it does not have "Answers", "Question"`: `{"Question":"q","Answers":"a"}`,
		`nearest is prompt/completion, where it lacks "completion" and it does not have "response"`:                  `{"prompt":"q","response":"a"}`,
		`nearest is question/answer, where it does not have "id"`:                                                    `{"question":"q","answer":"a","id":1}`,
		`nearest is instruction/input/output, where it lacks "output"`:                                               `{"instruction":"q","input":"a"}`,
		`nearest is instruction/input/output, where it does not have "text"`:                                         `{"instruction":"q","output":"a","text":"t"}`,
		`nearest is text, where it lacks "text" and it does not have "txt"`:                                          `{"txt":"a"}`,
	} {
		path := write(t, "data.jsonl", text)
		_, err := Index([]string{path})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path+":") {
			t.Errorf("%s: error %v, want one with %s", text, err, want)
		}
	}
}

func TestFilesWithoutSamplesAreRefused(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "blank lines": "\n \n\r\n"} {
		if _, err := Index([]string{write(t, "data.jsonl", text)}); err == nil || !strings.Contains(err.Error(), "no samples") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := Index(nil); err == nil || !strings.Contains(err.Error(), "no samples") {
		t.Errorf("no files: error %v", err)
	}
	if _, err := Index([]string{filepath.Join(t.TempDir(), "none.jsonl")}); err == nil || !strings.Contains(err.Error(), "none.jsonl") {
		t.Errorf("no such file: error %v", err)
	}
}

func TestHugeLinesAreRefusedBeforeTheyAreRead(t *testing.T) {
	path := write(t, "data.jsonl", `{"text":"a"}`+"\n"+strings.Repeat("x", maxLineBytes+1))
	if _, err := Index([]string{path}); err == nil || !strings.Contains(err.Error(), ":2: line is longer than") {
		t.Errorf("error %v", err)
	}
}

func TestLinesMayBeLongerThanTheBuffer(t *testing.T) {
	long := strings.Repeat("long ", 100_000)
	d, err := Index([]string{write(t, "data.jsonl", fmt.Sprintf("{\"text\":\"a\"}\n{\"text\":%q}\n{\"text\":\"b\"}\n", long))})
	if err != nil {
		t.Fatal(err)
	}
	raw, where, err := d.Sample(2)
	if err != nil || string(raw) != `{"text":"b"}` || !strings.HasSuffix(where, ":3") {
		t.Errorf("sample behind the long one is %q at %s, %v", raw, where, err)
	}
	if raw, _, _ := d.Sample(1); len(raw) != len(long)+len(`{"text":""}`) {
		t.Errorf("the long line has %d bytes", len(raw))
	}
}

func TestAFileThatChangesIsNoticed(t *testing.T) {
	path := write(t, "data.jsonl", `{"text":"a"}`)
	d, err := Index([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(`{"text":"ab"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Sample(0); err == nil || !strings.Contains(err.Error(), "restore it") {
		t.Errorf("error %v", err)
	}
}

func FuzzLineIsReadOrRefused(f *testing.F) {
	for _, line := range []string{
		`{"text":"a"}`, `{"prompt":"a","completion":"b"}`, `{"question":"a","answer":"b"}`, `{"instruction":"a","input":null,"output":"b"}`, `{"textt":"\ud800"}`, `[]`, `{"text":{}}`,
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[]}],"tools":[{}]}`,
		`{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"system":"s"}`,
	} {
		f.Add([]byte(line))
	}
	hostile(f, ".jsonl")
	f.Fuzz(func(t *testing.T, line []byte) {
		if len(line) == 0 || checkLine(line, nil) != nil {
			return
		}
		fields, c, err := parse(line)
		if err != nil {
			t.Fatalf("line %q passes the check and is refused later: %v", line, err)
		}
		if c != nil {
			return
		}
		if _, ok := fields["text"]; !ok {
			fields.exchange()
		}
	})
}

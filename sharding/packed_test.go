package sharding

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

type exchange struct {
	Question string `parquet:"question" json:"question"`
	Answer   string `parquet:"answer" json:"answer"`
}

type turn struct {
	Role    string  `parquet:"role" json:"role"`
	Content string  `parquet:"content" json:"content"`
	Name    *string `parquet:"name,optional" json:"name"`
}

type turns struct {
	Messages []turn `parquet:"messages,list" json:"messages"`
}

// problems are exchanges with what differs between formats: quotes, breaks, letters that are not ASCII, an empty question.
func problems() []exchange {
	all := []exchange{{"", "#### 0"}, {"Say \"no\"\\\n\tto <b>?", "é\u2028世 👋🏽\n#### no"}, {" spaces ", " \n#### 1 "}}
	for i := range 300 {
		all = append(all, exchange{fmt.Sprintf("Tom has %d apples and buys %d. How many?", i, 2*i), fmt.Sprintf("%d + %d = %d\n#### %d", i, 2*i, 3*i, 3*i)})
	}
	return all
}

func conversationsOf(all []exchange) []turns {
	var out []turns
	for _, x := range all {
		out = append(out, turns{[]turn{{Role: "user", Content: x.Question}, {Role: "assistant", Content: x.Answer}}})
	}
	return out
}

func jsonl[T any](t *testing.T, rows []T) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, row := range rows {
		line, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.Bytes()
}

func rowsOf[T any](t *testing.T, rows []T, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	for i, row := range rows {
		if i%100 == 99 {
			if err := w.Flush(); err != nil { // ends a row group
				t.Fatal(err)
			}
		}
		if _, err := w.Write([]T{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// files are the same problems in every format that is read, by name.
func formats(t *testing.T) map[string][]byte {
	plain, chats := jsonl(t, problems()), jsonl(t, conversationsOf(problems()))
	half := len(plain)/2 + bytes.IndexByte(plain[len(plain)/2:], '\n') + 1
	return map[string][]byte{
		"JSONL":                   plain,
		"gzip":                    zipped(t, plain),
		"gzip, two members":       append(zipped(t, plain[:half]), zipped(t, plain[half:])...),
		"zstd":                    zstded(t, plain),
		"Parquet":                 rowsOf(t, problems()),
		"Parquet, snappy":         rowsOf(t, problems(), parquet.Compression(&parquet.Snappy), parquet.PageBufferSize(512)),
		"Parquet, zstd":           rowsOf(t, problems(), parquet.Compression(&parquet.Zstd), parquet.DataPageVersion(1)),
		"messages":                chats,
		"messages, gzip":          zipped(t, chats),
		"messages in Parquet":     rowsOf(t, conversationsOf(problems())),
		"messages in Parquet, v1": rowsOf(t, conversationsOf(problems()), parquet.DataPageVersion(1), parquet.PageBufferSize(512)),
	}
}

// asked renders a conversation of one question as a question/answer sample is written.
const asked = `{{ bos_token }}Question: {{ messages[0].content }}
Answer: {% if messages|length > 1 %}{% generation %}{{ messages[1].content }}{{ eos_token }}{% endgeneration %}{% endif %}`

func TestTheSameProblemsGiveTheSameTokensInEveryFormat(t *testing.T) {
	marked := bytewise(t, "<|end|>", asked)
	derived := bytewise(t, "<|end|>", strings.NewReplacer("{% generation %}", "", "{% endgeneration %}", "").Replace(asked))
	cache := t.TempDir()
	var want []Example
	for _, x := range problems() {
		raw, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		one, err := NewEncoder(marked, Config{}).Encode(raw, "")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, one)
	}
	for name, data := range formats(t) {
		path := write(t, "data", string(data))
		indexed, err := Index([]string{path})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		opened, err := OpenPart([]File{{Path: path, Name: "data"}}, Part{}, cache)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := OpenPart([]File{{Path: path, Name: "data"}}, Part{}, cache)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n, _, err := CountPart([]File{{Path: path, Name: path}}, Part{}); n != len(want) || err != nil {
			t.Errorf("%s: %d samples are counted, %v", name, n, err)
		}
		for _, ds := range []*Dataset{indexed, opened, again} {
			for _, tok := range []*Encoder{NewEncoder(marked, Config{}), NewEncoder(derived, Config{})} {
				r := NewReader(ds, NewPlan(ds.Len(), 7, 3, 5), tok, cache)
				for i := range want {
					got, err := r.Read([]Sample{Sample(i)})
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					if x := got[0]; !slices.Equal(x.Tokens, want[i].Tokens) || !slices.Equal(x.Counted, want[i].Counted) || x.PromptTokens != want[i].PromptTokens {
						t.Fatalf("%s: sample %d has tokens %v, want %v", name, i, x.Tokens, want[i].Tokens)
					}
					if !strings.HasSuffix(got[0].Where, fmt.Sprintf(":%d", i+1)) {
						t.Fatalf("%s: sample %d is %s", name, i, got[0].Where)
					}
				}
			}
		}
	}
}

func TestUnpackedFilesAreKeptByContent(t *testing.T) {
	cache := t.TempDir()
	data := zipped(t, jsonl(t, problems()))
	for range 2 {
		if _, err := OpenPart([]File{{Path: write(t, "data", string(data)), Name: "data"}}, Part{}, cache); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := filepath.Glob(filepath.Join(cache, "*", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept are %v, %v", kept, err)
	}
	if text, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(text, jsonl(t, problems())) {
		t.Errorf("kept is another text, %v", err)
	}
	broken := write(t, "data", string(zipped(t, []byte("{\"text\":\"a\"}\n"))[:20]))
	if _, err := OpenPart([]File{{Path: broken, Name: "data"}}, Part{}, cache); err == nil {
		t.Error("a file that is cut off is opened")
	}
	if kept, err := filepath.Glob(filepath.Join(cache, "*", "*")); err != nil || len(kept) != 1 {
		t.Errorf("kept are %v, %v", kept, err)
	}
}

func TestPackedFilesThatCannotBeReadSayWhy(t *testing.T) {
	type numbers struct {
		Question string `parquet:"question"`
		Answer   int64  `parquet:"answer"`
	}
	type days struct {
		Text string `parquet:"text"`
		Day  int32  `parquet:"day,date"`
	}
	type maps struct {
		Text map[string]string `parquet:"text"`
	}
	good := jsonl(t, problems())
	table := rowsOf(t, problems())
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"bad line in gzip":   {zipped(t, append(slices.Clone(good), "{"...)), fmt.Sprintf(":%d: is not JSON", len(problems())+1)},
		"gzip cut off":       {zipped(t, good)[:500], "unpack gzip: unexpected EOF: is the file whole?"},
		"zstd cut off":       {zstded(t, good)[:500], "unpack zstd: unexpected EOF: is the file whole?"},
		"empty gzip":         {zipped(t, nil), "no samples"},
		"numbers":            {rowsOf(t, []numbers{{"q", 4}}), `:1: "answer" is not a string`},
		"dates":              {rowsOf(t, []days{{"q", 4}}), `column "day" has type DATE: known are strings, numbers and booleans`},
		"maps":               {rowsOf(t, []maps{{map[string]string{"a": "b"}}}), `column "text" is a map`},
		"Parquet cut off":    {table[:len(table)/2], "read Parquet: "},
		"Parquet, no footer": {append(slices.Clone(table[:len(table)-8]), "\xff\xff\xff\x7fPAR1"...), "read Parquet: "},
	} {
		path := write(t, "data", string(c.data))
		_, err := Index([]string{path})
		if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if _, _, again := CountPart([]File{{Path: path, Name: path}}, Part{}); again == nil || again.Error() != err.Error() {
			t.Errorf("%s: counting says %v, indexing %v", name, again, err)
		}
	}
}

func TestUnpackingIsBounded(t *testing.T) {
	b := &bounded{to: io.Discard, left: 10}
	if n, err := b.Write(make([]byte, 10)); n != 10 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := b.Write([]byte{0}); err != errUnpacked {
		t.Errorf("error %v", err)
	}
}

// Whatever a Parquet file says, it is read or refused.
func FuzzParquet(f *testing.F) {
	var small bytes.Buffer
	w := parquet.NewGenericWriter[turns](&small)
	if _, err := w.Write(conversationsOf(problems()[:3])); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(small.Bytes())
	hostile(f, ".parquet")
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 1<<16 {
			_ = writeRows(bytes.NewReader(data), int64(len(data)), nil, io.Discard)
		}
	})
}

func TestColumnsThatAreNotNamedMayHaveAnyType(t *testing.T) {
	type row struct {
		ID       int64             `parquet:"id"`
		Day      int32             `parquet:"day,date"`
		Tags     map[string]string `parquet:"tags"`
		Problem  string            `parquet:"problem"`
		Solution string            `parquet:"solution"`
		Deep     exchange          `parquet:"deep"`
	}
	path := write(t, "data", string(rowsOf(t, []row{{1, 2, nil, "q", "a", exchange{"dq", "da"}}, {3, 4, map[string]string{"x": "y"}, "r", "b", exchange{}}})))
	use := File{Path: path, Name: "data", Columns: Columns{"question": "problem", "answer": "solution"}}
	cache := t.TempDir()
	for range 2 {
		d, err := OpenPart([]File{use}, Part{}, cache)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := textsOf(t, d); !slices.Equal(got, []string{`{"answer":"a","question":"q"}`, `{"answer":"b","question":"r"}`}) {
			t.Errorf("samples are %q", got)
		}
	}
	use.Columns = Columns{"text": "problem"}
	d, err := OpenPart([]File{use}, Part{}, cache)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := textsOf(t, d); !slices.Equal(got, []string{`{"text":"q"}`, `{"text":"r"}`}) {
		t.Errorf("with other columns the samples are %q", got)
	}
	use.Columns = Columns{"prompt": "deep.question", "completion": "deep.answer"}
	if d, err = OpenPart([]File{use}, Part{}, cache); err != nil {
		t.Fatal(err)
	}
	if got, _ := textsOf(t, d); !slices.Equal(got, []string{`{"completion":"da","prompt":"dq"}`, `{"completion":"","prompt":""}`}) {
		t.Errorf("with a path the samples are %q", got)
	}
	for want, columns := range map[string]Columns{
		`no column "prob", which data.columns names for "text": the file has "id", "day", "tags", "problem", "solution", "deep"`: {"text": "prob"},
		`column "day" has type DATE`: {"text": "day"},
	} {
		use.Columns = columns
		if _, err := IndexFiles([]File{use}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", columns, err, want)
		}
	}
}

package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func u8(name string, data ...byte) Tensor {
	return Tensor{Name: name, Info: Info{DType: "U8", Shape: []int{len(data)}, Data: data}}
}

// file puts a header, correct or not, before data.
func file(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func TestWrittenFileReadsBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	tensors := []Tensor{
		u8("bytes", 1, 2, 3),
		{Name: "wide", Info: Info{DType: "F32", Shape: []int{2, 1}, Data: []byte{1, 2, 3, 4, 5, 6, 7, 8}}},
		{Name: "half \"quoted\"", Info: Info{DType: "BF16", Shape: []int{1}}, Fill: func(dst []byte) { copy(dst, "xy") }},
		{Name: "scalar", Info: Info{DType: "F64", Shape: nil, Data: make([]byte, 8)}},
		{Name: "empty", Info: Info{DType: "F32", Shape: []int{0, 7}, Data: nil}},
	}
	if err := Write(path, tensors, map[string]string{"format": "pt", "a": "b"}); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := fmt.Sprint(f.Names()); got != `[bytes empty half "quoted" scalar wide]` {
		t.Errorf("names are %s", got)
	}
	if got := fmt.Sprint(f.Metadata()); got != "map[a:b format:pt]" {
		t.Errorf("metadata are %s", got)
	}
	for _, want := range tensors {
		got, err := f.Tensor(want.Name)
		if err != nil {
			t.Fatal(err)
		}
		data := want.Data
		if want.Fill != nil {
			data = []byte("xy")
		}
		if got.DType != want.DType || fmt.Sprint(got.Shape) != fmt.Sprint(want.Shape) || !bytes.Equal(got.Data, data) {
			t.Errorf("tensor %s is %+v, want %+v", want.Name, got, want.Info)
		}
	}
	if _, err := f.Tensor("absent"); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), `"absent"`) {
		t.Errorf("absent tensor: %v, want file and name", err)
	}
}

func TestWriteIsDeterministicAndAligned(t *testing.T) {
	dir := t.TempDir()
	tensors := []Tensor{u8("odd", 1), {Name: "f", Info: Info{DType: "F32", Shape: []int{1}, Data: make([]byte, 4)}}}
	for _, name := range []string{"a", "b"} {
		if err := Write(filepath.Join(dir, name), tensors, map[string]string{"x": "1", "y": "2", "z": "3"}); err != nil {
			t.Fatal(err)
		}
	}
	a, _ := os.ReadFile(filepath.Join(dir, "a"))
	b, _ := os.ReadFile(filepath.Join(dir, "b"))
	if !bytes.Equal(a, b) {
		t.Error("two files of the same tensors differ")
	}
	if start := len(a) - 5; start%align != 0 {
		t.Errorf("data begin at byte %d, want a multiple of %d", start, align)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".a-*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestFailedWriteLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := Write(path, []Tensor{u8("x", 1)}, nil); err != nil {
		t.Fatal(err)
	}
	old, _ := os.ReadFile(path)
	broken := errors.New("disk full")
	if err := writeFile(path, func(io.Writer) error { return broken }); !errors.Is(err, broken) {
		t.Fatalf("got %v, want %v", err, broken)
	}
	for name, tensors := range map[string][]Tensor{
		"a name twice":    {u8("x", 1), u8("x", 2)},
		"the reserved":    {u8("__metadata__", 1)},
		"too few bytes":   {{Name: "x", Info: Info{DType: "F32", Shape: []int{1}, Data: make([]byte, 3)}}},
		"an unknown type": {{Name: "x", Info: Info{DType: "F31", Shape: []int{1}, Data: make([]byte, 4)}}},
	} {
		if err := Write(path, tensors, nil); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("writing %s: %v, want an error naming the file", name, err)
		}
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, old) {
		t.Error("the file changed")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".a-*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestBadFilesAreRefused(t *testing.T) {
	two := func(a, b string) string {
		return fmt.Sprintf(`{"a":{"dtype":"U8","shape":[4],"data_offsets":%s},"b":{"dtype":"U8","shape":[4],"data_offsets":%s}}`, a, b)
	}
	one := func(entry string) string { return `{"a":` + entry + `}` }
	data := make([]byte, 8)
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty file":         {nil, "truncated"},
		"short file":         {[]byte("12345"), "truncated"},
		"huge header":        {binary.LittleEndian.AppendUint64(nil, 1<<40), "no safetensors file"},
		"header past end":    {binary.LittleEndian.AppendUint64(nil, 100), "truncated"},
		"no object":          {file("[]", nil), "does not begin with a JSON object"},
		"object left open":   {file(`{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}`, data), "unexpected EOF"},
		"text after object":  {file(`{} x`, nil), "after the JSON object"},
		"name twice":         {file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}`, data), `tensor "a": the header has it twice`},
		"unknown field":      {file(one(`{"dtype":"U8","shape":[8],"data_offsets":[0,8],"zip":1}`), data), "zip"},
		"unknown type":       {file(one(`{"dtype":"Q4","shape":[8],"data_offsets":[0,8]}`), data), `unknown dtype "Q4"`},
		"missing shape":      {file(one(`{"dtype":"U8","data_offsets":[0,8]}`), data), "missing"},
		"one offset":         {file(one(`{"dtype":"U8","shape":[8],"data_offsets":[0]}`), data), "missing"},
		"negative offset":    {file(one(`{"dtype":"U8","shape":[8],"data_offsets":[-1,7]}`), data), "tensor"},
		"negative dimension": {file(one(`{"dtype":"U8","shape":[-8],"data_offsets":[0,8]}`), data), "tensor"},
		"fractional shape":   {file(one(`{"dtype":"U8","shape":[8.5],"data_offsets":[0,8]}`), data), "tensor"},
		"offsets reversed":   {file(one(`{"dtype":"U8","shape":[8],"data_offsets":[8,0]}`), data), "do not hold the 8 bytes"},
		"size of dtype":      {file(one(`{"dtype":"F32","shape":[8],"data_offsets":[0,8]}`), data), "do not hold the 32 bytes of F32"},
		"size overflows":     {file(one(`{"dtype":"F32","shape":[4000000000,4000000000,4000000000],"data_offsets":[0,8]}`), data), "too large"},
		"truncated data":     {file(one(`{"dtype":"U8","shape":[9],"data_offsets":[0,9]}`), data), "truncated"},
		"overlap":            {file(two("[0,4]", "[2,6]"), data), `tensor "b": its data overlaps that of "a"`},
		"gap":                {file(two("[0,4]", "[5,9]"), make([]byte, 9)), "belong to no tensor"},
		"tail":               {file(two("[0,4]", "[4,8]"), make([]byte, 9)), "last 1 bytes belong to no tensor"},
		"bad metadata":       {file(`{"__metadata__":{"a":1}}`, nil), "metadata"},
	} {
		path := filepath.Join(t.TempDir(), "w.safetensors")
		if err := os.WriteFile(path, c.file, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error with %q and the file", name, err, c.want)
		}
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a directory opens")
	}
}

func TestModelInShardsReadsLikeASingleFile(t *testing.T) {
	tensors := []Tensor{u8("a", 1, 2, 3), u8("b", 4, 5), u8("c", 6, 7, 8, 9), u8("d", 10)}
	for _, c := range []struct {
		max   int64
		files string
	}{
		{10, "[model.safetensors]"},
		{5, "[model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json]"},
		{1, "[model-00001-of-00004.safetensors model-00002-of-00004.safetensors model-00003-of-00004.safetensors model-00004-of-00004.safetensors model.safetensors.index.json]"},
	} {
		dir := t.TempDir()
		files, err := WriteModel(dir, tensors, c.max, map[string]string{"format": "pt"})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(files) != c.files {
			t.Errorf("at most %d bytes: wrote %v, want %s", c.max, files, c.files)
		}
		m, err := OpenModel(dir)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(m.Names()) != "[a b c d]" || m.files[0].Metadata()["format"] != "pt" {
			t.Errorf("names %v, metadata %v", m.Names(), m.files[0].Metadata())
		}
		for _, want := range tensors {
			got, err := m.Tensor(want.Name)
			if err != nil || !bytes.Equal(got.Data, want.Data) {
				t.Errorf("tensor %s is %v (%v), want %v", want.Name, got.Data, err, want.Data)
			}
			if filepath.Dir(m.Path(want.Name)) != dir {
				t.Errorf("path of %s is %q", want.Name, m.Path(want.Name))
			}
		}
		if _, err := m.Tensor("e"); err == nil || m.Path("e") != "" {
			t.Error("a tensor that no file has is found")
		}
		if err := errors.Join(m.Close(), m.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestBrokenModelDirectoriesAreRefused(t *testing.T) {
	write := func(dir, name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		breakIt func(dir string)
		want    string
	}{
		"nothing there":    {func(string) {}, "name a Hugging Face directory"},
		"no JSON":          {func(dir string) { write(dir, IndexName, "x") }, IndexName},
		"no weight map":    {func(dir string) { write(dir, IndexName, "{}") }, "weight_map"},
		"path out of dir":  {func(dir string) { write(dir, IndexName, `{"weight_map":{"a":"../x"}}`) }, "only names of files"},
		"parent directory": {func(dir string) { write(dir, IndexName, `{"weight_map":{"a":".."}}`) }, "only names of files"},
		"shard missing":    {func(dir string) { write(dir, IndexName, `{"weight_map":{"a":"s"}}`) }, "shard s is missing"},
		"tensor not inside": {func(dir string) {
			write(dir, IndexName, `{"weight_map":{"a":"s"}}`)
			write(dir, "s", string(file("{}", nil)))
		}, `tensor "a" from shard s, which does not have it`},
		"shard truncated":  {func(dir string) { write(dir, IndexName, `{"weight_map":{"a":"s"}}`); write(dir, "s", "") }, "truncated"},
		"single truncated": {func(dir string) { write(dir, SingleName, "") }, "truncated"},
	} {
		dir := t.TempDir()
		c.breakIt(dir)
		_, err := OpenModel(dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want an error with %q and the directory", name, err, c.want)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v, want fs.ErrNotExist", err)
	}
}

// Whatever the bytes: no panic, and what is accepted covers the data exactly and reads back from a copy of itself.
func FuzzHeader(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, []byte{1, 2}))
	f.Add(file(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[],"data_offsets":[4,6]}}`, make([]byte, 6)))
	f.Add(file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, nil))
	f.Add([]byte("12345678"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := parse(raw)
		if err != nil {
			return
		}
		total, tensors := 0, []Tensor{}
		for _, name := range file.Names() {
			info, err := file.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			n := elementSize(info.DType)
			for _, d := range info.Shape {
				n *= d
			}
			if n != len(info.Data) {
				t.Fatalf("tensor %q: %d bytes, its shape says %d", name, len(info.Data), n)
			}
			total += n
			tensors = append(tensors, Tensor{Name: name, Info: info})
		}
		if body := len(raw) - prefix - int(binary.LittleEndian.Uint64(raw)); total != body {
			t.Fatalf("tensors cover %d of %d bytes", total, body)
		}
		header, err := formatHeader(tensors, file.Metadata())
		if err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		again.Write(header)
		if err := writeData(&again, tensors); err != nil {
			t.Fatal(err)
		}
		copied, err := parse(again.Bytes())
		if err != nil {
			t.Fatalf("a copy is refused: %v", err)
		}
		if fmt.Sprint(copied.Names()) != fmt.Sprint(file.Names()) || fmt.Sprint(copied.Metadata()) != fmt.Sprint(file.Metadata()) {
			t.Fatal("a copy has other names or metadata")
		}
	})
}

package sharding

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sort"
	"unicode/utf8"
)

// maxLineBytes bounds a line of a dataset. A longer one is a file of another kind.
const maxLineBytes = 16 << 20

// Dataset is a list of files seen as a list of samples, one to a line that is not blank, or one to a row. Files are JSONL,
// plain or packed by gzip or zstd, or Parquet (packed.go). It holds places, not text.
// It does not change after Index and is safe for concurrent use; its files must not change either.
type Dataset struct {
	files []indexed
	n     int
	bad   BadRows
}

// BadRows are rows that are no samples and were passed over.
type BadRows struct {
	Count int
	First []error // at most maxBadShown of them, with file and line
}

const maxBadShown = 10

func (b *BadRows) add(err error) {
	if b.Count++; len(b.First) < maxBadShown {
		b.First = append(b.First, err)
	}
}

// Bad are the rows that were passed over; none unless Part.SkipBad said so.
func (d *Dataset) Bad() BadRows { return d.bad }

// indexed is a file of a dataset.
type indexed struct {
	path, name string
	columns    Columns
	weight     float64
	kept       *os.File // what was unpacked, if it has no name; it goes when nobody reads it any more
	size       int64
	first      int // sample
	places     []place
	bad        BadRows // while the file is read
}

// place is where a line stands.
type place struct {
	offset int64
	length int32 // without the end of line
	line   int32 // counted from 1
}

// File is a file of a dataset: where it lies, what messages call it, and how its samples are used.
type File struct {
	Path, Name string
	Columns    Columns
	Weight     float64 // as Source.Weight; 0 means 1
}

// Index reads files, in the order given, and checks that every line is a sample of a known shape.
// An error names file and line and what to do. Files without any sample are refused.
func Index(paths []string) (*Dataset, error) {
	files := make([]File, len(paths))
	for i, path := range paths {
		files[i] = File{Path: path, Name: path}
	}
	return IndexFiles(files)
}

// IndexFiles is Index for files that lie elsewhere than where their user knows them.
func IndexFiles(files []File) (*Dataset, error) { return IndexPart(files, Part{}) }

// IndexPart is IndexFiles for a part of the samples.
func IndexPart(files []File, p Part) (*Dataset, error) {
	return index(files, p, func(x *indexed, f *os.File) error { return x.temporary(f, x.check(p.SkipBad)) })
}

// OpenPart is IndexPart for files that it has accepted before, here or elsewhere, and that are known by their hash since: lines are
// found and looked into only where bad ones are to be passed over. What packed files hold is kept under cacheDir, if that is
// not empty, by their content.
func OpenPart(files []File, p Part, cacheDir string) (*Dataset, error) {
	return index(files, p, func(x *indexed, f *os.File) error {
		check := func([]byte) error { return nil }
		if p.SkipBad {
			check = x.check(true)
		}
		if cacheDir == "" {
			return x.temporary(f, check)
		}
		return x.cached(f, cacheDir, check)
	})
}

// CountPart is the number of samples that IndexPart finds, and what it passes over. It checks them likewise, and writes nothing.
func CountPart(files []File, p Part) (int, BadRows, error) {
	d, err := index(files, p, func(x *indexed, f *os.File) error { return x.scan(f, nil, x.check(p.SkipBad)) })
	if err != nil {
		return 0, BadRows{}, err
	}
	return d.n, d.bad, nil
}

// index lists files, each of which read looks through, and takes the part of their samples.
func index(files []File, p Part, read func(x *indexed, f *os.File) error) (*Dataset, error) {
	d := &Dataset{}
	for _, f := range files {
		x, err := indexFile(f, read)
		if err != nil {
			return nil, err
		}
		for _, err := range x.bad.First {
			d.bad.add(err)
		}
		d.bad.Count += x.bad.Count - len(x.bad.First)
		x.bad = BadRows{}
		d.files = append(d.files, x)
	}
	var err error
	if d.files, err = p.of(d.files); err != nil {
		return nil, err
	}
	for i := range d.files {
		d.files[i].first = d.n
		d.n += len(d.files[i].places)
	}
	if d.n == 0 {
		return nil, fmt.Errorf("read data: no samples in %d files: write one JSON object to a line", len(files))
	}
	return d, nil
}

func indexFile(from File, read func(x *indexed, f *os.File) error) (indexed, error) {
	x := indexed{path: from.Path, name: from.Name, columns: from.Columns, weight: from.Weight}
	f, err := os.Open(from.Path)
	if err != nil {
		return x, fmt.Errorf("read data: %w", err)
	}
	defer f.Close()
	if err := read(&x, f); err != nil {
		return x, err
	}
	if len(x.places) == 0 {
		if x.bad.Count > 0 {
			return x, fmt.Errorf("%s: no row is a sample: correct them, or leave the file out; the first: %w", x.name, x.bad.First[0])
		}
		return x, fmt.Errorf("%s: no samples: write one JSON object to a line, or leave the file out", x.name)
	}
	return x, nil
}

// lines finds the samples in what r yields.
func (x *indexed) lines(r io.Reader, check func(line []byte) error) error {
	lines := lineReader{r: bufio.NewReaderSize(r, 1<<16), most: maxLineBytes}
	for {
		p, line, err := lines.next()
		if err == io.EOF {
			break
		}
		if err == nil && p.line == math.MaxInt32 {
			err = errors.New("too many lines: split the file")
		}
		if err == nil && len(line) > 0 {
			err = check(line)
		}
		if errors.As(err, new(badRow)) {
			x.bad.add(fmt.Errorf("%s:%d: %w", x.name, p.line, err))
			continue
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", x.name, p.line, err)
		}
		if len(line) > 0 {
			x.places = append(x.places, p)
		}
	}
	x.size = lines.offset
	return nil
}

// lineReader cuts a stream into lines of bounded length.
type lineReader struct {
	r      *bufio.Reader
	most   int
	offset int64
	line   int32
	buffer []byte
}

// next returns the next line without surrounding white space, and where it stands. The line is valid until the next call.
func (l *lineReader) next() (place, []byte, error) {
	l.buffer = l.buffer[:0]
	l.line++
	for {
		part, err := l.r.ReadSlice('\n')
		l.buffer = append(l.buffer, part...)
		if len(l.buffer) > l.most {
			return place{line: l.line}, nil, fmt.Errorf("line is longer than %d bytes: is this a JSONL file? Split the sample", l.most)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err == io.EOF && len(l.buffer) > 0 {
			err = nil
		}
		start := l.offset
		l.offset += int64(len(l.buffer))
		if err != nil {
			return place{line: l.line}, nil, err
		}
		text := bytes.TrimLeft(l.buffer, " \t\r\n")
		start += int64(len(l.buffer) - len(text))
		text = bytes.TrimRight(text, " \t\r\n")
		return place{offset: start, length: int32(len(text)), line: l.line}, text, nil
	}
}

// badRow is what is wrong with a row that is passed over.
type badRow struct{ error }

func (b badRow) Unwrap() error { return b.error }

// check finds what is wrong with a line before anything is trained on the others.
func (x *indexed) check(skip bool) func(line []byte) error {
	return func(line []byte) error {
		err := checkLine(line, x.columns)
		if err != nil && skip {
			return badRow{err}
		}
		return err
	}
}

func checkLine(line []byte, columns Columns) error {
	switch {
	case bytes.HasPrefix(line, []byte("\xef\xbb\xbf")):
		return errors.New("begins with a byte order mark: save the file as UTF-8 without one")
	case !utf8.Valid(line):
		return errors.New("is not UTF-8: save the file as UTF-8")
	case line[0] == '[':
		return errors.New("is a JSON array: write one object to a line (JSONL)")
	}
	line, err := columns.apply(line)
	if err != nil {
		return err
	}
	_, _, err = parse(line)
	return err
}

// syntax says where and why a line is not JSON.
func syntax(err error) error {
	var s *json.SyntaxError
	if errors.As(err, &s) {
		return fmt.Errorf("is not JSON at byte %d: %w: correct the line or remove it", s.Offset, err)
	}
	return fmt.Errorf("is not a JSON object: %w: correct the line or remove it", err)
}

// Len returns the number of samples.
func (d *Dataset) Len() int { return d.n }

// Sample returns the line of a sample, and where it stands as file:line. It panics if there is no such sample.
func (d *Dataset) Sample(s Sample) (raw []byte, where string, err error) {
	lines, err := d.read(int(s), int(s)+1)
	if err != nil {
		return nil, "", err
	}
	return lines[0].raw, lines[0].where, nil
}

// line is the text of a sample and where it stands.
type line struct {
	raw   []byte
	where string
}

// read returns the lines of samples from up to end.
func (d *Dataset) read(from, end int) ([]line, error) {
	if from < 0 || from > end || end > d.n {
		panic(fmt.Sprintf("sharding: samples %d to %d of %d", from, end, d.n))
	}
	lines := make([]line, 0, end-from)
	for from < end {
		k := sort.Search(len(d.files), func(i int) bool { return d.files[i].first > from }) - 1
		x := &d.files[k]
		upTo := min(end-x.first, len(x.places))
		more, err := x.read(from-x.first, upTo)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
		from = x.first + upTo
	}
	return lines, nil
}

// read returns the lines of the samples from up to end of one file.
func (x *indexed) read(from, end int) ([]line, error) {
	f := x.kept
	if f == nil {
		opened, err := os.Open(x.path)
		if err != nil {
			return nil, fmt.Errorf("read data: %w", err)
		}
		defer opened.Close()
		f = opened
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read data: %w", err)
	}
	if info.Size() != x.size {
		return nil, fmt.Errorf("read data: %s had %d bytes when the run began and has %d now: restore it and start again", x.name, x.size, info.Size())
	}
	start, last := x.places[from].offset, x.places[end-1]
	text := make([]byte, last.offset+int64(last.length)-start)
	if _, err := f.ReadAt(text, start); err != nil {
		return nil, fmt.Errorf("read data: %w", err)
	}
	lines := make([]line, 0, end-from)
	for _, p := range x.places[from:end] {
		at, where := p.offset-start, fmt.Sprintf("%s:%d", x.name, p.line)
		raw, err := x.columns.apply(text[at : at+int64(p.length)])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		lines = append(lines, line{raw: raw, where: where})
	}
	return lines, nil
}

// shardHash is the content hash of a shard: its lines, whatever file they are from.
func shardHash(lines []line) [32]byte {
	h := sha256.New()
	var length [8]byte
	for _, l := range lines {
		binary.LittleEndian.PutUint64(length[:], uint64(len(l.raw)))
		h.Write(length[:])
		h.Write(l.raw)
	}
	return [32]byte(h.Sum(nil))
}

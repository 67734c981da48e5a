package safetensors

import (
	"fmt"
	"io"
	"os"
	"slices"
)

// File is an open safetensors file. It is safe for concurrent use until Close.
type File struct {
	path     string
	data     []byte // the whole file
	release  func() error
	names    []string
	infos    map[string]Info
	metadata map[string]string
}

// Open maps the file at path and checks its header. The Data of its tensors are views of the map: they end with Close and
// must not be written, and a file cut short by somebody else meanwhile kills the process. Copy what must last.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	if !stat.Mode().IsRegular() {
		return nil, fmt.Errorf("open weights %s: it is no regular file", path)
	}
	data, release, err := mapFile(f, stat.Size())
	if err != nil {
		return nil, fmt.Errorf("open weights %s: %w", path, err)
	}
	file, err := parse(data)
	if err != nil {
		release()
		return nil, fmt.Errorf("open weights %s: %w", path, err)
	}
	file.path, file.release = path, release
	return file, nil
}

// parse makes a File of the bytes of one.
func parse(data []byte) (*File, error) {
	n, err := headerLen(data, int64(len(data)))
	if err != nil {
		return nil, err
	}
	body := data[prefix+n:]
	entries, metadata, err := parseHeader(data[prefix:prefix+n], uint64(len(body)))
	if err != nil {
		return nil, err
	}
	f := &File{data: data, metadata: metadata, infos: make(map[string]Info, len(entries)), release: func() error { return nil }}
	for _, e := range entries {
		f.names = append(f.names, e.name)
		f.infos[e.name] = Info{DType: e.dtype, Shape: e.shape, Data: body[e.from:e.to:e.to]}
	}
	slices.Sort(f.names)
	return f, nil
}

// Path is the path the file was opened with.
func (f *File) Path() string { return f.path }

// Names are the names of the tensors, sorted. Not to be changed.
func (f *File) Names() []string { return f.names }

// Metadata is what the file says about itself; nil if nothing. Not to be changed.
func (f *File) Metadata() map[string]string { return f.metadata }

// Tensor returns the tensor of that name.
func (f *File) Tensor(name string) (Info, error) {
	info, ok := f.infos[name]
	if !ok {
		return Info{}, fmt.Errorf("read %s: it has no tensor %q", f.path, name)
	}
	return info, nil
}

// Close releases the file. A second call does nothing.
func (f *File) Close() error {
	release := f.release
	f.data, f.infos, f.names, f.release = nil, nil, nil, func() error { return nil }
	if err := release(); err != nil {
		return fmt.Errorf("close %s: %w", f.path, err)
	}
	return nil
}

// readFile is mapFile where files cannot be mapped.
func readFile(f *os.File, size int64) ([]byte, func() error, error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, nil, err
	}
	return data, func() error { return nil }, nil
}

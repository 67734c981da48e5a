package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sort"
)

const (
	// maxHeader is the largest header in bytes, as in the reference implementation.
	maxHeader = 100_000_000
	// prefix is the length of the field that holds the header's length.
	prefix = 8
	// metadataKey is the entry of the header that is no tensor.
	metadataKey = "__metadata__"
)

// Info is one tensor of a file.
type Info struct {
	DType string // F32, BF16, …
	Shape []int
	Data  []byte // the elements, little endian, row-major
}

// entry is a tensor as the header has it: its elements are the bytes [from, to) of the data.
type entry struct {
	name     string
	dtype    string
	shape    []int
	from, to uint64
}

// elementSize is the number of bytes of one element, 0 for a type this package does not know.
func elementSize(dtype string) int {
	switch dtype {
	case "F64", "I64", "U64":
		return 8
	case "F32", "I32", "U32":
		return 4
	case "F16", "BF16", "I16", "U16":
		return 2
	case "I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2":
		return 1
	}
	return 0
}

// headerLen reads the length of the header from the first bytes of a file of the given size.
func headerLen(first []byte, size int64) (int, error) {
	if len(first) < prefix {
		return 0, fmt.Errorf("it has %d bytes, a safetensors file has at least %d: it is empty or truncated, fetch it again", size, prefix)
	}
	n := binary.LittleEndian.Uint64(first)
	if n > maxHeader {
		return 0, fmt.Errorf("its header claims %d bytes, at most %d are allowed: it is no safetensors file", n, maxHeader)
	}
	if int64(n) > size-prefix {
		return 0, fmt.Errorf("its header claims %d bytes, only %d follow: it is truncated, fetch it again", n, size-prefix)
	}
	return int(n), nil
}

// parseHeader returns the tensors in the order of their data, and the metadata. Every entry it returns has been checked
// against dataLen, the number of bytes after the header: together they cover the data exactly.
func parseHeader(header []byte, dataLen uint64) ([]entry, map[string]string, error) {
	entries, metadata, err := decodeHeader(header)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if err := e.check(dataLen); err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", e.name, err)
		}
	}
	sort.SliceStable(entries, func(i, j int) bool {
		a, b := entries[i], entries[j]
		return a.from < b.from || a.from == b.from && a.to < b.to
	})
	end, last := uint64(0), ""
	for _, e := range entries {
		if e.from < end {
			return nil, nil, fmt.Errorf("tensor %q: its data overlaps that of %q", e.name, last)
		}
		if e.from > end {
			return nil, nil, fmt.Errorf("tensor %q: %d bytes before its data belong to no tensor", e.name, e.from-end)
		}
		end, last = e.to, e.name
	}
	if end != dataLen {
		return nil, nil, fmt.Errorf("the last %d bytes belong to no tensor", dataLen-end)
	}
	return entries, metadata, nil
}

// decodeHeader reads the JSON as it stands. It goes token by token because a JSON object decoded into a map would hide
// that a name comes twice.
func decodeHeader(header []byte) ([]entry, map[string]string, error) {
	d := json.NewDecoder(bytes.NewReader(header))
	d.DisallowUnknownFields()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, errors.New("its header does not begin with a JSON object: it is no safetensors file")
	}
	var entries []entry
	var metadata map[string]string
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("parse header: %w", err)
		}
		name, _ := t.(string)
		if seen[name] {
			return nil, nil, fmt.Errorf("tensor %q: the header has it twice", name)
		}
		seen[name] = true
		if name == metadataKey {
			if err := d.Decode(&metadata); err != nil {
				return nil, nil, fmt.Errorf("parse metadata: %w", err)
			}
			continue
		}
		e, err := decodeEntry(d, name)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		entries = append(entries, e)
	}
	if _, err := d.Token(); err != nil {
		return nil, nil, fmt.Errorf("parse header: %w", noEOF(err))
	}
	if rest := bytes.Trim(header[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, nil, fmt.Errorf("parse header: %d bytes after the JSON object", len(rest))
	}
	return entries, metadata, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func decodeEntry(d *json.Decoder, name string) (entry, error) {
	var raw struct {
		DType   string    `json:"dtype"`
		Shape   *[]uint32 `json:"shape"`
		Offsets []uint64  `json:"data_offsets"`
	}
	if err := d.Decode(&raw); err != nil {
		return entry{}, noEOF(err)
	}
	if raw.Shape == nil || len(raw.Offsets) != 2 {
		return entry{}, errors.New("shape or data_offsets are missing")
	}
	e := entry{name: name, dtype: raw.DType, shape: make([]int, len(*raw.Shape)), from: raw.Offsets[0], to: raw.Offsets[1]}
	for i, n := range *raw.Shape {
		e.shape[i] = int(n)
	}
	return e, nil
}

// check says whether the entry's range fits its type and shape, and lies inside the data.
func (e entry) check(dataLen uint64) error {
	size := elementSize(e.dtype)
	if size == 0 {
		return fmt.Errorf("unknown dtype %q", e.dtype)
	}
	want, ok := byteLen(e.shape, size)
	if !ok {
		return fmt.Errorf("shape %v is too large", e.shape)
	}
	if e.to < e.from || e.to-e.from != want {
		return fmt.Errorf("data_offsets [%d, %d] do not hold the %d bytes of %s %v", e.from, e.to, want, e.dtype, e.shape)
	}
	if e.to > dataLen {
		return fmt.Errorf("its data ends at byte %d, the file has %d: it is truncated, fetch it again", e.to, dataLen)
	}
	return nil
}

// byteLen is the number of bytes of a tensor, false when it does not fit 63 bits.
func byteLen(shape []int, size int) (uint64, bool) {
	total := uint64(size)
	for _, n := range shape {
		if n == 0 {
			return 0, true
		}
	}
	for _, n := range shape {
		hi, lo := bits.Mul64(total, uint64(n))
		if hi != 0 || lo >= 1<<63 {
			return 0, false
		}
		total = lo
	}
	return total, true
}

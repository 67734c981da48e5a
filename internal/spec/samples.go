package spec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// samples counts the samples in JSON-lines files: the lines that are not blank.
func samples(paths []string) (int, error) {
	n := 0
	for _, path := range paths {
		m, err := lines(path)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", path, err)
		}
		if m == 0 {
			return 0, fmt.Errorf("%s has no samples: one JSON object per line is expected", path)
		}
		n += m
	}
	return n, nil
}

func lines(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n := 0
	r := bufio.NewReaderSize(f, 1<<20)
	for blank := true; ; {
		part, err := r.ReadSlice('\n')
		blank = blank && len(bytes.TrimSpace(part)) == 0
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if !blank {
			n++
		}
		if blank = true; err != nil {
			return n, nil
		}
	}
}

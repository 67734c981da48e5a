package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/torctrain/torc/internal/pb"
)

// A run's log is the file log.jsonl below $HOME/runs/RUN, one line per line; when it is full it becomes log.1.jsonl, whose
// former content is lost.
const (
	logFile      = "log.jsonl"
	olderLogFile = "log.1.jsonl"
	maxLogBytes  = 4 << 20
	maxLineBytes = 16 << 10
)

// logged is a line as the file has it.
type logged struct {
	Time  int64  `json:"t"` // Unix nanoseconds
	Node  string `json:"n"`
	Level string `json:"l"`
	Text  string `json:"s"`
}

// write appends a line to its run's log. The run goes on without if that fails. The caller holds mu.
func (s *Server) write(l line) {
	if err := appendLog(s.runDir(l.run), l.line); err != nil {
		s.log.Warn("line is not in the run's log", "run", l.run, "line", l.line.Text, "err", err)
	}
}

func appendLog(dir string, l *pb.LogLine) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, logFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := json.Marshal(logged{l.UnixNano, l.Node, l.Level, l.Text[:min(len(l.Text), maxLineBytes)]})
	if err != nil {
		return err
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	if info, err := f.Stat(); err == nil && info.Size() >= maxLogBytes {
		return os.Rename(path, filepath.Join(dir, olderLogFile))
	}
	return nil
}

// readLog returns what is left of the log in dir.
func readLog(dir string) ([]*pb.LogLine, error) {
	var all []*pb.LogLine
	for _, name := range []string{olderLogFile, logFile} {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read log: %w", err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 8*maxLineBytes) // JSON may need six bytes for one
		for lines.Scan() {
			var l logged
			if json.Unmarshal(lines.Bytes(), &l) == nil { // the last line of a coordinator that crashed may be cut off
				all = append(all, &pb.LogLine{UnixNano: l.Time, Node: l.Node, Level: l.Level, Text: l.Text})
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return nil, fmt.Errorf("read log: %w", err)
		}
	}
	return all, nil
}

package control

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/torctrain/torc/internal/pb"
)

// A run's history is the file steps.jsonl below $HOME/runs/RUN: a line for each step and each validation, in the order in
// which the coordinator heard of them. What was made again, after the loss of all members, may stand there again, with the
// same losses.
const historyFile = "steps.jsonl"

// historyLine is a line of the file. One of a validation has no more than step, loss and answer tokens.
type historyLine struct {
	Step       uint64   `json:"step"`
	Loss       *float64 `json:"loss,omitempty"`            // of the step: mean per answer token
	Validation *float64 `json:"validation_loss,omitempty"` // likewise
	Counted    int64    `json:"answer_tokens"`
	Tokens     int64    `json:"tokens,omitempty"`
	Rate       float64  `json:"rate,omitempty"`
	GradNorm   float64  `json:"grad_norm,omitempty"`
	Seconds    float64  `json:"seconds,omitempty"`
	Tries      uint32   `json:"tries,omitempty"`
	View       uint64   `json:"view,omitempty"`
	Time       int64    `json:"t,omitempty"` // Unix nanoseconds
}

func lineOf(h *pb.HistoryLine) historyLine {
	if v := h.GetValidation(); v != nil {
		return historyLine{Step: v.Step, Validation: &v.Loss, Counted: v.Counted}
	}
	s, loss := h.GetStep(), h.GetStep().GetLoss()
	return historyLine{
		Step: s.GetStep(), Loss: &loss, Counted: s.GetCounted(), Tokens: s.GetTokens(), Rate: s.GetRate(), GradNorm: s.GetGradNorm(),
		Seconds: s.GetSeconds(), Tries: s.GetTries(), View: s.GetView(), Time: s.GetUnixNano(),
	}
}

func (h historyLine) toPB() *pb.HistoryLine {
	if h.Validation != nil {
		return validationLine(&pb.ValidationReport{Step: h.Step, Loss: *h.Validation, Counted: h.Counted})
	}
	var loss float64
	if h.Loss != nil {
		loss = *h.Loss
	}
	return stepLine(&pb.StepReport{
		Step: h.Step, Loss: loss, Counted: h.Counted, Tokens: h.Tokens, Rate: h.Rate, GradNorm: h.GradNorm,
		Seconds: h.Seconds, Tries: h.Tries, View: h.View, UnixNano: h.Time,
	})
}

func stepLine(s *pb.StepReport) *pb.HistoryLine {
	return &pb.HistoryLine{Kind: &pb.HistoryLine_Step{Step: s}}
}

func validationLine(v *pb.ValidationReport) *pb.HistoryLine {
	return &pb.HistoryLine{Kind: &pb.HistoryLine_Validation{Validation: v}}
}

// compareHistory orders lines by step, and a step before its validation.
func compareHistory(a, b *pb.HistoryLine) int {
	x, y := lineOf(a), lineOf(b)
	kind := func(h historyLine) int {
		if h.Validation != nil {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(x.Step, y.Step), cmp.Compare(kind(x), kind(y)))
}

// written is how far a run's history is told.
type written struct {
	steps      int    // number of the next of progress.steps
	validation uint64 // step of the last one
}

// since returns what p has beyond w, which it moves on.
func (w *written) since(p *progress) (lines []*pb.HistoryLine) {
	for _, s := range p.steps.from(w.steps) {
		lines = append(lines, stepLine(s))
	}
	w.steps = p.steps.end()
	for _, v := range p.validations {
		if v.Step > w.validation {
			lines = append(lines, validationLine(v))
			w.validation = v.Step
		}
	}
	return lines
}

// chapter is lines to add to a run's history.
type chapter struct {
	run   string
	lines []*pb.HistoryLine
}

// chronicle has written what r has done since the last time.
func (c *core) chronicle(r *run) {
	if lines := r.written.since(&r.progress); len(lines) > 0 {
		c.out = append(c.out, chapter{r.id, lines})
	}
}

// writeHistory appends to a run's history. The run goes on without if that fails. The caller holds mu.
func (s *Server) writeHistory(c chapter) {
	if err := appendHistory(s.runDir(c.run), c.lines); err != nil {
		s.log.Warn("steps are missing in the run's history", "run", c.run, "first", lineOf(c.lines[0]).Step, "err", err)
	}
}

func appendHistory(dir string, all []*pb.HistoryLine) error {
	var text []byte
	for _, h := range all {
		line, err := json.Marshal(lineOf(h))
		if err != nil {
			return fmt.Errorf("step %d: %w", lineOf(h).Step, err)
		}
		text = append(append(text, line...), '\n')
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, historyFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// ReadHistory returns what was written of the run whose directory is dir: each step and each validation once, in order, as
// it came last. Of a run that has made no step that is nothing.
func ReadHistory(dir string) ([]*pb.HistoryLine, error) {
	f, err := os.Open(filepath.Join(dir, historyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	defer f.Close()
	var all []*pb.HistoryLine
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var h historyLine
		if json.Unmarshal(lines.Bytes(), &h) == nil { // the last line of a coordinator that crashed may be cut off
			all = append(all, h.toPB())
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	slices.Reverse(all) // of equal ones the last comes first
	slices.SortStableFunc(all, compareHistory)
	return slices.CompactFunc(all, func(a, b *pb.HistoryLine) bool { return compareHistory(a, b) == 0 }), nil
}

// History streams the steps and validations of a run, and goes on until it ends if asked (pb.Control).
func (s *Server) History(req *pb.HistoryRequest, stream grpc.ServerStreamingServer[pb.HistoryLine]) error {
	var told written
	var lines []*pb.HistoryLine
	var failed error
	if err := s.run(req.Run, func(_ *core, _ time.Time, r *run) {
		told = r.written
		lines, failed = ReadHistory(s.runDir(r.id)) // under the lock, so that nothing is missed or comes twice
	}); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var last *pb.HistoryLine
	for over := !req.Follow; ; {
		for _, h := range lines {
			if last != nil && compareHistory(h, last) <= 0 {
				continue // made again
			}
			last = h
			if err := stream.Send(h); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.ending:
			return errEnding
		}
		if err := s.run(req.Run, func(_ *core, _ time.Time, r *run) {
			lines = told.since(&r.progress)
			over = r.over()
		}); err != nil {
			return err
		}
		slices.SortStableFunc(lines, compareHistory)
	}
}

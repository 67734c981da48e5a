package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/coordinator/control"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
)

func newHistoryCmd() *cobra.Command {
	var follow, asCSV bool
	var board string
	cmd := &cobra.Command{
		Use:   "history RUN",
		Short: "Print the loss of each step of a run, with its rate, gradient norm and time; or write it for TensorBoard",
		Long: `History prints a line for each step of a run, from its first to the last there is, and one for each validation.

A run that ended in this home, as one of launch --local does, is read from there; for others the coordinator is asked. A coordinator
that was away has what members could tell it when it was back: the last 256 steps.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := historyWriter(cmd, args[0], asCSV, board)
			if err != nil {
				return err
			}
			return errors.Join(readHistory(cmd, args[0], follow, w.write), w.close())
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run ends")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print comma-separated values with a line of names")
	cmd.Flags().StringVar(&board, "tensorboard", "", "write a file of events below DIR/RUN, for tensorboard --logdir DIR")
	addClientFlags(cmd)
	addJSONFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("csv", "json", "tensorboard")
	cmd.MarkFlagsMutuallyExclusive("follow", "json")
	return cmd
}

// readHistory gives the lines of a run to each, as they come.
func readHistory(cmd *cobra.Command, run string, follow bool, each func(*pb.HistoryLine) error) error {
	settings, err := config.Load(cmd.Flags(), "coordinator")
	if err != nil {
		return config.Kind(config.ErrUsage, err)
	}
	if run != filepath.Base(run) {
		return config.Usagef("run %q: not a run's name", run)
	}
	dir := filepath.Join(settings.Home, "runs", run)
	if _, err := os.Stat(filepath.Join(dir, control.ResultFile)); err == nil && !cmd.Flags().Changed("coordinator") {
		all, err := control.ReadHistory(dir)
		for i := 0; i < len(all) && err == nil; i++ {
			err = each(all[i])
		}
		return err
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	conn, err := dialFlagged(cmd)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := pb.NewControlClient(conn).History(cmd.Context(), &pb.HistoryRequest{Run: run, Follow: follow})
	for err == nil {
		var h *pb.HistoryLine
		if h, err = stream.Recv(); err == nil {
			err = each(h)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return unreachable(conn, err)
}

// history is a form in which lines are written.
type history interface {
	write(h *pb.HistoryLine) error
	close() error
}

func historyWriter(cmd *cobra.Command, run string, asCSV bool, board string) (history, error) {
	switch out := cmd.OutOrStdout(); {
	case board != "":
		fmt.Fprintln(cmd.ErrOrStderr(), "writing "+filepath.Join(board, run))
		return newEvents(filepath.Join(board, run))
	case asCSV:
		return newHistoryCSV(out)
	case wantsJSON(cmd):
		return &historyJSON{out: out, Run: run, Steps: []stepRow{}, Validations: []validationRow{}}, nil
	default:
		return newHistoryText(out)
	}
}

// stepRow is a step as history --json prints it.
type stepRow struct {
	Step         uint64    `json:"step"`
	Loss         float64   `json:"loss"` // mean per answer token
	Rate         float64   `json:"rate"`
	GradNorm     float64   `json:"grad_norm"`
	Tokens       int64     `json:"tokens"`
	AnswerTokens int64     `json:"answer_tokens"`
	Seconds      float64   `json:"seconds"`
	Tries        uint32    `json:"tries"`
	View         uint64    `json:"view"`
	Time         time.Time `json:"time"`
}

// validationRow is a validation as history --json prints it.
type validationRow struct {
	Step         uint64  `json:"step"`
	Loss         float64 `json:"loss"`
	AnswerTokens int64   `json:"answer_tokens"`
}

// historyJSON prints one object in the end.
type historyJSON struct {
	out         io.Writer
	Run         string          `json:"run"`
	Steps       []stepRow       `json:"steps"`
	Validations []validationRow `json:"validations"`
}

func (j *historyJSON) write(h *pb.HistoryLine) error {
	if v := h.GetValidation(); v != nil {
		j.Validations = append(j.Validations, validationRow{v.Step, v.Loss, v.Counted})
		return nil
	}
	s := h.GetStep()
	j.Steps = append(j.Steps, stepRow{
		s.GetStep(), s.GetLoss(), s.GetRate(), s.GetGradNorm(), s.GetTokens(), s.GetCounted(), s.GetSeconds(), s.GetTries(), s.GetView(),
		time.Unix(0, s.GetUnixNano()).UTC(),
	})
	return nil
}

func (j *historyJSON) close() error { return printJSON(j.out, j) }

// historyCSV prints a line at a time; a validation fills a column of its own.
type historyCSV struct{ *csv.Writer }

func newHistoryCSV(out io.Writer) (*historyCSV, error) {
	w := &historyCSV{csv.NewWriter(out)}
	return w, w.Write([]string{"step", "loss", "validation_loss", "rate", "grad_norm", "tokens", "answer_tokens", "seconds", "tries", "view", "time"})
}

func (w *historyCSV) write(h *pb.HistoryLine) error {
	float := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	row := make([]string, 11)
	if v := h.GetValidation(); v != nil {
		row[0], row[2], row[6] = fmt.Sprint(v.Step), float(v.Loss), fmt.Sprint(v.Counted)
	} else {
		s := h.GetStep()
		row = []string{
			fmt.Sprint(s.GetStep()), float(s.GetLoss()), "", float(s.GetRate()), float(s.GetGradNorm()), fmt.Sprint(s.GetTokens()), fmt.Sprint(s.GetCounted()),
			float(s.GetSeconds()), fmt.Sprint(s.GetTries()), fmt.Sprint(s.GetView()), time.Unix(0, s.GetUnixNano()).UTC().Format(time.RFC3339Nano),
		}
	}
	if err := w.Write(row); err != nil {
		return err
	}
	w.Flush()
	return w.Error()
}

func (w *historyCSV) close() error { return nil }

// historyText prints columns, line by line.
type historyText struct{ out io.Writer }

func newHistoryText(out io.Writer) (historyText, error) {
	_, err := fmt.Fprintf(out, "%7s  %7s  %10s  %9s  %9s  %7s  %7s  %5s  %4s\n", "STEP", "LOSS", "VALIDATION", "RATE", "GRAD NORM", "TOKENS", "SECONDS", "TRIES", "VIEW")
	return historyText{out}, err
}

func (t historyText) write(h *pb.HistoryLine) error {
	if v := h.GetValidation(); v != nil {
		_, err := fmt.Fprintf(t.out, "%7d  %7s  %10.4f\n", v.Step, "", v.Loss)
		return err
	}
	s := h.GetStep()
	_, err := fmt.Fprintf(t.out, "%7d  %7.4f  %10s  %9.3g  %9.4f  %7d  %7.3f  %5d  %4d\n",
		s.GetStep(), s.GetLoss(), "", s.GetRate(), s.GetGradNorm(), s.GetTokens(), s.GetSeconds(), s.GetTries(), s.GetView())
	return err
}

func (historyText) close() error { return nil }

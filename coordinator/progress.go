package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/torctrain/torc/internal/pb"
)

// progress shows a run: one line that changes in place on a terminal, else a plain line every few seconds.
type progress struct {
	w        io.Writer
	terminal bool
	width    int
	open     bool // an unfinished line is on the terminal
	last     time.Time
	lastStep uint64
	state    pb.RunState
	seen     bool
}

// plainEvery is how often a line is printed where there is no terminal.
const plainEvery = 2 * time.Second

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, width: 100}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal = true
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
			p.width = width
		}
	}
	return p
}

// show brings the display up to date with an event of the run.
func (p *progress) show(e *pb.RunEvent) {
	for _, l := range e.Logs {
		p.say(logText(l))
	}
	r := e.Info
	changed := !p.seen || r.State != p.state
	if changed && r.State != pb.RunState_RUN_TRAINING {
		p.say(fmt.Sprintf("run %s is %s%s", r.Run, stateName(r.State), because(r.Why)))
	}
	p.seen, p.state = true, r.State
	if r.State != pb.RunState_RUN_TRAINING && !ended(r.State) || r.Step == 0 {
		return
	}
	if p.terminal {
		p.draw(progressBar(r, p.width))
		return
	}
	if r.Step != p.lastStep && (time.Since(p.last) >= plainEvery || r.Step == r.Steps) {
		fmt.Fprintln(p.w, progressText(r))
		p.last, p.lastStep = time.Now(), r.Step
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + visible(why)
}

// say prints a line of its own above the progress.
func (p *progress) say(text string) {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.open = false
	}
	fmt.Fprintln(p.w, text)
}

func (p *progress) draw(line string) {
	fmt.Fprint(p.w, "\r\x1b[K", line)
	p.open = true
}

func (p *progress) end() {
	if p.open {
		fmt.Fprintln(p.w)
		p.open = false
	}
}

// progressText is one line about a run at work.
func progressText(r *pb.RunInfo) string {
	s := fmt.Sprintf("step %d/%d  loss %s  %.0f tokens/s  %s", r.Step, r.Steps, lossText(r), r.TokensPerSecond, membersText(len(r.GetView().GetMembers())))
	if r.EtaSeconds > 0 && r.Step < r.Steps {
		s += fmt.Sprintf("  %s left", time.Duration(r.EtaSeconds*float64(time.Second)).Round(time.Second))
	}
	return s
}

// progressBar is progressText behind a bar that fills what is left of the width.
func progressBar(r *pb.RunInfo, width int) string {
	text := progressText(r)
	room := min(width-len(text)-4, 40)
	if room < 10 || r.Steps == 0 {
		return text[:min(len(text), width-1)]
	}
	full := int(uint64(room) * min(r.Step, r.Steps) / r.Steps)
	return "[" + strings.Repeat("█", full) + strings.Repeat("·", room-full) + "] " + text
}

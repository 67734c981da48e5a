package drills

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/torctrain/torc/internal/rng"
)

// Task is a kind of data the generator makes.
type Task string

// The tasks.
const (
	Pretrain Task = "pretrain" // for a base model: sums, symbolic chains, worded problems of one and two steps
	Train    Task = "train"    // for the demo: worded problems of three steps, a few of one and two among them against forgetting
	Test     Task = "test"     // worded problems of three steps whose chains Train and Pretrain never hold
	Text     Task = "text"     // plain text for a tokenizer
)

// Tasks are all of them.
var Tasks = []Task{Pretrain, Train, Test, Text}

// sample is one line of JSONL: a question with its answer, or a text.
type sample struct {
	Question string `json:"question,omitempty"`
	Answer   string `json:"answer,omitempty"`
	Text     string `json:"text,omitempty"`
}

// Write writes count samples of a task, one a line: JSON objects, or the bare text for Text. The bytes are a function of
// the arguments. Sample i depends on the task, the seed and i alone, so a longer file begins with the shorter one.
func Write(w io.Writer, t Task, count int, seed uint64) error {
	out := bufio.NewWriter(w)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	for i := range count {
		d := &draws{key: rng.New(seed).Sub(number(t), uint64(i))}
		s, err := draw(d, t)
		if err != nil {
			return err
		}
		if t == Text {
			_, err = fmt.Fprintln(out, s.Text)
		} else {
			err = lines.Encode(s)
		}
		if err != nil {
			return fmt.Errorf("write sample %d: %w", i, err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write samples: %w", err)
	}
	return nil
}

// number gives each task a stream of its own.
func number(t Task) uint64 {
	for i, known := range Tasks {
		if t == known {
			return uint64(i)
		}
	}
	return uint64(len(Tasks))
}

// draw makes one sample.
func draw(d *draws, t Task) (sample, error) {
	switch t {
	case Pretrain:
		return pretrain(d), nil
	case Train:
		return worded(d, pick(d, []int{3, 3, 3, 3, 3, 3, 2, 1})), nil
	case Test:
		return test(d), nil
	case Text:
		s := worded(d, 1+d.below(3))
		return sample{Text: "Question: " + s.Question + "\nAnswer: " + s.Answer}, nil
	}
	return sample{}, fmt.Errorf("drills: unknown task %q: choose one of %v", t, Tasks)
}

// pretrain draws a lesson: six sums, a chain of symbols, or a worded problem of one or two steps.
func pretrain(d *draws) sample {
	switch k := d.below(10); {
	case k < 2:
		return sums(d, 8)
	case k < 5:
		c := newKnown(d, 1+d.below(4))
		return sample{Question: c.symbols(), Answer: c.solution()}
	case k < 7:
		return worded(d, 1)
	}
	return worded(d, 2)
}

// sums draws n sums and products, one a line.
func sums(d *draws, n int) sample {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte('\n')
		}
		x := d.between(1, limit)
		b.WriteString(chain{x, []op{newOp(d, x)}}.worked())
	}
	return sample{Text: b.String()}
}

// worded draws a problem in words with its worked solution, not one of the test's.
func worded(d *draws, steps int) sample { return told(d, newKnown(d, steps)) }

// test draws a problem of three steps that occurs nowhere else, and that nobody gets right by leaving out a step.
func test(d *draws) sample {
	c := newChain(d, 3)
	for !c.heldOut() || c.shortcut() {
		c = newChain(d, 3)
	}
	return told(d, c)
}

func told(d *draws, c chain) sample { return sample{Question: c.tell(d), Answer: c.solution()} }

// newKnown draws a chain that is not among the test's; those have three steps.
func newKnown(d *draws, steps int) chain {
	c := newChain(d, steps)
	for steps > 2 && c.heldOut() {
		c = newChain(d, steps)
	}
	return c
}

// symbols is the chain as a question without words: "12 +5 *2".
func (c chain) symbols() string {
	s := strconv.Itoa(c.start)
	for _, o := range c.ops {
		s += " " + string(o.sign) + strconv.Itoa(o.n)
	}
	return s
}

// solution is the worked solution with the answer marked.
func (c chain) solution() string { return c.worked() + "\n#### " + strconv.Itoa(c.answer()) }

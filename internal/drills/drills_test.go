package drills

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/rng"
)

func written(t *testing.T, task Task, count int, seed uint64) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, task, count, seed); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func samples(t *testing.T, task Task, count int, seed uint64) []sample {
	t.Helper()
	var list []sample
	for line := range strings.Lines(written(t, task, count, seed)) {
		var s sample
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		list = append(list, s)
	}
	return list
}

func TestSameSeedGivesSameBytesAndALongerFileBeginsWithTheShorter(t *testing.T) {
	for _, task := range Tasks {
		long := written(t, task, 60, 9)
		if again := written(t, task, 60, 9); again != long {
			t.Errorf("%s: two calls differ", task)
		}
		if short := written(t, task, 20, 9); !strings.HasPrefix(long, short) {
			t.Errorf("%s: 20 samples are not the first of 60", task)
		}
		if other := written(t, task, 60, 10); other == long {
			t.Errorf("%s: another seed gives the same bytes", task)
		}
	}
}

var (
	figures  = regexp.MustCompile(`\d+`)
	equation = regexp.MustCompile(`^(\d+)([-+*])(\d+)=(\d+)$`)
)

// TestSolutionsAreRight checks every line of every solution, and that the question's numbers are those of the solution.
func TestSolutionsAreRight(t *testing.T) {
	for _, task := range []Task{Pretrain, Train, Test} {
		for _, s := range samples(t, task, 2000, 1) {
			if err := wrong(s); err != nil {
				t.Errorf("%s: %+v: %v", task, s, err)
			}
		}
	}
}

func wrong(s sample) error {
	if s.Text != "" {
		for line := range strings.SplitSeq(s.Text, "\n") {
			if _, _, err := solve(line); err != nil {
				return err
			}
		}
		return nil
	}
	worked, answer, ok := strings.Cut(s.Answer, "\n#### ")
	if !ok {
		return errors.New("no ####")
	}
	asked, last := figures.FindAllString(s.Question, -1), ""
	for line := range strings.SplitSeq(worked, "\n") {
		operands, result, err := solve(line)
		if err != nil {
			return err
		}
		if last == "" {
			last, asked = asked[0], asked[1:]
		}
		if len(asked) == 0 || operands[0] != last || operands[1] != asked[0] {
			return fmt.Errorf("step %q does not follow from the question and the step before", line)
		}
		last, asked = result, asked[1:]
	}
	if answer != last || len(asked) > 0 {
		return fmt.Errorf("answer %s after %s, numbers %v unused", answer, last, asked)
	}
	return nil
}

func solve(line string) (operands [2]string, result string, err error) {
	m := equation.FindStringSubmatch(line)
	if m == nil {
		return operands, "", fmt.Errorf("line %q is no equation", line)
	}
	a, _ := strconv.Atoi(m[1])
	b, _ := strconv.Atoi(m[3])
	got := op{m[2][0], b}.apply(a)
	if got < 1 || got > limit || m[4] != strconv.Itoa(got) {
		return operands, "", fmt.Errorf("line %q: got %d", line, got)
	}
	return [2]string{m[1], m[3]}, m[4], nil
}

// TestTestProblemsAreNeverTrainedOn looks at the solutions, which name a chain whatever its wording.
func TestTestProblemsAreNeverTrainedOn(t *testing.T) {
	held := map[string]bool{}
	for _, s := range samples(t, Test, 500, 5) {
		held[s.Answer] = true
	}
	for _, task := range []Task{Pretrain, Train} {
		for _, s := range samples(t, task, 5000, 11) {
			if held[s.Answer] {
				t.Fatalf("%s: %q is a test problem", task, s.Answer)
			}
		}
	}
}

func TestNoTestProblemIsSolvedByLeavingOutAStep(t *testing.T) {
	for _, c := range []chain{
		{4, []op{{'-', 3}, {'*', 3}, {'-', 2}}}, // 4−3−2 is below 1, and the answer is 1
		{5, []op{{'+', 2}, {'-', 3}, {'*', 1}}},
	} {
		if !c.shortcut() {
			t.Errorf("%v: no shortcut found", c)
		}
	}
	if c := (chain{17, []op{{'+', 9}, {'-', 3}, {'+', 6}}}); c.shortcut() {
		t.Errorf("%v: has no shortcut", c)
	}
	for i := range uint64(500) {
		s := test(&draws{key: rng.New(5).Sub(i)})
		worked, answer, _ := strings.Cut(s.Answer, "\n#### ")
		steps := strings.Split(worked, "\n")
		for out := range steps {
			x, _ := strconv.Atoi(figures.FindString(worked))
			for j, line := range steps {
				if m := equation.FindStringSubmatch(line); j != out {
					n, _ := strconv.Atoi(m[3])
					x = max(1, op{m[2][0], n}.apply(x))
				}
			}
			if strconv.Itoa(x) == answer {
				t.Errorf("%s without step %d gives the answer", s.Answer, out+1)
			}
		}
	}
}

func TestBaseSeesNoWordedProblemOfThreeSteps(t *testing.T) {
	for _, s := range samples(t, Pretrain, 5000, 1) {
		if strings.Contains(s.Question, "How many") && strings.Count(s.Answer, "=") > 2 {
			t.Fatalf("worded problem of three steps: %+v", s)
		}
	}
}

func TestUnknownTaskIsRefusedByName(t *testing.T) {
	if err := Write(io.Discard, "poems", 1, 1); err == nil || !strings.Contains(err.Error(), `"poems"`) {
		t.Errorf("got %v, want an error naming the task", err)
	}
}

// full fails every write, as a full disk does.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestFullDiskIsReported(t *testing.T) {
	for _, count := range []int{1, 5000} {
		if err := Write(full{}, Train, count, 1); err == nil {
			t.Errorf("%d samples: no error", count)
		}
	}
}

func ExampleWrite() {
	var b strings.Builder
	if err := Write(&b, Train, 1, 1); err != nil {
		fmt.Println(err)
	}
	fmt.Print(b.String())
	// Output:
	// {"question":"Zoe has 2 nuts. She loses 1. She finds 8. She gives away 1. How many nuts does Zoe have now?","answer":"2-1=1\n1+8=9\n9-1=8\n#### 8"}
}

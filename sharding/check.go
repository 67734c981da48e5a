package sharding

import (
	"crypto/sha256"
	"slices"
	"strings"
)

// Checked is what a sample becomes, for people and scripts to look at.
type Checked struct {
	Where   string  `json:"where"`   // file:line
	IDs     []int32 `json:"ids"`     // after truncation
	Counted []bool  `json:"counted"` // whether the prediction of each id counts in the loss
	Runs    []Run   `json:"runs"`
}

// Run is a part of a sample whose tokens are alike in counting.
type Run struct {
	Text    string `json:"text"` // special tokens included
	Counted bool   `json:"counted"`
}

// Summary are the figures of a dataset under an encoder.
type Summary struct {
	Samples    int     `json:"samples"`
	Tokens     int     `json:"tokens"`     // after truncation
	Counted    int     `json:"counted"`    // of them, those whose prediction counts
	Longest    int     `json:"longest"`    // tokens of the longest sample, before truncation
	Lengths    Lengths `json:"lengths"`    // before truncation
	Cut        int     `json:"cut"`        // samples that are truncated
	Idle       int     `json:"idle"`       // samples without a counted token
	Duplicates int     `json:"duplicates"` // samples that have the tokens of one before, weights apart
	Empty      int     `json:"empty"`      // samples whose answer is empty or white space
	BadRows    int     `json:"bad_rows"`   // rows that are no samples, and conversations that the chat template refuses

	// Places are the first of each kind as file:line, by the name of the figure; bad_rows with what is wrong.
	Places map[string][]string `json:"places,omitempty"`
}

// Lengths say how samples' numbers of tokens are spread: the share of samples that the name says is at most so long.
type Lengths struct {
	Least  int `json:"least"`
	Median int `json:"p50"`
	P90    int `json:"p90"`
	P99    int `json:"p99"`
}

// maxPlaces bounds each list of Summary.Places.
const maxPlaces = 5

// note lists a place of a kind.
func (s *Summary) note(kind, place string) {
	if s.Places == nil {
		s.Places = map[string][]string{}
	}
	if len(s.Places[kind]) < maxPlaces {
		s.Places[kind] = append(s.Places[kind], place)
	}
}

// Check encodes every sample of ds and calls each, if not nil, in their order, until it returns false; the figures
// cover the samples seen. Whether bad rows are refused is the encoder's configuration.
func Check(ds *Dataset, e *Encoder, each func(Checked) bool) (Summary, error) {
	whole := NewEncoder(e.tok, Config{BadRows: e.config.BadRows})
	c := checker{lengths: make([]int, 0, ds.Len()), seen: map[[16]byte]string{}}
	c.BadRows = ds.bad.Count
	for _, err := range ds.bad.First {
		c.note("bad_rows", err.Error())
	}
	for i := range ds.Len() {
		raw, where, err := ds.Sample(Sample(i))
		if err != nil {
			return c.Summary, err
		}
		x, err := e.Encode(raw, where)
		if err != nil {
			return c.Summary, err
		}
		length := len(x.Tokens)
		if length == e.config.MaxTokens {
			full, err := whole.Encode(raw, where)
			if err != nil {
				return c.Summary, err
			}
			length = len(full.Tokens)
		}
		c.add(x, length)
		if each != nil && !each(e.checked(x)) {
			break
		}
	}
	c.spread()
	return c.Summary, nil
}

// checker counts.
type checker struct {
	Summary
	lengths []int
	seen    map[[16]byte]string // where tokens were first met
}

// add counts a sample that has so many tokens before truncation.
func (c *checker) add(x Example, length int) {
	counted := x.CountedTokens()
	c.Samples++
	c.Tokens += len(x.Tokens)
	c.Counted += counted
	c.Longest = max(c.Longest, length)
	c.lengths = append(c.lengths, length)
	for _, f := range []struct {
		is    bool
		count *int
		kind  string
	}{
		{length > len(x.Tokens), &c.Cut, "cut"}, {counted == 0, &c.Idle, "idle"}, {x.Empty, &c.Empty, "empty"},
	} {
		if f.is {
			*f.count++
			c.note(f.kind, x.Where)
		}
	}
	if x.Bad != nil {
		c.BadRows++
		c.note("bad_rows", x.Where+": "+x.Bad.Error())
		return
	}
	sum := sha256.Sum256(appendExamples(nil, []Example{x}))
	key := [16]byte(sum[:])
	if before, ok := c.seen[key]; !ok {
		c.seen[key] = x.Where
	} else if before != x.Where { // else it is the same row, by its weight
		c.Duplicates++
		c.note("duplicates", x.Where+" is "+before)
	}
}

// spread finds the quantiles of the lengths.
func (c *checker) spread() {
	if len(c.lengths) == 0 {
		return
	}
	slices.Sort(c.lengths)
	at := func(percent int) int { return c.lengths[max((len(c.lengths)*percent+99)/100-1, 0)] }
	c.Lengths = Lengths{Least: at(0), Median: at(50), P90: at(90), P99: at(99)}
}

func (e *Encoder) checked(x Example) Checked {
	c := Checked{Where: x.Where, IDs: x.Tokens, Counted: x.Counted}
	for start := 0; start < len(x.Tokens); {
		end := start + 1
		for end < len(x.Tokens) && x.Counted[end] == x.Counted[start] {
			end++
		}
		c.Runs = append(c.Runs, Run{Text: e.tok.Decode(x.Tokens[start:end], false), Counted: x.Counted[start]})
		start = end
	}
	return c
}

// blank says whether an answer says nothing.
func blank(answer string) bool { return strings.TrimSpace(answer) == "" }

package sharding

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
	Samples int `json:"samples"`
	Tokens  int `json:"tokens"`  // after truncation
	Counted int `json:"counted"` // of them, those whose prediction counts
	Longest int `json:"longest"` // tokens of the longest sample, before truncation
	Cut     int `json:"cut"`     // samples that are truncated
	Idle    int `json:"idle"`    // samples without a counted token
}

// Check encodes every sample of ds and calls each, if not nil, in their order, until it returns false; the figures
// cover the samples seen.
func Check(ds *Dataset, e *Encoder, each func(Checked) bool) (Summary, error) {
	whole := NewEncoder(e.tok, Config{})
	var sum Summary
	for i := range ds.Len() {
		raw, where, err := ds.Sample(Sample(i))
		if err != nil {
			return sum, err
		}
		x, err := e.Encode(raw, where)
		if err != nil {
			return sum, err
		}
		length := len(x.Tokens)
		if length == e.config.MaxTokens {
			full, err := whole.Encode(raw, where)
			if err != nil {
				return sum, err
			}
			length = len(full.Tokens)
		}
		sum.add(x, length)
		if each != nil && !each(e.checked(x)) {
			break
		}
	}
	return sum, nil
}

// add counts a sample that has so many tokens before truncation.
func (s *Summary) add(x Example, length int) {
	counted := x.CountedTokens()
	s.Samples++
	s.Tokens += len(x.Tokens)
	s.Counted += counted
	s.Longest = max(s.Longest, length)
	if length > len(x.Tokens) {
		s.Cut++
	}
	if counted == 0 {
		s.Idle++
	}
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

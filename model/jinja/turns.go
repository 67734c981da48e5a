package jinja

import "strings"

// Turns renders the template like Render, and finds what it writes for each of items, objects among the variables: what the
// one run of a loop's body wrote whose variable was the item. An item has an empty Span if no loop runs over it, if several write
// something for it besides white space, or if what is written passes through a macro or a set block.
func (t *Template) Turns(variables *Dict, items []*Dict) (text string, turns []Span, err error) {
	r := t.start(variables)
	r.turns = make(map[*Dict]*turn, len(items))
	for _, d := range items {
		r.turns[d] = new(turn)
	}
	if text, _, err = t.render(r); err != nil {
		return "", nil, err
	}
	for _, d := range items {
		found := r.turns[d]
		if found.times != 1 {
			found.span = Span{}
		}
		turns = append(turns, found.span)
	}
	return text, turns, nil
}

// turn is what was written for an item.
type turn struct {
	span  Span
	times int
}

// turned notes what a loop has written for an item from a place on.
func (r *run) turned(item any, from int) {
	d, ok := item.(*Dict)
	if found := r.turns[d]; ok && found != nil && r.inner == 0 && strings.TrimSpace(r.out.String()[from:]) != "" {
		found.span = Span{from, r.out.Len()}
		found.times++
	}
}

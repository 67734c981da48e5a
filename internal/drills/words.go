package drills

import (
	"strconv"
	"strings"
)

// person acts in a problem.
type person struct{ name, pronoun string }

var people = []person{
	{"Tom", "He"},
	{"Ann", "She"},
	{"Ben", "He"},
	{"Eva", "She"},
	{"Max", "He"},
	{"Mia", "She"},
	{"Sam", "He"},
	{"Zoe", "She"},
	{"Leo", "He"},
	{"Ida", "She"},
}

var things = []string{"pens", "eggs", "cards", "coins", "books", "shells", "stamps", "apples", "nuts", "toys"}

// Sentences have slots: $who and $they for the person, $what for the things, $n for a number.
var (
	openings = []string{"$who has $n $what.", "There are $n $what in $who's box.", "$who starts with $n $what."}
	changes  = map[byte][]string{
		'+': {"$they buys $n more.", "$they finds $n.", "$they gets $n."},
		'-': {"$they loses $n.", "$they sells $n.", "$they gives away $n."},
		'*': {"$they makes it $n times as many.", "Then there are $n times as many."},
	}
	questions = []string{"How many $what does $who have now?", "How many $what are there now?"}
)

// tell puts a chain into words.
func (c chain) tell(d *draws) string {
	who, what := pick(d, people), pick(d, things)
	fill := func(sentence string, n int) string {
		return strings.NewReplacer("$who", who.name, "$they", who.pronoun, "$what", what, "$n", strconv.Itoa(n)).Replace(sentence)
	}
	parts := []string{fill(pick(d, openings), c.start)}
	for _, o := range c.ops {
		parts = append(parts, fill(pick(d, changes[o.sign]), o.n))
	}
	return strings.Join(append(parts, fill(pick(d, questions), 0)), " ")
}

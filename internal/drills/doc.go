// Package drills makes the data that torc ships with: problems with worked solutions for the demo, lessons for the tiny
// base model and text for a tokenizer.
//
//	chain (12, then +5, then *2) ─┬─ tell     "Ann has 12 nuts. She finds 5. Then there are 2 times as many. How …?"
//	                              ├─ symbols  "12 +5 *2"
//	                              └─ solution "12+5=17\n17*2=34\n#### 34"
//
// The base learns sums, chains of symbols and worded problems of one and two steps; the demo teaches worded problems of
// three. A chain belongs either to the test problems or to everything else, by its numbers and operations alone, so no
// test problem is seen in training in any wording.
//
// What is written is a function of (task, count, seed): the same bytes everywhere, forever.
//
// Start reading at samples.go.
package drills

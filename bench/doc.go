// Command bench runs every benchmark of the tree several times and keeps medians: it prints a table and writes
// bench/results.json.
//
//	go test -bench (5 times) ─→ parse ─→ summarise ─→ table, results.json
//
// A machine's absolute times are noise to anybody else. A benchmark that wants to be read as a ratio therefore measures its
// yardstick beside itself: a sub-benchmark called "vs-NAME" is what its siblings are compared with, in the same run.
//
// Start reading at results.go.
package main

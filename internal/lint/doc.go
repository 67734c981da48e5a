// Package lint holds the rules of torc's architecture and style that a machine can check, as ordinary Go tests.
//
//	Load(root) ─→ Tree (every Go file, parsed) ─→ Rule.Check ─→ []Finding (file, line, what is wrong and what to do)
//
// The rules read syntax only, so they run in a second and need nothing but the source. Each is also run over
// testdata/tree, a small tree that breaks it: a line there ends with a comment // want "text" where a finding is due, and
// the test fails when a finding is missing or unexpected. A rule that stops working is noticed the same day.
//
// Formatting, vet and staticcheck are not here: make check calls them.
//
// Start reading at imports.go, which holds the table of who may import whom; rules.go lists the rules.
package lint

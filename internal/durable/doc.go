// Package durable puts files and directories into place whole or not at all, and makes them outlast a crash.
//
//	WriteFile, Write ─→ a file with a passing name beside path ─→ sync ─→ rename ─→ sync of the directory
//	WriteDir         ─→ a directory likewise, where there is none or an empty one
//
// After an error what was at the path before is there still, and nothing else is left. A process that is killed leaves what
// it had under its passing name, .NAME-…
//
// The package knows nothing of torc, and anything may use it. Start reading at durable.go.
package durable

// Package files finds and keeps files by their content: a run names its model and data by SHA-256, and wherever a node
// gets the bytes from, it has hashed them itself.
//
//	hint (where launch found it) ─┐
//	cache ($TORC_HOME/cache)      ─┼─→ Store.Find → path ─→ LayOut → a directory that looks like the original
//	a stream of chunks → Store.Add ┘
//
// A file appears in the store whole and verified or not at all.
package files

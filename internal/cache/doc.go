// Package cache keeps values on disk under keys that name them completely: what is expensive to compute and cheap to compute
// again. It may forget at any time.
//
//	Dir.Put(key, value) ─→ $TORC_HOME/cache/…/HH/HEX   appears whole or not at all
//	Dir.Get(key)        ←─ whoever uses it checks what comes back
//
// Several processes may use one directory at once. Nothing is ever an error here: what cannot be written is not kept, what
// cannot be read is not there. No clock decides anything; whoever wants the space removes the directory.
//
// Start reading at dir.go.
package cache

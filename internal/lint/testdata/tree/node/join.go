// Package node is a specimen with one file, which may hold its comment.
package node

import "log"

// Join ends the process.
func Join(any) error {
	log.Fatalf("no") // want "log.Fatalf outside main.go"
	return nil
}

// Binary coordinator is a specimen.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/torctrain/torc/node" // want "coordinator may not import node"
)

func main() {
	_ = node.Join(&cobra.Command{})
	os.Exit(0)
}

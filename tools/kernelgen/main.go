package main

import (
	"fmt"
	"os"
)

// groups are the files to write: each function adds the kernels of its group, once per tier.
var groups = []struct {
	name string
	add  func(f *File)
}{
	{"gemm", gemm},
	{"vec", vec},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kernelgen DIRECTORY")
		os.Exit(2)
	}
	for _, g := range groups {
		if err := write(os.Args[1], g.name, g.add); err != nil {
			fmt.Fprintln(os.Stderr, "kernelgen:", err)
			os.Exit(1)
		}
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
)

func main() {
	count := flag.Int("count", 5, "measurements of each figure")
	match := flag.String("run", ".", "benchmarks to run, a regular expression")
	out := flag.String("o", "bench/results.json", "file to write")
	flag.Parse()
	packages := flag.Args()
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	if err := run(*count, *match, *out, packages); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(count int, match, out string, packages []string) error {
	args := append([]string{"test", "-run", "^$", "-bench", match, "-count", strconv.Itoa(count)}, packages...)
	cmd := exec.Command("go", args...)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&text, os.Stderr), os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run benchmarks: %w", err)
	}
	all, err := parse(&text)
	if err != nil {
		return err
	}
	results := summarise(all)
	table(os.Stdout, results)
	data, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(data, '\n'), 0o644)
}

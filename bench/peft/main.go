// Command peft prints a model's logits after every token of some sequences, for check.py beside it, which compares them with
// those of the base with an adapter in PEFT.
//
//	go run ./bench/peft -model DIR < sequences.json > logits.json
//
// Both are lists of lists; the kernels are the portable ones, on one thread.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
)

func main() {
	dir := flag.String("model", "", "Hugging Face directory")
	flag.Parse()
	if err := run(*dir, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "peft:", err)
		os.Exit(1)
	}
}

func run(dir string, in io.Reader, out io.Writer) error {
	var sequences [][]int32
	if err := json.NewDecoder(in).Decode(&sequences); err != nil {
		return fmt.Errorf("read sequences: %w", err)
	}
	w, err := model.Load(dir)
	if err != nil {
		return err
	}
	k, err := cpu.New(1, cpu.Portable)
	if err != nil {
		return err
	}
	defer k.Close()
	m := model.New(w, k)
	all := make([][][]float32, len(sequences))
	for i, ids := range sequences {
		if err := w.Config.CheckTokens(ids); err != nil {
			return err
		}
		d := m.Decoder(len(ids))
		for _, id := range ids {
			all[i] = append(all[i], slices.Clone(d.Next([]int32{id})))
		}
	}
	return json.NewEncoder(out).Encode(all)
}

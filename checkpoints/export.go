package checkpoints

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/torctrain/torc/internal/durable"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/safetensors"
)

// ExportOptions say how ExportHF writes weights.
type ExportOptions struct {
	// DType is the type to write them in; nil means the type each is stored in.
	DType *model.DType
	// MaxFileBytes is the size above which weights are cut into several files. Default 5 GB, as Hugging Face does.
	MaxFileBytes int64
	// Card is the text of README.md; nil for none.
	Card []byte
}

// companions are the files of a model directory that go with the weights unchanged, where there are any.
var companions = []string{
	"generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "LICENSE", "LICENSE.txt",
	"LICENSE.md", "NOTICE",
}

// ExportHF writes w as a Hugging Face model directory dst, with the configuration and tokenizer of the directory base, from
// which w comes. dst must not exist, or be empty. It appears whole, when all of it is on disk, or not at all.
func ExportHF(dst, base string, w *model.Weights, o ExportOptions) error {
	err := durable.WriteDir(dst, func(dir string) error { return fill(dir, base, w, o) })
	if err != nil {
		return fmt.Errorf("export model to %s: %w", dst, err)
	}
	return nil
}

func fill(dir, base string, w *model.Weights, o ExportOptions) error {
	config, tensors, limit := w.Config, w.Tensors(), o.MaxFileBytes
	if o.DType != nil {
		cast, err := config.WithDType(*o.DType)
		if err != nil {
			return err
		}
		config, tensors = cast, w.TensorsAs(*o.DType)
	}
	if limit == 0 {
		limit = 5e9
	}
	if err := durable.WriteFile(filepath.Join(dir, "config.json"), config.JSON(), 0o644); err != nil {
		return err
	}
	if o.Card != nil {
		if err := durable.WriteFile(filepath.Join(dir, "README.md"), o.Card, 0o644); err != nil {
			return err
		}
	}
	for _, name := range companions {
		text, err := os.ReadFile(filepath.Join(base, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := durable.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	// transformers refuses files that do not say which framework's tensors they hold.
	_, err := safetensors.WriteModel(dir, tensors, limit, map[string]string{"format": "pt"})
	return err
}

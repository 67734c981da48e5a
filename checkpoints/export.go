package checkpoints

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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
func ExportHF(dst, base string, w *model.Weights, o ExportOptions) (err error) {
	if err := Free(dst); err != nil {
		return fmt.Errorf("export model: %w", err)
	}
	parent := filepath.Dir(filepath.Clean(dst))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("export model: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(dst)+"-*")
	if err != nil {
		return fmt.Errorf("export model: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("export model to %s: %w", dst, err)
			if e := os.RemoveAll(tmp); e != nil {
				err = errors.Join(err, fmt.Errorf("remove what was written: %w", e))
			}
		}
	}()
	if err := fill(tmp, base, w, o); err != nil {
		return err
	}
	if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty directory, which Rename would not replace
		return err
	}
	if err := os.Rename(tmp, dst); err != nil {
		return err
	}
	return syncDir(parent)
}

// Free says why ExportHF cannot write to path: something is there already.
func Free(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s exists and is not empty: remove it or choose another directory", path)
	}
	return nil
}

func fill(dir, base string, w *model.Weights, o ExportOptions) error {
	if err := os.Chmod(dir, 0o755); err != nil { // os.MkdirTemp makes it for its owner alone
		return err
	}
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
	if err := writeFile(filepath.Join(dir, "config.json"), config.JSON()); err != nil {
		return err
	}
	if o.Card != nil {
		if err := writeFile(filepath.Join(dir, "README.md"), o.Card); err != nil {
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
		if err := writeFile(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	// transformers refuses files that do not say which framework's tensors they hold.
	if _, err := safetensors.WriteModel(dir, tensors, limit, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	return syncDir(dir)
}

// writeFile writes a new file that is on disk when it returns.
func writeFile(path string, text []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

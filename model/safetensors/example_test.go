package safetensors_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/torctrain/torc/model/safetensors"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "tiny.safetensors")
	weight := safetensors.Tensor{Name: "w", Info: safetensors.Info{DType: "BF16", Shape: []int{1, 2}, Data: []byte{0x80, 0x3f, 0, 0x40}}}
	if err := safetensors.Write(path, []safetensors.Tensor{weight}, map[string]string{"format": "pt"}); err != nil {
		fmt.Println(err)
		return
	}
	f, err := safetensors.Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	w, err := f.Tensor("w")
	fmt.Println(w.DType, w.Shape, w.Data, err)
	// Output: BF16 [1 2] [128 63 0 64] <nil>
}

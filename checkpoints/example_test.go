package checkpoints_test

import (
	"bytes"
	"fmt"

	"github.com/torctrain/torc/checkpoints"
)

// A state as it is kept and sent: equal states have equal bytes.
func ExampleState() {
	s := &checkpoints.State{Step: 3, Theta: []float32{1, 2}, M: []float32{0, 0}, V: []float32{0, 0}, Sets: [][]uint32{{5, 9}}}
	var file bytes.Buffer
	if _, err := s.WriteTo(&file); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(file.Len(), "bytes")
	read, err := checkpoints.ReadState(&file)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("step", read.Step, "with the same digest:", read.Digest() == s.Digest())
	// Output:
	// 114 bytes
	// step 3 with the same digest: true
}

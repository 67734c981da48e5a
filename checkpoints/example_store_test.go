package checkpoints_test

import (
	"context"
	"fmt"
	"os"

	"github.com/torctrain/torc/checkpoints"
)

// A checkpoint of three members, one of which is lost with its disk.
func ExampleStore() {
	if err := lose(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// a: 0 3, b: 1 4, c: 2 5
	// without b there is step 300, the same: true
	// load checkpoint of step 300: 4 distinct pieces are needed, 2 could be read [2 5]; others were kept by a: 0 3, b: 1 4: bring these members back with their disks
}

func lose() error {
	dir, err := os.MkdirTemp("", "torc-example-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, c := context.Background(), checkpoints.Default()
	st := &checkpoints.State{Step: 300, Theta: make([]float32, 1000), M: make([]float32, 1000), V: make([]float32, 1000)}

	// The coordinator decides who keeps which pieces.
	placed, _, err := checkpoints.Place([]checkpoints.Holder{{Name: "a"}, {Name: "b"}, {Name: "c"}}, c.Data, c.Losses(3))
	if err != nil {
		return err
	}
	fmt.Println(checkpoints.Describe(placed))

	// Each member cuts and keeps its own, and reports.
	stores, reports := map[string]*checkpoints.Store{}, []checkpoints.Saved{}
	for _, h := range placed {
		store, err := checkpoints.OpenStore(checkpoints.Disk{}, dir+"/"+h.Name, st.Spec, c)
		if err != nil {
			return err
		}
		saved, err := store.Save(ctx, st, h.Has)
		if err != nil {
			return err
		}
		saved.Holder = h
		stores[h.Name], reports = store, append(reports, *saved)
	}

	// The coordinator makes the manifest, every member keeps it.
	m, err := checkpoints.Commit("drill", c.Losses(3), nil, reports)
	if err != nil {
		return err
	}
	for _, s := range stores {
		if err := s.Commit(m); err != nil {
			return err
		}
	}

	got, err := checkpoints.Load(ctx, m, checkpoints.Sources{stores["a"], stores["c"]})
	if err != nil {
		return err
	}
	fmt.Printf("without b there is step %d, the same: %v\n", got.Step, got.Digest() == st.Digest())
	_, err = checkpoints.Load(ctx, m, stores["c"])
	return err
}

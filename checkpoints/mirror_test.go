package checkpoints

import (
	"context"
	"errors"
	"testing"
)

// What members mirror is the checkpoint: it loads from there alone. A piece that is rotten on its member's disk is not
// copied, and a copy that was broken off at any operation goes on.
func TestMirrorIsTheCheckpoint(t *testing.T) {
	disk := newMemFS()
	spec := [32]byte{7}
	cfg := Default()
	cfg.Data = 2
	state := &State{Spec: spec, Step: 5, Theta: make([]float32, 70_000), M: make([]float32, 70_000), V: make([]float32, 70_000)}
	var stores []*Store
	var saved []Saved
	for i, name := range []string{"a", "b", "c"} {
		s, err := OpenStore(disk, "/"+name, spec, cfg)
		if err != nil {
			t.Fatal(err)
		}
		report, err := s.Save(t.Context(), state, []int{i})
		if err != nil {
			t.Fatal(err)
		}
		report.Holder.Name = name
		stores, saved = append(stores, s), append(saved, *report)
	}
	m, err := Commit("r", 1, nil, saved)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("cable pulled")
	for i, name := range []string{"a", "c"} {
		store := stores[2*i]
		for n := 1; ; n++ {
			disk.fail(n, broken)
			err := store.Mirror(t.Context(), m, name, "/mirror", nil)
			disk.heal()
			if err == nil {
				break
			}
			if !errors.Is(err, broken) || n > 100 {
				t.Fatalf("operation %d: %v", n, err)
			}
		}
	}
	for n := 1; ; n++ { // and what it is of
		disk.fail(n, broken)
		err := KeepSpec(disk, "/mirror", "a", []byte(`{"steps":9}`))
		disk.heal()
		if text, unread := ReadSpec(disk, "/mirror"); unread == nil && string(text) != `{"steps":9}` {
			t.Fatalf("operation %d: the spec reads %q", n, text)
		} else if err == nil && unread == nil {
			break
		}
		if !errors.Is(err, broken) || n > 20 {
			t.Fatalf("operation %d: %v", n, err)
		}
	}
	if err := KeepSpec(disk, "/mirror", "a", []byte(`{"steps":8}`)); !errors.Is(err, ErrOtherSpec) {
		t.Errorf("another run's spec: error is %v", err)
	}
	got, err := Load(context.Background(), m, Dir(disk, "/mirror"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest() != state.Digest() {
		t.Error("the mirror loads as another state")
	}
	name := "/b/" + m.Piece(1).String()
	disk.mu.Lock()
	disk.names[name].bytes[5000] ^= 1
	disk.mu.Unlock()
	if err := stores[1].Mirror(t.Context(), m, "b", "/mirror", nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("a rotten piece was mirrored: %v", err)
	}
}

package train

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// present is the view that ends when others tell of the next.
func present() *view.View {
	return &view.View{Run: "r", Number: 1, Members: make([]view.Member, 3), Owner: []int{0, 1, 2, 0}, Ring: []int{0, 2, 1}}
}

// tellable is what another member may tell.
func tellable() *pb.View {
	return &pb.View{
		Run: "r", Number: 2, Members: []*pb.Member{{Node: &pb.NodeID{Name: "ada"}}, {Node: &pb.NodeID{Name: "bob"}}},
		Owner: []int32{0, 1, 1, 0}, Ring: []int32{1, 0},
	}
}

func wireView(t testing.TB, p *pb.View) []byte {
	t.Helper()
	b, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAToldViewMustFit(t *testing.T) {
	if v, err := toldView(present(), wireView(t, tellable())); err != nil || v.Number != 2 || len(v.Members) != 2 {
		t.Fatalf("a sound view: %v, %v", v, err)
	}
	for _, c := range []struct {
		what, says string
		edit       func(*pb.View)
	}{
		{"another run", "of run", func(p *pb.View) { p.Run = "s" }},
		{"fewer lanes", "3 lanes", func(p *pb.View) { p.Owner = p.Owner[1:] }},
		{"a lane of nobody", "lane 3 to rank 2 of 2", func(p *pb.View) { p.Owner[3] = 2 }},
		{"a negative rank", "lane 0 to rank -1 of 2", func(p *pb.View) { p.Owner[0] = -1 }},
		{"a short ring", "ring of 1", func(p *pb.View) { p.Ring = p.Ring[1:] }},
		{"a ring with somebody twice", "each of 2 members once", func(p *pb.View) { p.Ring[1] = 1 }},
		{"a ring with nobody", "each of 2 members once", func(p *pb.View) { p.Ring[0] = 7 }},
		{"members out of order", "must be sorted", func(p *pb.View) { slices.Reverse(p.Members) }},
		{"no members", "0 members", func(p *pb.View) { p.Members = nil }},
		{"a long name", "at most", func(p *pb.View) { p.Members[0].Addr = strings.Repeat("x", 1<<17) }},
	} {
		p := tellable()
		c.edit(p)
		if _, err := toldView(present(), wireView(t, p)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.what, err, c.says)
		}
	}
}

func FuzzToldViewIsNeverTrusted(f *testing.F) {
	f.Add(wireView(f, tellable()))
	f.Add([]byte{})
	f.Add([]byte("\x0a\x01r"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := toldView(present(), b)
		if err != nil {
			return
		}
		ring := slices.Sorted(slices.Values(v.Ring))
		for rank := range v.Members {
			if ring[rank] != rank {
				t.Fatalf("ring %v of %d members", v.Ring, len(v.Members))
			}
			v.Lanes(rank)
		}
		if lowest, highest := slices.Min(v.Owner), slices.Max(v.Owner); lowest < 0 || highest >= len(v.Members) {
			t.Fatalf("lanes of %v, members %d", v.Owner, len(v.Members))
		}
	})
}

// The numbers of a record come from another member.
func FuzzNumbersOfARecordAreNeverTrusted(f *testing.F) {
	f.Add([]byte{1, 0, 255, 255}, 2)
	f.Add([]byte{1, 0, 255}, 2)
	f.Fuzz(func(t *testing.T, b []byte, tensors int) {
		tensors = max(0, min(tensors, 1<<16)) // what a run has, not what the member says
		scales, err := decodeScales(b, tensors)
		if (err == nil) != (len(b) == 2*tensors) || err == nil && !bytes.Equal(encodeScales(scales), b) {
			t.Errorf("%d bytes for %d tensors: %v, %v", len(b), tensors, scales, err)
		}
		if x := decodeInts(b); len(x) != len(b)/4 {
			t.Errorf("%d bytes are read as %v", len(b), x)
		}
	})
}

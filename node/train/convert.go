package train

import (
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// viewFromPB reads a view as it came over the wire.
func viewFromPB(p *pb.View) *view.View {
	v := &view.View{Run: p.Run, Incarnation: p.Incarnation, Number: p.Number}
	for _, m := range p.Members {
		v.Members = append(v.Members, view.Member{
			Node: view.NodeID{Name: m.GetNode().GetName(), Boot: m.GetNode().GetBoot()},
			Addr: m.Addr,
		})
	}
	for _, r := range p.Owner {
		v.Owner = append(v.Owner, int(r))
	}
	for _, r := range p.Ring {
		v.Ring = append(v.Ring, int(r))
	}
	return v
}

package pb

import "github.com/torctrain/torc/internal/view"

// OfNode is a node's id for the wire.
func OfNode(id view.NodeID) *NodeID { return &NodeID{Name: id.Name, Boot: id.Boot} }

// ID is the plain value of x; nil is the id of no node.
func (x *NodeID) ID() view.NodeID { return view.NodeID{Name: x.GetName(), Boot: x.GetBoot()} }

// OfView is v for the wire.
func OfView(v *view.View) *View {
	x := &View{Run: v.Run, Incarnation: v.Incarnation, Number: v.Number, Relay: v.Relay}
	for _, m := range v.Members {
		x.Members = append(x.Members, &Member{Node: OfNode(m.Node), Addr: m.Addr, Host: m.Host, Zone: m.Zone})
	}
	for _, rank := range v.Owner {
		x.Owner = append(x.Owner, int32(rank))
	}
	for _, rank := range v.Ring {
		x.Ring = append(x.Ring, int32(rank))
	}
	return x
}

// Plain is the plain value of x, unchecked: see view.View.Check. nil stands for no view.
func (x *View) Plain() *view.View {
	if x == nil {
		return nil
	}
	v := &view.View{Run: x.Run, Incarnation: x.Incarnation, Number: x.Number, Relay: x.Relay}
	for _, m := range x.Members {
		v.Members = append(v.Members, view.Member{Node: m.GetNode().ID(), Addr: m.GetAddr(), Host: m.GetHost(), Zone: m.GetZone()})
	}
	for _, rank := range x.Owner {
		v.Owner = append(v.Owner, int(rank))
	}
	for _, rank := range x.Ring {
		v.Ring = append(v.Ring, int(rank))
	}
	return v
}

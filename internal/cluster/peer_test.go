package cluster

import (
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"

	"github.com/torctrain/torc/internal/view"
)

func TestPeerTravelsThroughGossip(t *testing.T) {
	p := Peer{Node: view.NodeID{Name: "node-3.rack_2", Boot: 0xfeed}, Role: Node, Addr: "[2001:db8::1]:7170", Leaving: true}
	n := &memberlist.Node{Name: memberName(p.Node), Meta: p.meta(), Addr: []byte{10, 0, 0, 9}, Port: 7}
	got, err := peer(n)
	p.Gossip = "10.0.0.9:7"
	if err != nil || got != p {
		t.Errorf("peer = %+v, %v, want %+v", got, err, p)
	}
}

func TestPeerRefusesForeignMembers(t *testing.T) {
	good := Peer{Node: view.NodeID{Name: "a", Boot: 1}}
	for _, n := range []memberlist.Node{
		{Name: "a", Meta: good.meta()},
		{Name: "a#1", Meta: good.meta()},
		{Name: "a#000000000000000g", Meta: good.meta()},
		{Name: "#0000000000000001", Meta: good.meta()},
		{Name: "a b#0000000000000001", Meta: good.meta()},
		{Name: memberName(good.Node), Meta: []byte("{")},
	} {
		if p, err := peer(&n); err == nil {
			t.Errorf("peer(%q, %q) = %+v", n.Name, n.Meta, p)
		}
	}
}

func TestNamesThatGossipCannotCarryAreRefused(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a b", "a#b", "ä", strings.Repeat("a", 64)} {
		if CheckName(name) == nil {
			t.Errorf("CheckName(%q) = nil", name)
		}
	}
	if _, err := OpenGossip(GossipConfig{Self: Peer{Node: view.NodeID{Name: "a"}, Addr: strings.Repeat("a", 600)}}); err == nil {
		t.Error("OpenGossip took an address that makes metadata of more than 512 bytes")
	}
	long := Peer{Node: view.NodeID{Name: strings.Repeat("a", 63), Boot: 1 << 63}, Role: Coordinator, Addr: strings.Repeat("a", 255) + ":65535", Leaving: true}
	if n := len(long.meta()); n > memberlist.MetaMaxSize {
		t.Errorf("the longest peer makes %d bytes of metadata, more than %d", n, memberlist.MetaMaxSize)
	}
}

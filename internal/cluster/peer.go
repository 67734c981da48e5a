package cluster

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/memberlist"

	"github.com/torctrain/torc/internal/trust"
	"github.com/torctrain/torc/internal/view"
)

// Peer is one process as gossip knows it.
type Peer struct {
	Node    view.NodeID
	Role    Role
	Addr    string // host:port of its gRPC server
	Gossip  string // host:port of its gossip
	Leaving bool   // it has said that it goes
}

// Role is what a peer does in the cluster.
type Role string

// The two kinds of process.
const (
	Coordinator Role = "coordinator"
	Node        Role = "node"
)

// CheckName says what is wrong with the name of a node, see trust.CheckName.
func CheckName(name string) error {
	if err := trust.CheckName(name); err != nil {
		return fmt.Errorf("node %w (--name)", err)
	}
	return nil
}

// metadata is what travels beside a peer's name and gossip address; short, because a packet carries many.
type metadata struct {
	Role    Role   `json:"r"`
	Addr    string `json:"a"`
	Leaving bool   `json:"l,omitempty"`
}

func (p Peer) meta() []byte {
	b, err := json.Marshal(metadata{p.Role, p.Addr, p.Leaving})
	if err != nil {
		panic("cluster: metadata of strings cannot fail to encode: " + err.Error())
	}
	return b
}

func (p Peer) compare(q Peer) int {
	return cmp.Or(cmp.Compare(p.Node.Name, q.Node.Name), cmp.Compare(p.Node.Boot, q.Node.Boot))
}

// peer reads what gossip says of a member.
func peer(n *memberlist.Node) (Peer, error) {
	p, err := readPeer(n.Name, n.Meta)
	p.Gossip = n.Address()
	return p, err
}

// maxAddr bounds an address in gossip.
const maxAddr = 512

func readPeer(name string, meta []byte) (Peer, error) {
	id, err := parseMember(name)
	if err != nil {
		return Peer{}, err
	}
	var m metadata
	if err := json.Unmarshal(meta, &m); err != nil {
		return Peer{}, fmt.Errorf("read metadata of %s: %w", name, err)
	}
	if len(m.Addr) > maxAddr || m.Role != Coordinator && m.Role != Node {
		return Peer{}, fmt.Errorf("read metadata of %s: role %.20q, address of %d bytes", name, m.Role, len(m.Addr))
	}
	return Peer{Node: id, Role: m.Role, Addr: m.Addr, Leaving: m.Leaving}, nil
}

// memberName is the name under which gossip knows an incarnation of a node.
func memberName(id view.NodeID) string { return fmt.Sprintf("%s#%016x", id.Name, id.Boot) }

func parseMember(s string) (view.NodeID, error) {
	name, hex, ok := strings.Cut(s, "#")
	boot, err := strconv.ParseUint(hex, 16, 64)
	if !ok || err != nil || len(hex) != 16 {
		return view.NodeID{}, fmt.Errorf("member %q is not name#boot", s)
	}
	return view.NodeID{Name: name, Boot: boot}, CheckName(name)
}

// delegate is Gossip as memberlist calls it: none of these may block.
type delegate Gossip

var (
	_ memberlist.Delegate      = (*delegate)(nil)
	_ memberlist.EventDelegate = (*delegate)(nil)
)

func (d *delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.self.meta()
}

func (d *delegate) NotifyMsg([]byte)                {}
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d *delegate) LocalState(bool) []byte          { return nil }
func (d *delegate) MergeRemoteState([]byte, bool)   {}

func (d *delegate) NotifyJoin(n *memberlist.Node)   { (*Gossip)(d).push(Joined, n) }
func (d *delegate) NotifyUpdate(n *memberlist.Node) { (*Gossip)(d).push(Changed, n) }
func (d *delegate) NotifyLeave(n *memberlist.Node)  { (*Gossip)(d).push(Lost, n) }

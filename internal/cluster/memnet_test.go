package cluster

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// memNet is a network in memory for memberlist: packets to a full queue are dropped, and machines can be unplugged.
type memNet struct {
	mu        sync.Mutex // guards what follows
	at        map[string]*memTransport
	unplugged map[string]bool
	keys      [][]byte     // of those who start from now on
	tapped    bytes.Buffer // all that was sent
}

func newMemNet() *memNet {
	return &memNet{at: map[string]*memTransport{}, unplugged: map[string]bool{}}
}

// plug puts the machine at addr on the net, or takes it off.
func (n *memNet) plug(addr string, in bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unplugged[addr] = !in
}

func (n *memNet) transport() *memTransport {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := &memTransport{
		net: n, addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, byte(len(n.at)+1)), Port: 7946},
		packets: make(chan *memberlist.Packet, 128), // like the buffer of a socket
		streams: make(chan net.Conn),
		closed:  make(chan struct{}),
	}
	n.at[t.addr.String()] = t
	return t
}

func (n *memNet) route(from, to string) *memTransport {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.unplugged[from] || n.unplugged[to] {
		return nil
	}
	return n.at[to]
}

func (n *memNet) tap(b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tapped.Write(b)
}

// wire is all that was sent.
func (n *memNet) wire() []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	return bytes.Clone(n.tapped.Bytes())
}

// tappedConn is a stream of which the network keeps what is written and read.
type tappedConn struct {
	net.Conn
	net *memNet
}

func (c tappedConn) Write(b []byte) (int, error) { c.net.tap(b); return c.Conn.Write(b) }

func (c tappedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.net.tap(b[:n])
	return n, err
}

type memTransport struct {
	net     *memNet
	addr    *net.TCPAddr
	packets chan *memberlist.Packet
	streams chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (t *memTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.addr.IP, t.addr.Port, nil
}

func (t *memTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	t.net.tap(b)
	to := t.net.route(t.addr.String(), addr)
	if to == nil {
		return now, nil
	}
	select {
	case to.packets <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: t.addr, Timestamp: now}:
	default:
	}
	return now, nil
}

func (t *memTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to := t.net.route(t.addr.String(), addr)
	if to == nil {
		return nil, fmt.Errorf("no route to %s", addr)
	}
	here, there := net.Pipe()
	select {
	case to.streams <- there:
		return tappedConn{here, t.net}, nil
	case <-to.closed:
		return nil, fmt.Errorf("%s refuses", addr)
	case <-time.After(timeout):
		return nil, fmt.Errorf("dial %s: timeout", addr)
	}
}

func (t *memTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *memTransport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *memTransport) Shutdown() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

package sim

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// network connects machines by their addresses. One lock guards all of it: what happens is little, and happens at once.
type network struct {
	latency time.Duration

	mu    sync.Mutex
	moved *sync.Cond // whenever anything below changes, but for bytes on a connection
	hosts map[string]*host
	cuts  map[way]bool          // no byte passes
	slow  map[way]time.Duration // bytes take longer
}

// way is from one machine to another, by IP.
type way struct{ from, to string }

func newNetwork(latency time.Duration) *network {
	n := &network{latency: latency, hosts: map[string]*host{}, cuts: map[way]bool{}, slow: map[way]time.Duration{}}
	n.moved = sync.NewCond(&n.mu)
	return n
}

// host is a process on a machine: its successor takes its place.
type host struct {
	net *network
	ip  string

	// Guarded by net.mu:
	dead    bool // the process is gone
	frozen  bool // no byte passes, in or out
	serves  *listener
	gossips *packets
	conns   map[*conn]bool
}

// plug starts a process on the machine with this address.
func (n *network) plug(ip string) *host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &host{net: n, ip: ip, conns: map[*conn]bool{}}
	n.hosts[ip] = h
	return h
}

// change changes the network and lets everyone look again.
func (n *network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	n.moved.Broadcast()
	for _, h := range n.hosts {
		for c := range h.conns {
			c.news.Broadcast()
		}
	}
}

// kill ends the process as a kernel does: its connections are reset, its ports closed.
func (h *host) kill() {
	h.net.change(func() {
		h.dead = true
		for c := range h.conns {
			c.reset()
		}
	})
}

// freeze lets no byte pass, until it is called again with false.
func (h *host) freeze(yes bool) { h.net.change(func() { h.frozen = yes }) }

// blocked says whether bytes from one process do not reach the other now. The caller holds mu.
func (n *network) blocked(from, to *host) bool {
	return from.frozen || to.frozen || n.cuts[way{from.ip, to.ip}]
}

// delay is how long bytes take. The caller holds mu.
func (n *network) delay(from, to *host) time.Duration {
	return n.latency + n.slow[way{from.ip, to.ip}]
}

// wait waits for news, or until a time if there is one. The caller holds mu.
func (n *network) wait(news *sync.Cond, until time.Time) {
	if !until.IsZero() {
		t := time.AfterFunc(time.Until(until), func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			news.Broadcast()
		})
		defer t.Stop()
	}
	news.Wait()
}

// port is the same on every machine.
const port = 7000

// listen opens the machine's port.
func (h *host) listen() *listener {
	l := &listener{host: h}
	h.net.change(func() { h.serves = l })
	return l
}

// addr is where the process serves.
func (h *host) addr() string { return fmt.Sprintf("%s:%d", h.ip, port) }

type listener struct {
	host   *host
	queue  []*conn
	closed bool
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(l.host.ip), Port: port} }

func (l *listener) Accept() (net.Conn, error) {
	n := l.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(l.queue) == 0 {
		if l.closed {
			return nil, net.ErrClosed
		}
		n.moved.Wait()
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	return c, nil
}

func (l *listener) Close() error {
	l.host.net.change(func() {
		l.closed = true
		for _, c := range l.queue {
			c.reset()
		}
		l.queue = nil
	})
	return nil
}

// Kinds of connections.
const (
	ringLink = "ring"
	call     = "call"
	chatter  = "gossip"
)

// dial connects to addr. Nobody answers for a machine that cannot be reached; one without the process refuses.
func (h *host) dial(ctx context.Context, kind, addr string) (*conn, error) {
	ip, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n := h.net
	defer context.AfterFunc(ctx, func() { n.change(func() {}) })()
	n.mu.Lock()
	defer n.mu.Unlock()
	arrives := time.Now().Add(n.latency)
	for {
		to := n.hosts[ip]
		switch now := time.Now(); {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case h.dead:
			return nil, syscall.ENETDOWN
		case to != nil && (n.blocked(h, to) || n.blocked(to, h)):
			n.wait(n.moved, time.Time{})
		case now.Before(arrives):
			n.wait(n.moved, arrives)
		case to == nil || to.dead || kind != chatter && (to.serves == nil || to.serves.closed) || kind == chatter && to.gossips == nil:
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		default:
			here, there := n.pair(h, to, kind)
			if kind == chatter {
				to.gossips.streams = append(to.gossips.streams, there)
			} else {
				to.serves.queue = append(to.serves.queue, there)
			}
			n.moved.Broadcast()
			return here, nil
		}
	}
}

// conn is one end of a connection.
type conn struct {
	net      *network
	host     *host
	peer     *conn
	kind     string
	news     *sync.Cond
	deadline time.Time // for reads
	writeBy  time.Time

	in      []segment // on their way to this end or waiting to be read
	held    int       // bytes in in
	closed  bool      // this end
	ended   bool      // the other end was closed: nothing comes after in
	broken  bool      // reset
	corrupt int       // one of the next bytes written changes: how many pass before
}

// segment are bytes that were written at once.
type segment struct {
	data []byte
	at   time.Time // when they arrive
}

func (n *network) pair(a, b *host, kind string) (*conn, *conn) {
	x := &conn{net: n, host: a, kind: kind, corrupt: -1, news: sync.NewCond(&n.mu)}
	y := &conn{net: n, host: b, kind: kind, corrupt: -1, news: sync.NewCond(&n.mu)}
	x.peer, y.peer = y, x
	a.conns[x], b.conns[y] = true, true
	return x, y
}

// reset breaks both ends. The caller holds mu.
func (c *conn) reset() {
	for _, e := range []*conn{c, c.peer} {
		e.broken, e.in, e.held = true, nil, 0
		delete(e.host.conns, e)
		e.news.Broadcast()
	}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		var until time.Time
		now := time.Now()
		blocked := n.blocked(c.peer.host, c.host)
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.broken && !blocked:
			return 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
		case !c.deadline.IsZero() && !now.Before(c.deadline):
			return 0, os.ErrDeadlineExceeded
		case blocked:
		case len(c.in) > 0 && !now.Before(c.in[0].at):
			k := copy(b, c.in[0].data)
			c.held -= k
			if c.in[0].data = c.in[0].data[k:]; len(c.in[0].data) == 0 {
				c.in = c.in[1:]
			}
			if c.held <= window && c.held+k > window {
				c.peer.news.Broadcast()
			}
			return k, nil
		case len(c.in) > 0:
			until = c.in[0].at
		case c.ended:
			return 0, io.EOF
		}
		if !c.deadline.IsZero() && (until.IsZero() || c.deadline.Before(until)) {
			until = c.deadline
		}
		n.wait(c.news, until)
	}
}

// window is how much may be on its way.
const window = 1 << 20

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.broken && !n.blocked(c.peer.host, c.host):
			return 0, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
		case !c.writeBy.IsZero() && !now.Before(c.writeBy):
			return 0, os.ErrDeadlineExceeded
		case c.broken || c.peer.closed:
			return len(b), nil // into the void
		case c.peer.held > window:
			n.wait(c.news, c.writeBy)
			continue
		}
		data := append([]byte(nil), b...)
		if c.corrupt >= 0 {
			if c.corrupt < len(data) {
				data[c.corrupt] ^= 1 << (c.corrupt % 8)
				c.corrupt = -1
			} else {
				c.corrupt -= len(data)
			}
		}
		c.peer.in = append(c.peer.in, segment{data, now.Add(n.delay(c.host, c.peer.host))})
		c.peer.held += len(data)
		c.peer.news.Broadcast()
		return len(b), nil
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.tell(func() {
		if !c.closed {
			c.closed, c.peer.ended = true, true
			delete(c.host.conns, c)
		}
	})
	return nil
}

// tell changes a connection and lets both ends look again.
func (c *conn) tell(f func()) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	f()
	c.news.Broadcast()
	c.peer.news.Broadcast()
}

func (c *conn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(c.host.ip), Port: port} }
func (c *conn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(c.peer.host.ip), Port: port}
}

func (c *conn) SetDeadline(t time.Time) error {
	c.tell(func() { c.deadline, c.writeBy = t, t })
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.tell(func() { c.deadline = t })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.tell(func() { c.writeBy = t })
	return nil
}

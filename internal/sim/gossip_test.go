package sim

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// gossipPort is beside the port.
const gossipPort = port + 1

// packets are what memberlist needs of a machine: packets that may be lost, and connections.
type packets struct {
	host    *host
	in      chan *memberlist.Packet
	accepts chan net.Conn
	over    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup

	streams []*conn // guarded by host.net.mu
}

// gossip opens the machine's gossip.
func (h *host) gossip() *packets {
	p := &packets{host: h, in: make(chan *memberlist.Packet, 128), accepts: make(chan net.Conn), over: make(chan struct{})}
	h.net.change(func() { h.gossips = p })
	p.wg.Go(p.accept)
	return p
}

// accept hands connections over as they come.
func (p *packets) accept() {
	n := p.host.net
	for {
		n.mu.Lock()
		for len(p.streams) == 0 && p.open() {
			n.moved.Wait()
		}
		if !p.open() {
			n.mu.Unlock()
			return
		}
		c := p.streams[0]
		p.streams = p.streams[1:]
		n.mu.Unlock()
		select {
		case p.accepts <- c:
		case <-p.over:
			_ = c.Close()
		}
	}
}

func (p *packets) open() bool {
	select {
	case <-p.over:
		return false
	default:
		return true
	}
}

func (p *packets) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.ParseIP(p.host.ip), gossipPort, nil
}

func (p *packets) WriteTo(b []byte, addr string) (time.Time, error) {
	n, now := p.host.net, time.Now()
	ip, _, err := net.SplitHostPort(addr)
	if err != nil {
		return now, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	to := n.hosts[ip]
	if p.host.dead || to == nil || to.dead || to.gossips == nil || n.blocked(p.host, to) {
		return now, nil
	}
	select {
	case to.gossips.in <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: &net.UDPAddr{IP: net.ParseIP(p.host.ip), Port: gossipPort}, Timestamp: now}:
	default:
	}
	return now, nil
}

func (p *packets) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := p.host.dial(ctx, chatter, addr)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (p *packets) PacketCh() <-chan *memberlist.Packet { return p.in }
func (p *packets) StreamCh() <-chan net.Conn           { return p.accepts }

func (p *packets) Shutdown() error {
	p.once.Do(func() {
		p.host.net.change(func() { close(p.over) })
		p.wg.Wait()
	})
	return nil
}

package allreduce

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// maxBlob bounds what one member may contribute to Gather.
const maxBlob = 1 << 30

// gathering is one Gather in progress: blobs go round the ring, each n−1 hops, cut into frames. At hop h the member at
// position p sends the blob of position p−h and receives that of p−1−h. An empty blob is one empty frame.
type gathering struct {
	*call
	head  header
	blobs [][]byte // by rank

	prev, next *peer
	out        *outbox
	sent       atomic.Bool
	received   atomic.Bool
}

func (g *gathering) round() error {
	if n := len(g.blobs[g.id.Rank]); n > maxBlob {
		return fmt.Errorf("%d bytes are more than %d", n, maxBlob)
	}
	if g.id.Members == 1 {
		return nil
	}
	if err := g.link(g.Ring.prev(), g.Ring.next()); err != nil {
		return err
	}
	g.prev, g.next = g.peer(g.Ring.prev()), g.peer(g.Ring.next())
	g.out = newOutbox()
	defer g.out.drain()
	g.watch(g.silent)
	g.run(g.send)
	g.run(g.receive)
	return g.wait()
}

func (g *gathering) silent(now, since time.Time) error {
	if !g.received.Load() {
		if err := g.prev.silent(now, since); err != nil {
			return err
		}
	}
	if !g.sent.Load() {
		return g.next.silent(now, since)
	}
	return nil
}

// rankAt is the rank whose blob the member at position pos sends at hop.
func (g *gathering) rankAt(pos, hop int) int { return g.id.Order[mod(pos-hop, g.id.Members)] }

func (g *gathering) send() error {
	for offset := 0; ; {
		f := g.frame(job{offset: offset})
		n := f.Len() - headerBytes
		if err := g.next.send(g.soft, g.hard, f); err != nil {
			return err
		}
		if offset += n; offset == len(g.blobs[g.id.Rank]) {
			break
		}
	}
	// What is left are the blobs of all but this member and the next.
	for left := g.id.Members - 2; left > 0; {
		j, ok := g.out.pop()
		if !ok {
			select {
			case <-g.out.wake:
			case <-g.next.ended:
				return g.next.reason()
			case <-g.soft.Done():
				return context.Cause(g.soft)
			}
			continue
		}
		f := g.frame(j)
		if j.offset+f.Len()-headerBytes == len(g.blobs[g.rankAt(g.pos, j.hop)]) {
			left--
		}
		if err := g.next.send(g.soft, g.hard, f); err != nil {
			return err
		}
	}
	g.sent.Store(true)
	return nil
}

func (g *gathering) frame(j job) Frame {
	if j.ready {
		return j.frame
	}
	blob := g.blobs[g.rankAt(g.pos, j.hop)]
	part := blob[j.offset:min(len(blob), j.offset+g.cfg.FrameBytes)]
	h := g.head
	h.kind, h.hop, h.offset, h.count, h.total = kindBlob, uint32(j.hop), uint64(j.offset), uint32(len(part)), uint64(len(blob))
	f := g.pool.get(len(part))
	copy(f.payload(), part)
	f.finish(&h)
	return f
}

func (g *gathering) receive() error {
	for hop := range g.id.Members - 1 {
		rank := g.rankAt(g.pos-1, hop)
		for offset, total := 0, -1; offset != total; {
			m, err := g.prev.recv(g.soft)
			if err != nil {
				return err
			}
			if err := g.check(&m, hop, offset, total); err != nil {
				m.frame.Free()
				return err
			}
			if total < 0 {
				total = int(m.total)
				g.blobs[rank] = make([]byte, total)
			}
			m.frame.copyTo(g.blobs[rank][offset:])
			offset += int(m.count)
			g.handOn(m)
		}
	}
	g.received.Store(true)
	return nil
}

// handOn queues a received frame for the next member, or frees it when its way ends here.
func (g *gathering) handOn(m message) {
	j := job{kind: kindBlob, hop: int(m.hop) + 1, offset: int(m.offset)}
	if j.hop == g.id.Members-1 {
		m.frame.Free()
		return
	}
	if g.out.holds() {
		m.header.hop, m.header.from = uint32(j.hop), g.head.from
		m.header.put(m.frame.head)
		j.ready, j.frame = true, m.frame
	} else {
		m.frame.Free()
	}
	g.out.push(j)
}

func (g *gathering) check(m *message, hop, offset, total int) error {
	if err := m.sameSum(&g.head); err != nil {
		return err
	}
	switch {
	case m.kind != kindBlob, int64(m.hop) != int64(hop), m.segment != 0, m.side != 0, m.packed, m.count != m.length,
		m.offset != uint64(offset), total >= 0 && m.total != uint64(total), m.total > maxBlob,
		m.offset+uint64(m.count) > m.total, m.count == 0 && m.total != 0:
		return &PeerError{g.prev.rank, fmt.Errorf("unexpected frame: kind %d hop %d with %d bytes at %d of %d", m.kind, m.hop, m.count, m.offset, m.total)}
	}
	return nil
}

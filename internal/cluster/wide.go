package cluster

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
)

// wide is a connection below TLS. TLS reads and writes records of 16 KiB one by one; here several go with one call to the
// system.
type wide struct {
	net.Conn
	in *bufio.Reader

	mu     sync.Mutex // guards what follows
	corked bool
	out    []byte // records that wait for uncork
}

// wideBytes is how much is read at once.
const wideBytes = 64 << 10

func widen(c net.Conn) *wide { return &wide{Conn: c, in: bufio.NewReaderSize(c, wideBytes)} }

func (w *wide) Read(p []byte) (int, error) { return w.in.Read(p) }

func (w *wide) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.corked {
		w.out = append(w.out, p...)
		return len(p), nil
	}
	return w.Conn.Write(p)
}

// through writes p by TLS and sends all of its records at once.
func (w *wide) through(c *tls.Conn, p []byte) (int, error) {
	w.mu.Lock()
	w.corked = true
	w.mu.Unlock()
	n, err := c.Write(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.corked = false
	if len(w.out) > 0 {
		_, sent := w.Conn.Write(w.out)
		w.out = w.out[:0]
		if err == nil {
			err = sent
		}
	}
	return n, err
}

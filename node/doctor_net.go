package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/torctrain/torc/internal/cluster"
)

const dialLimit = 3 * time.Second

// port tries the address that the node will listen on.
func port(listen string) check {
	addr := listen
	if addr == "" {
		addr = "0.0.0.0:0"
	}
	l, self, err := cluster.Listen(addr, "", 0)
	if err != nil {
		return check{Name: "port", State: bad, Found: fmt.Sprintf("listen on %s: %v", addr, err), Advice: "choose another address of this machine with --listen HOST:PORT"}
	}
	defer l.Close()
	if _, p, _ := net.SplitHostPort(addr); p == "0" || listen == "" {
		return check{Name: "port", State: good, Found: "any free one; where a firewall stands between the machines, fix it with --listen 0.0.0.0:7171 and open it"}
	}
	return check{Name: "port", State: good, Found: self + " is free"}
}

// coordinatorAt asks whether somebody answers at addr, what packets fit on the way, and whether the clocks agree.
func coordinatorAt(ctx context.Context, addr string, now func() time.Time) []check {
	conn, c := reach(ctx, "coordinator", addr, "start it with `coordinator serve --listen 0.0.0.0`")
	if conn == nil {
		return []check{c}
	}
	defer conn.Close()
	checks := []check{c, packets(conn, addr)}
	// Any certificate will do here: its dates are looked at, nothing is said to its owner. node join checks whose it is.
	secured := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	if err := secured.HandshakeContext(ctx); err != nil && len(secured.ConnectionState().PeerCertificates) == 0 {
		return append(checks, check{
			Name: "clocks", State: so, Found: fmt.Sprintf("%s shows no certificate (%v)", addr, err),
			Advice: "is it a torc coordinator? If so, it was started with --insecure, and anybody may use it",
		})
	}
	leaf := secured.ConnectionState().PeerCertificates[0]
	return append(checks, judgeSkew(now(), leaf.NotBefore, leaf.NotAfter))
}

// peerAt asks whether a peer's port can be reached, what packets fit, and, if the link can be measured there, how fast it is.
func peerAt(ctx context.Context, addr string) []check {
	conn, c := reach(ctx, "peer", addr, "is the node running?")
	if conn == nil {
		return []check{c}
	}
	checks := []check{c, packets(conn, addr)}
	err := conn.Close()
	l, measured := measureLink(ctx, addr, linkTrial)
	if err = errors.Join(err, measured); errors.Is(err, errNoBench) {
		return append(checks, check{Name: "link", State: unknown, Found: "run `node bench link --listen :7199` on " + hostOf(addr) + " and give --peer " + hostOf(addr) + ":7199 to measure it"})
	} else if err != nil {
		return append(checks, check{Name: "link", State: bad, Found: fmt.Sprintf("%s: %v", addr, err), Advice: "the connection breaks under load: look at the errors of the interface (ip -s link) and at firewalls"})
	}
	return append(checks, judgeLink(addr, l.There, l.Back, l.RoundTrip))
}

// reach connects to addr, or says which port of which host cannot be reached and why.
func reach(ctx context.Context, name, addr, start string) (*net.TCPConn, check) {
	began := time.Now()
	conn, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", addr)
	if err == nil {
		return conn.(*net.TCPConn), check{Name: name, State: good, Found: fmt.Sprintf("%s answers after %v", addr, time.Since(began).Round(10*time.Microsecond))}
	}
	return nil, unreached(name, addr, start, err)
}

// unreached tells apart the ways in which a connection fails, because each has its own remedy.
func unreached(name, addr, start string, err error) check {
	host, p, _ := net.SplitHostPort(addr)
	c := check{Name: name, State: bad, Found: fmt.Sprintf("port %s of %s cannot be reached: %v", p, host, err)}
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		c.Advice = fmt.Sprintf("no name server knows %s: use its IP address, or add it to /etc/hosts", host)
	case errors.Is(err, syscall.ECONNREFUSED):
		c.Advice = "the machine answers, but nobody listens there: " + start
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		c.Advice = fmt.Sprintf("no answer at all: a firewall drops packets to TCP port %s of %s, or the address is wrong; open that port from this machine", p, host)
	case errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH):
		c.Advice = fmt.Sprintf("this machine has no way to %s: look at its routes (ip route get %s)", host, host)
	default:
		c.Advice = start
	}
	return c
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// packets looks at the sizes of packets on the way to addr.
func packets(conn *net.TCPConn, addr string) check {
	local, ok := conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return judgeMTU(addr, "", 0, 0)
	}
	name, mtu := nicOf(local.IP)
	return judgeMTU(addr, name, mtu, segmentBytes(conn))
}

// nicOf is the interface that has an address, and the size of its packets.
func nicOf(ip net.IP) (string, int) {
	nics, err := net.Interfaces()
	if err != nil {
		return "", 0
	}
	for _, n := range nics {
		addrs, err := n.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if have, ok := a.(*net.IPNet); ok && have.IP.Equal(ip) {
				return n.Name, n.MTU
			}
		}
	}
	return "", 0
}

func hostOf(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	return host
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
)

// Port is where a coordinator listens unless told otherwise.
const Port = 7170

// loopback is where a process listens that names no address.
const loopback = "127.0.0.1"

// Listen opens a TCP port and says under which host:port others reach it.
//
// listen and advertise are host, host:port or empty; a missing port is the given one, and 0 is any free port. With both
// empty the port is open to this machine only. With a host to advertise and none to listen on it is open to all
// interfaces. Without a host to advertise it is the one listened on, or, when that is every interface, the first private
// address of this machine, else its first public one.
func Listen(listen, advertise string, port int) (net.Listener, string, error) {
	host, p, err := split(listen, port)
	if err != nil {
		return nil, "", err
	}
	if host == "" && listen == "" && advertise == "" {
		host = loopback
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
	if err != nil {
		return nil, "", explain(err)
	}
	addr, err := advertised(l.Addr().(*net.TCPAddr), advertise)
	if err != nil {
		return nil, "", errors.Join(err, l.Close())
	}
	return l, addr, nil
}

// Reaches says whether somebody at the address from can reach addr, as far as the two addresses tell: an address of this
// machine alone, or of every interface, means nothing to another machine.
func Reaches(from net.Addr, addr string) bool {
	tcp, ok := from.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	return !loops(host) && !net.ParseIP(host).IsUnspecified()
}

// Local says whether addr, host:port, means this machine to every machine, so that no other can reach it there.
func Local(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && loops(host)
}

func loops(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }

// WithPort is addr, host or host:port, with the port of a coordinator where it names none.
func WithPort(addr string) (string, error) {
	host, port, err := split(addr, Port)
	if err != nil {
		return "", err
	}
	if host == "" {
		return "", fmt.Errorf("read address %q: name a host", addr)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// split cuts host[:port], with a default for the port.
func split(addr string, port int) (string, int, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil { // no port, or an IPv6 address without brackets
		if ip := net.ParseIP(addr); ip != nil || isName(addr) {
			return addr, port, nil
		}
		return "", 0, fmt.Errorf("read address %q: use host or host:port", addr)
	}
	p, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("read address %q: port %q is not a number from 0 to 65535", addr, text)
	}
	return host, int(p), nil
}

// isName says whether s can be the name of a host.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return true
}

func advertised(at *net.TCPAddr, advertise string) (string, error) {
	host, port, err := split(advertise, at.Port)
	if err != nil {
		return "", err
	}
	if host == "" && !at.IP.IsUnspecified() {
		host = at.IP.String()
	}
	if host == "" {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return "", fmt.Errorf("find an address of this machine: %w", err)
		}
		if host = outward(addrs); host == "" {
			return "", errors.New("this machine has no address that others could reach: name one with --advertise")
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// outward picks the address that other machines most likely reach: private before public, IPv4 before IPv6.
func outward(addrs []net.Addr) string {
	best, rank := "", 0
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || !n.IP.IsGlobalUnicast() {
			continue
		}
		r := 1
		if n.IP.To4() != nil {
			r += 2
		}
		if n.IP.IsPrivate() {
			r++
		}
		if r > rank {
			best, rank = n.IP.String(), r
		}
	}
	return best
}

// explain says what to do about a port that cannot be opened.
func explain(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: another process listens there; stop it, or choose another port with --listen", err)
	}
	return err
}

// probeTimeout is how long Refuses waits for an answer.
const probeTimeout = 300 * time.Millisecond

// Refuses says whether it is certain that nobody listens at addr any more: its machine says so.
func Refuses(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// Processes of one machine reach each other by unix sockets with abstract names. The kernel says which user is at the
// other end, so that those of the same user need neither certificate nor encryption between them. The name is the same as
// in package allreduce, whose links look for it.
const (
	localPrefix = "torc/"
	localScheme = "unix-abstract:"
)

// ListenLocal returns a listener for processes of this machine that know this one by addr. It fails where there are no
// such sockets.
func ListenLocal(addr string) (net.Listener, error) {
	return net.Listen("unix", "@"+localPrefix+addr)
}

// ListenLocals returns those listeners for addr and for the loopback address, by which people call what listens on all
// interfaces, as far as they are to be had.
func ListenLocals(addr string, l net.Listener) []net.Listener {
	names := []string{addr}
	if at, ok := l.Addr().(*net.TCPAddr); ok && (at.IP.IsUnspecified() || at.IP.IsLoopback()) {
		names = append(names, fmt.Sprintf("%s:%d", loopback, at.Port), fmt.Sprintf("localhost:%d", at.Port))
	}
	var all []net.Listener
	for i, name := range names {
		if i > 0 && name == addr {
			continue
		}
		if l, err := ListenLocal(name); err == nil {
			all = append(all, l)
		}
	}
	return all
}

// LocalTarget is what to Dial in order to reach the process at addr by its unix socket, or nothing if there is none that
// belongs to this user or root.
func LocalTarget(ctx context.Context, addr string) string {
	c, err := new(net.Dialer).DialContext(ctx, "unix", "@"+localPrefix+addr)
	if err != nil {
		return ""
	}
	defer c.Close()
	if ours(c) != nil {
		return ""
	}
	return localScheme + localPrefix + addr
}

// IsLocal says whether a target is a unix socket, and of which address.
func IsLocal(target string) (addr string, ok bool) {
	return strings.CutPrefix(target, localScheme+localPrefix)
}

// ours is nil if the process at the other end of a unix socket belongs to this user or root.
func ours(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("not a unix socket")
	}
	uid, err := peerUser(u)
	if err != nil {
		return fmt.Errorf("ask who is at the other end: %w", err)
	}
	if own := os.Geteuid(); uid != own && uid != 0 {
		return fmt.Errorf("it belongs to user %d, this process to %d", uid, own)
	}
	return nil
}

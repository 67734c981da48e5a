package allreduce

import (
	"context"
	"net"
)

// Members on one machine talk over a unix socket: their bytes do not pass the TCP stack, which costs as much as all the
// rest of a sum. The socket has an abstract name, so it leaves nothing behind and exists only where the network
// namespace is the same. Where there is none, links use the member's address.

// ListenLocal returns a listener for members on this machine. advertised is the address by which the view knows this
// member; the gRPC server that serves it must serve the listener as well. It fails where there are no such sockets.
func ListenLocal(advertised string) (net.Listener, error) {
	return net.Listen("unix", "@"+localName(advertised))
}

func localName(advertised string) string { return "torc/" + advertised }

// target is what to dial to reach a member: its address, or its local socket if it has one here.
func target(ctx context.Context, addr string) string {
	c, err := new(net.Dialer).DialContext(ctx, "unix", "@"+localName(addr))
	if err != nil {
		return addr
	}
	_ = c.Close()
	return "unix-abstract:" + localName(addr)
}

//go:build !linux

package cluster

import (
	"errors"
	"net"
)

// peerUser is not known on this system: nobody is trusted by it.
func peerUser(*net.UnixConn) (int, error) {
	return 0, errors.New("this system does not tell")
}

package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sniffer hears every packet on a network and looks for texts in what they carry.
type sniffer struct {
	needles [][]byte
	stop    func()

	// What follows belongs to the reader until stop has returned.
	found   map[string]int // by protocol and needle: "udp ada"
	payload int            // bytes
	tails   map[string][]byte
	err     error
}

// sniff listens on the switch until stop is called, or the test ends.
func (n *network) sniff(needles ...string) *sniffer {
	n.t.Helper()
	s := &sniffer{found: map[string]int{}, tails: map[string][]byte{}}
	for _, needle := range needles {
		s.needles = append(s.needles, []byte(needle))
	}
	fd, ports, err := n.tap()
	if err != nil {
		n.t.Skipf("the wire cannot be listened to: %v", err)
	}
	var done sync.WaitGroup
	ended := make(chan struct{})
	done.Go(func() { s.err = s.read(fd, ports, ended) })
	s.stop = sync.OnceFunc(func() {
		close(ended)
		done.Wait()
		_ = unix.Close(fd)
	})
	n.t.Cleanup(s.stop)
	return s
}

// tap opens a socket that gets all packets of the switch, and says which interfaces are its ports.
func (n *network) tap() (fd int, ports map[int]bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // this thread changes its network, and ends with the goroutine, which does not unlock it
		var ns int
		if ns, err = unix.Open(fmt.Sprintf("/proc/%d/ns/net", n.lan.held), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(ns)
		if err = unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			return
		}
		var nics []net.Interface
		if nics, err = net.Interfaces(); err != nil {
			return
		}
		ports = map[int]bool{}
		for _, i := range nics {
			ports[i.Index] = n.hosts[i.Name] != nil
		}
		all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8 // in network order
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) // what gets lost is not looked at, no more
		tick := unix.NsecToTimeval(int64(20 * time.Millisecond))
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tick)
	}()
	<-done
	return fd, ports, err
}

// read looks at each packet once, where it enters the switch.
func (s *sniffer) read(fd int, ports map[int]bool, ended <-chan struct{}) error {
	buf := make([]byte, 1<<17) // the kernel hands on up to 64 KiB at once
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			select {
			case <-ended:
				return nil
			default:
			}
		case err != nil:
			return err
		default:
			if at, ok := from.(*unix.SockaddrLinklayer); ok && ports[at.Ifindex] && at.Pkttype != unix.PACKET_OUTGOING {
				s.packet(buf[:n])
			}
		}
	}
}

// packet looks into an Ethernet frame.
func (s *sniffer) packet(p []byte) {
	const ethernet = 14
	if len(p) < ethernet+20 || binary.BigEndian.Uint16(p[12:]) != unix.ETH_P_IP {
		return
	}
	ip := p[ethernet:]
	if total := int(binary.BigEndian.Uint16(ip[2:])); total > 0 && total <= len(ip) {
		ip = ip[:total] // without padding
	}
	head := int(ip[0]&15) * 4
	if len(ip) < head+20 {
		return
	}
	carried := ip[head:]
	flow := string(ip[9:10]) + string(ip[12:20]) + string(carried[:4]) // protocol, addresses, ports
	switch ip[9] {
	case unix.IPPROTO_TCP:
		if off := int(carried[12]>>4) * 4; off <= len(carried) {
			s.look("tcp", flow, carried[off:])
		}
	case unix.IPPROTO_UDP:
		s.look("udp", "", carried[8:])
	}
}

// look searches the next bytes of a flow; one that is named is searched across its packets too.
func (s *sniffer) look(protocol, flow string, b []byte) {
	if len(b) == 0 {
		return
	}
	s.payload += len(b)
	text := append(s.tails[flow], b...)
	longest := 1
	for _, needle := range s.needles {
		if c := bytes.Count(text, needle); c > 0 {
			s.found[protocol+" "+string(needle)] += c
		}
		longest = max(longest, len(needle))
	}
	if flow != "" {
		s.tails[flow] = append(s.tails[flow][:0], text[max(0, len(text)-longest+1):]...)
	}
}

func TestSnifferFindsTextsAcrossPackets(t *testing.T) {
	frame := func(protocol byte, text string) []byte {
		p := make([]byte, 14+20+20)
		p[12], p[14], p[14+9], p[14+20+12] = 8, 5|4<<4, protocol, 5<<4
		if protocol == unix.IPPROTO_UDP {
			p = p[:14+20+8]
		}
		return append(p, text...)
	}
	s := &sniffer{found: map[string]int{}, tails: map[string][]byte{}, needles: [][]byte{[]byte("needle")}}
	for _, p := range [][]byte{frame(unix.IPPROTO_TCP, "a nee"), frame(unix.IPPROTO_TCP, "dle in packets"), frame(unix.IPPROTO_UDP, "needle needle xx"), {1, 2}} {
		s.packet(p)
	}
	if s.found["tcp needle"] != 1 || s.found["udp needle"] != 2 || s.payload != 35 {
		t.Errorf("found %v in %d bytes", s.found, s.payload)
	}
}

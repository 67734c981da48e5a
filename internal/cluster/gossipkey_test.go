package cluster

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func TestGossipIsReadableWithItsKeyAlone(t *testing.T) {
	for _, c := range []struct {
		keys     [][]byte
		readable bool
	}{{nil, true}, {[][]byte{key(1)}, false}} {
		synctest.Test(t, func(t *testing.T) {
			net := newMemNet()
			net.keys = c.keys
			all := crew(t, net, 3)
			for _, m := range all {
				if got := bytes.Contains(net.wire(), []byte(memberName(m.self.Node))) || bytes.Contains(net.wire(), []byte(m.self.Addr)); got != c.readable {
					t.Errorf("with %d keys, member %s is readable on the wire: %v", len(c.keys), m.self.Node.Name, got)
				}
			}
			end(t, all...)
		})
	}
}

func TestGossipHearsNobodyWithoutItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemNet()
		net.keys = [][]byte{key(1)}
		all := crew(t, net, 2)
		for _, keys := range [][][]byte{nil, {key(2)}} { // nothing, and a revoked node's old key
			net.keys = keys
			g, err := OpenGossip(GossipConfig{
				Cluster: "test", Self: Peer{Node: all[0].self.Node, Role: Node, Addr: "m:1"}, // under another's name, too
				Keys: keys, Log: all[0].conf.Log, Transport: net.transport(),
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Join(t.Context(), []string{all[0].Addr()}); err == nil {
				t.Errorf("who has %d other keys joins", len(keys))
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for _, m := range all {
			if heard := m.told(); len(heard) != 0 || len(m.Peers()) != 1 {
				t.Errorf("%s heard %q of a stranger", m.self.Node.Name, heard)
			}
		}
		end(t, all...)
	})
}

// The phases of a rotation, reaching members at different times, lose nobody.
func TestGossipKeyRotatesWithoutLosingAnybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newMemNet()
		net.keys = [][]byte{key(1)}
		all := crew(t, net, 4)
		for _, phase := range [][][]byte{{key(1), key(2)}, {key(2), key(1)}, {key(2)}} {
			for _, m := range all {
				if err := m.SetKeys(phase); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Second)
			}
		}
		synctest.Wait()
		for _, m := range all {
			if heard := m.told(); len(heard) != 0 || len(m.Peers()) != 3 {
				t.Errorf("%s heard %q and knows %q", m.self.Node.Name, heard, m.names())
			}
			if keys := m.keys.GetKeys(); len(keys) != 1 || !bytes.Equal(keys[0], key(2)) {
				t.Errorf("%s has %d keys", m.self.Node.Name, len(keys))
			}
		}
		end(t, all...)
	})
}

// What gossip says of a peer is read by nobody but who has the key, and may still be anything.
func FuzzReadPeer(f *testing.F) {
	f.Add("ada#0000000000000001", []byte(`{"r":"node","a":"10.0.0.1:7000"}`))
	f.Fuzz(func(t *testing.T, name string, meta []byte) {
		p, err := readPeer(name, meta)
		if err != nil {
			return
		}
		if CheckName(p.Node.Name) != nil || len(p.Addr) > maxAddr || p.Role != Coordinator && p.Role != Node {
			t.Errorf("%q and %q make %+v", name, meta, p)
		}
	})
}

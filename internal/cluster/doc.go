// Package cluster is the one place where torc meets a network: it opens ports, dials and serves gRPC, and gossips.
//
//	Listen ─→ (listener, address that others use)      Dial ─→ *grpc.ClientConn      NewServer, Serve ─→ *grpc.Server
//	Secure(wallet) ─→ options of Dial    Guard(wallet, rules) ─→ options of NewServer    CallerOf ─→ who calls
//	Gossip: who is alive, by memberlist  ─→ Events: joined, changed, left, lost
//
// With a wallet (internal/trust) connections are TLS 1.3 with certificates on both sides, or unix sockets between processes
// of one user. A server lets everybody finish the handshake and decides call by call, before it reads a message, so that
// whoever is refused learns why; whoever has proven nothing may send little and not for long. Without one, nothing is
// checked and nothing encrypted.
//
// Gossip is a suggestion: it finds a dead machine within one to three seconds without anybody waiting for a timeout, and
// it may be wrong. What follows from it is decided elsewhere. With keys it is readable and writable by their holders only.
//
// A node that names no address to listen on and none to advertise is reached from its own machine only.
//
// Start reading at listen.go and dial.go, then secure.go, guard.go and gossip.go.
package cluster

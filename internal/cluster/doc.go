// Package cluster is the one place where torc meets a network: it opens ports, dials and serves gRPC, and gossips.
//
//	Listen ─→ (listener, address that others use)      Dial ─→ *grpc.ClientConn      NewServer, Serve ─→ *grpc.Server
//	Gossip: who is alive, by memberlist  ─→ Events: joined, changed, left, lost
//
// Gossip is a suggestion: it finds a dead machine within one to three seconds without anybody waiting for a timeout, and
// it may be wrong. What follows from it is decided elsewhere. Connections carry no trust yet; certificates and the gossip
// key belong here, so that nobody else has to change when they come.
//
// A node that names no address to listen on and none to advertise is reached from its own machine only.
//
// Start reading at listen.go, then dial.go and gossip.go.
package cluster

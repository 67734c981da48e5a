package main

import (
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/trust"
)

// linkMethod is the stream of package allreduce.
const linkMethod = "/torc.v1.Ring/Link"

// roles says who may call what on a node. Every method of its services stands here (a test asks for it); one that does not
// is refused.
func roles() cluster.Rules {
	members := []trust.Role{trust.Node, trust.Coordinator}
	return cluster.Rules{
		linkMethod: {trust.Node},

		"/torc.v1.Peer/State":    members,
		"/torc.v1.Peer/Copy":     members,
		"/torc.v1.Peer/Records":  members,
		"/torc.v1.Peer/Fetch":    members,
		"/torc.v1.Peer/Describe": {trust.Coordinator},
		"/torc.v1.Peer/Join":     members,

		"/torc.v1.Pieces/Read": members,
		"/torc.v1.Pieces/Keep": {trust.Coordinator},

		"/torc.v1.Trust/Find": cluster.Everyone(),

		"/grpc.health.v1.Health/Check": cluster.Everyone(),
	}
}

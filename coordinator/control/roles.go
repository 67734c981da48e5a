package control

import (
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/trust"
)

// roles says who may call what on a coordinator. Every method of its services stands here (a test asks for it); one that
// does not is refused. A node's key opens only what a node does: attend, and read files by their hash.
func roles() cluster.Rules {
	all := cluster.Everyone()
	node := []trust.Role{trust.Node}
	view := []trust.Role{trust.Viewer, trust.Operator}
	operate := []trust.Role{trust.Operator}
	return cluster.Rules{
		"/torc.v1.Control/Join":   node,
		"/torc.v1.Control/Attend": node,
		"/torc.v1.Control/Fetch":  {trust.Node, trust.Operator},

		"/torc.v1.Control/Runs":    view,
		"/torc.v1.Control/Status":  view,
		"/torc.v1.Control/Follow":  view,
		"/torc.v1.Control/Logs":    view,
		"/torc.v1.Control/History": view,
		"/torc.v1.Control/Audit":   view,

		"/torc.v1.Control/Launch": operate,
		"/torc.v1.Control/Offer":  operate,
		"/torc.v1.Control/Stop":   operate,
		"/torc.v1.Control/Drain":  operate,
		"/torc.v1.Control/State":  operate, // what was trained

		"/torc.v1.Checkpoints/List":   view,
		"/torc.v1.Checkpoints/Tend":   operate,
		"/torc.v1.Checkpoints/Read":   operate, // what was trained
		"/torc.v1.Checkpoints/Resume": operate,

		"/torc.v1.Trust/Find":           all,
		"/torc.v1.Trust/Join":           all, // for a token
		"/torc.v1.Trust/Renew":          {trust.Node, trust.Operator, trust.Viewer},
		"/torc.v1.Trust/Watch":          node,
		"/torc.v1.Trust/CreateToken":    operate,
		"/torc.v1.Trust/Tokens":         operate,
		"/torc.v1.Trust/DeleteToken":    operate,
		"/torc.v1.Trust/CreateIdentity": operate,
		"/torc.v1.Trust/Identities":     operate,
		"/torc.v1.Trust/Revoke":         operate,

		"/grpc.health.v1.Health/Check": all,
	}
}

// Package trust says who may take part in a cluster: it makes certificates and join tokens and checks what others show.
//
//	coordinator                                     node or command
//	  CA key ─→ Authority ─ token create ─→ Token ─────→ Join: key made here, request sent
//	             │    └── certificate ←──────────────────────┘
//	             ├─ Book: tokens, certificates, revocations    Wallet: own certificate, CA, revoked
//	             └─ gossip keys, by epoch                       └─ Verify(peer) → Identity{role, name}
//
// Guarantees: a private key never leaves the process that made it; a token is the hash of the CA's key beside a secret, so
// that a joining node knows whom it talks to before it shows the secret, and what is kept of the secret is a hash; what
// was given out, used or revoked is on disk before anybody is told; whatever a peer sends is bounded before it is parsed.
//
// Not here: connections (internal/cluster), who may call what (coordinator/control). Members believe each other's numbers:
// a certificate says who somebody is, not that he computes honestly.
//
// Start reading at identity.go, then authority.go and wallet.go.
package trust

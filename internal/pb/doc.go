// Package pb holds the messages and services that coordinator, members and command line speak, made from torc.proto
// and the files beside it.
//
//	node ──Join, Attend (beats up, orders down)──► coordinator ◄──Launch, Follow, Stop …── command line
//	node ──Peer.State──► node
//	node, command line ──Trust: tokens, certificates, revocations──► coordinator
//
// The frames of the ring are not here: they bypass protobuf (package allreduce). Fields are only ever added.
// Start reading at torc.proto. After a change run, in the root of the repository,
//
//	go tool -modfile=tools/buf/go.mod buf generate --template tools/buf/buf.gen.yaml internal/pb
//
// (`make proto`); it needs no network once tools/buf's modules are in the module cache.
package pb

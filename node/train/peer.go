package train

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/pb"
)

// chunkBytes is the size of one message of a State on its way.
const chunkBytes = 512 << 10

// State sends the State of a finished run in canonical form (pb.Peer).
func (m *Member) State(req *pb.StateRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	w := m.working(req.Run)
	if w == nil {
		return status.Errorf(codes.NotFound, "node %s does not work for run %s", m.cfg.Node.Name, req.Run)
	}
	w.mu.Lock()
	snapshot, digest := w.snapshot, w.digest
	w.mu.Unlock()
	if snapshot == nil {
		return status.Errorf(codes.FailedPrecondition, "node %s has not finished run %s", m.cfg.Node.Name, req.Run)
	}
	first := &pb.Chunk{Sha256: digest, Size: int64(len(snapshot))}
	for c := first; ; c = (&pb.Chunk{}) {
		n := min(chunkBytes, len(snapshot))
		c.Data, snapshot = snapshot[:n], snapshot[n:]
		if err := stream.Send(c); err != nil {
			return err
		}
		if len(snapshot) == 0 {
			return nil
		}
	}
}

// Join forwards to the coordinator, so that a node may join by any member's address (pb.Peer).
func (m *Member) Join(ctx context.Context, req *pb.JoinRequest) (*pb.JoinReply, error) {
	conn, err := m.cfg.Dial(m.cfg.Coordinator())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return pb.NewControlClient(conn).Join(ctx, req)
}

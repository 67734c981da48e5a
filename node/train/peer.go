package train

import (
	"bytes"
	"context"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/torctrain/torc/internal/files"
	"github.com/torctrain/torc/internal/pb"
)

// chunkBytes is the size of one message of a record or a piece on its way.
const chunkBytes = pb.ChunkBytes

// State sends the last State of a run, or part of a copy, in canonical form (pb.Peer).
func (m *Member) State(req *pb.StateRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	w, t, err := m.serving(req.Run)
	if err != nil {
		return err
	}
	w.mu.Lock()
	data, digest := w.snapshot, w.digest
	w.mu.Unlock()
	if req.Step > 0 || req.Length > 0 {
		data, digest = nil, nil
		if t == nil {
			return status.Errorf(codes.FailedPrecondition, "node %s has no State of run %s yet", m.cfg.Node.Name, req.Run)
		}
		c := t.keep.at(req.Step, time.Now())
		if c == nil {
			return status.Errorf(codes.OutOfRange, "node %s has no copy of State after step %d", m.cfg.Node.Name, req.Step)
		}
		all, sum, err := c.bytes()
		if err != nil {
			return err
		}
		if req.Offset < 0 || req.Length < 0 || req.Offset > int64(len(all)) || req.Length > int64(len(all))-req.Offset {
			return status.Errorf(codes.InvalidArgument, "bytes %d and %d more are asked of a State of %d", req.Offset, req.Length, len(all))
		}
		data, digest = all[req.Offset:req.Offset+req.Length], sum[:]
	}
	if data == nil {
		return status.Errorf(codes.FailedPrecondition, "node %s has not finished run %s", m.cfg.Node.Name, req.Run)
	}
	return pb.SendChunks(bytes.NewReader(data), digest, int64(len(data)), stream.Send)
}

// serving returns the work for a run and its trainer, nil while there is none.
func (m *Member) serving(run string) (*work, *Trainer, error) {
	w := m.working(run)
	if w == nil {
		return nil, nil, status.Errorf(codes.NotFound, "node %s does not work for run %s", m.cfg.Node.Name, run)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w, w.trainer, nil
}

// Copy names a copy of State that joiners may read, and has one made if need be (pb.Peer).
func (m *Member) Copy(ctx context.Context, req *pb.CopyRequest) (*pb.StateCopy, error) {
	w, t, err := m.serving(req.Run)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "node %s has no State of run %s yet", m.cfg.Node.Name, req.Run)
	}
	for {
		c, more := t.keep.take(req.Step, time.Now())
		if c != nil {
			data, digest, err := c.bytes()
			if err != nil {
				return nil, err
			}
			return &pb.StateCopy{
				Step: c.step, Size: int64(len(data)), Sha256: digest[:], Totals: totalsToPB(c.totals), Made: w.madeUntil(c.step),
				Ahead: c.ahead, NonFinite: c.tried, Validation: validationToPB(c.valid),
			}, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.ctx.Done():
			return nil, status.Errorf(codes.Unavailable, "node %s no longer works for run %s", m.cfg.Node.Name, req.Run)
		}
	}
}

// Records streams how steps ended, as they are made (pb.Peer).
func (m *Member) Records(req *pb.RecordsRequest, stream grpc.ServerStreamingServer[pb.RecordPart]) error {
	w, t, err := m.serving(req.Run)
	if err != nil {
		return err
	}
	if t == nil {
		return status.Errorf(codes.FailedPrecondition, "node %s has no State of run %s yet", m.cfg.Node.Name, req.Run)
	}
	var who *reader
	for step := req.From; ; {
		r, more, err := t.keep.record(step, time.Now())
		if err != nil {
			return status.Error(codes.OutOfRange, err.Error())
		}
		if who == nil {
			who = t.keep.follow(step, time.Now())
		}
		if r == nil {
			if err := stream.Send(&pb.RecordPart{Level: true}); err != nil {
				return err
			}
			select {
			case <-more:
			case <-stream.Context().Done():
				return stream.Context().Err()
			case <-w.ctx.Done():
				return status.Errorf(codes.Unavailable, "node %s no longer works for run %s", m.cfg.Node.Name, req.Run)
			}
			continue
		}
		data, err := proto.Marshal(r.toPB())
		t.keep.done(r)
		if err == nil {
			err = sendRecord(data, stream.Send)
		}
		if err != nil {
			return err
		}
		step++
		t.keep.goesOn(who, step, time.Now())
	}
}

func sendRecord(data []byte, send func(*pb.RecordPart) error) error {
	for p := (&pb.RecordPart{Size: int64(len(data))}); len(data) > 0; p = (&pb.RecordPart{}) {
		n := min(chunkBytes, len(data))
		p.Data, data = data[:n], data[n:]
		if err := send(p); err != nil {
			return err
		}
	}
	return nil
}

// Fetch sends a file by its hash (pb.Peer).
func (m *Member) Fetch(req *pb.FetchRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	path, ok := files.Under(m.cfg.Home).Has(req.Sha256)
	if !ok {
		return status.Errorf(codes.NotFound, "node %s does not have file %x", m.cfg.Node.Name, req.Sha256)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return pb.SendChunks(f, req.Sha256, info.Size(), stream.Send)
}

// Describe tells what this node knows of cluster and run (pb.Peer).
func (m *Member) Describe(context.Context, *pb.DescribeRequest) (*pb.Description, error) {
	d := &pb.Description{Cluster: m.cfg.Cluster, Gossip: m.cfg.Gossip, Coordinator: m.cfg.Coordinator()}
	if w := m.working(""); w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		d.Assignment = w.order
		switch { // the latest that it has heard of
		case w.next != nil:
			d.View = pb.OfView(w.next)
		case w.view != nil:
			d.View = pb.OfView(w.view)
		}
	}
	return d, nil
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

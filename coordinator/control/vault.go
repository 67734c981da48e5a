package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// vault serves people who look after checkpoints (pb.Checkpoints).
type vault struct {
	pb.UnimplementedCheckpointsServer
	server *Server
}

// List tells of the committed checkpoints of a run (pb.Checkpoints).
func (v vault) List(_ context.Context, req *pb.CheckpointsRequest) (*pb.CheckpointsReply, error) {
	reply := &pb.CheckpointsReply{}
	var unwritten error
	err := v.server.run(req.Run, func(c *core, _ time.Time, r *run) {
		reply.Spec, unwritten = r.spec.JSON()
		for _, k := range r.committed {
			reply.Checkpoints = append(reply.Checkpoints, &pb.CheckpointInfo{Manifest: k.text, Holders: c.holders(k.manifest), UnixNano: k.at.UnixNano()})
		}
	})
	if err == nil {
		err = unwritten
	}
	return reply, err
}

// Read passes on part of a piece from the node that keeps it (pb.Checkpoints). Whoever asks checks what comes.
func (v vault) Read(req *pb.HeldPieceRequest, stream grpc.ServerStreamingServer[pb.PiecePart]) error {
	var at view.Member
	v.server.do(func(c *core, _ time.Time) {
		for _, n := range c.sorted() {
			if n.id.Name == req.Node && n.session != 0 {
				at = view.Member{Node: n.id, Addr: n.addr}
			}
		}
	})
	if at.Addr == "" {
		return status.Errorf(codes.Unavailable, "node %s does not attend: start it again", req.Node)
	}
	conn, err := v.server.dialMember(at)
	if err != nil {
		return err
	}
	defer conn.Close()
	parts, err := pb.NewPiecesClient(conn).Read(stream.Context(), req.Piece)
	for err == nil {
		var part *pb.PiecePart
		if part, err = parts.Recv(); err == nil {
			err = stream.Send(part)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Resume lets a run go on that was stopped or has failed (pb.Checkpoints).
func (v vault) Resume(_ context.Context, req *pb.ResumeRequest) (*pb.ResumeReply, error) {
	reply := &pb.ResumeReply{}
	var refused error
	err := v.server.run(req.Run, func(c *core, now time.Time, r *run) { reply.Step, refused = c.resume(now, r) })
	if err == nil && refused != nil {
		err = status.Error(codes.FailedPrecondition, refused.Error())
	}
	return reply, err
}

// Tend has all nodes look after what they keep of a run, or remove it (pb.Checkpoints).
func (v vault) Tend(ctx context.Context, req *pb.TendRequest) (*pb.TendReply, error) {
	var list []*kept
	var refused error
	members := map[view.Member]bool{}
	holders := map[*kept][]*pb.Holding{}
	err := v.server.run(req.Run, func(c *core, now time.Time, r *run) {
		for i, k := range r.committed {
			if req.Step != 0 && k.manifest.Step != req.Step {
				continue
			}
			if req.What == pb.Tending_TENDING_REMOVE && i == 0 && !r.over() {
				refused = refusal{fmt.Sprintf("the checkpoint of step %d is the newest of run %s, which has not ended: stop the run first, or name an older one", k.manifest.Step, r.id)}
				return
			}
			list, holders[k] = append(list, k), c.holders(k.manifest)
		}
		if len(list) == 0 {
			refused = refusal{fmt.Sprintf("run %s has no such checkpoint: `coordinator checkpoints ls %s` lists them", r.id, r.id)}
			return
		}
		for _, n := range c.sorted() {
			if n.session != 0 {
				members[view.Member{Node: n.id, Addr: n.addr}] = true
			}
		}
		if req.What == pb.Tending_TENDING_REMOVE {
			for _, k := range list {
				c.drop(now, r, k)
			}
		}
	})
	if err == nil && refused != nil {
		err = status.Error(codes.FailedPrecondition, refused.Error())
	}
	if err != nil {
		return nil, err
	}
	reply := &pb.TendReply{}
	var g errgroup.Group
	for m := range members {
		t := &pb.Tended{Node: m.Node.Name}
		reply.Nodes = append(reply.Nodes, t)
		g.Go(func() error { v.tend(ctx, m, req.What, list, holders, t); return nil })
	}
	_ = g.Wait()
	slices.SortFunc(reply.Nodes, func(a, b *pb.Tended) int {
		if a.Node < b.Node {
			return -1
		}
		return 1
	})
	return reply, nil
}

// tend has one node do it.
func (v vault) tend(ctx context.Context, m view.Member, what pb.Tending, list []*kept, holders map[*kept][]*pb.Holding, t *pb.Tended) {
	conn, err := v.server.dialMember(m)
	if err != nil {
		t.Error = err.Error()
		return
	}
	defer conn.Close()
	t.Kept = &pb.KeepReply{}
	var errs []error
	for _, k := range list {
		reply, err := pb.NewPiecesClient(conn).Keep(ctx, &pb.KeepRequest{Manifest: k.text, Holders: holders[k], What: what})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.Kept.Pieces += reply.Pieces
		t.Kept.Damaged, t.Kept.Mended = append(t.Kept.Damaged, reply.Damaged...), append(t.Kept.Mended, reply.Mended...)
	}
	if err := errors.Join(errs...); err != nil {
		t.Error = err.Error()
	}
}

// drop forgets a checkpoint that a person removes.
func (c *core) drop(now time.Time, r *run, k *kept) {
	c.record(now, command{Kind: dropped, Run: r.id, Step: k.manifest.Step})
	r.committed = slices.DeleteFunc(r.committed, func(o *kept) bool { return o == k })
	r.dropped = append(r.dropped, k.manifest.Step)
	for _, n := range c.nodes {
		delete(n.kept, keyOf(k.manifest))
	}
	r.version++
}

package train

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/internal/view"
)

// closedStream is a session that the coordinator has ended: nothing can be sent, and a moment later why comes.
type closedStream struct {
	ctx context.Context
	why error
}

func (s *closedStream) Header() (metadata.MD, error) { return nil, nil }
func (s *closedStream) Trailer() metadata.MD         { return nil }
func (s *closedStream) CloseSend() error             { return nil }
func (s *closedStream) Context() context.Context     { return s.ctx }
func (s *closedStream) SendMsg(any) error            { return io.EOF }
func (s *closedStream) RecvMsg(any) error {
	select {
	case <-time.After(time.Millisecond):
		return s.why
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// attending is a member whose sessions all end with why.
func attending(t *testing.T, log io.Writer, why error) *Member {
	return NewMember(Config{
		Node: view.NodeID{Name: "ada"}, Home: t.TempDir(), Log: slog.New(slog.NewTextHandler(log, nil)),
		Coordinator: func() string { return "passthrough:///nowhere" },
		Dial: func(addr string) (*grpc.ClientConn, error) {
			return grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithStreamInterceptor(func(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, _ grpc.Streamer, _ ...grpc.CallOption) (grpc.ClientStream, error) {
					return &closedStream{ctx, why}, nil
				}))
		},
	})
}

// Who is refused learns why, also when the session is over before anything was said.
func TestAMemberThatIsRefusedSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := status.Error(codes.PermissionDenied, "a node named ada attends already")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := attending(t, io.Discard, why).Run(ctx); !errors.Is(err, why) {
			t.Errorf("Run = %v, want %v", err, why)
		}
	})
}

// A coordinator that is away for long is one line in the log, not one for each call.
func TestALostCoordinatorIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := attending(t, &log, status.Error(codes.Unavailable, "nobody listens")).Run(ctx); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "lost coordinator"); n != 1 {
			t.Errorf("said %d times in an hour", n)
		}
	})
}

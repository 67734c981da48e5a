package cluster

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

// MaxMessageBytes bounds one gRPC message; files and State travel in chunks far below it.
const MaxMessageBytes = 16 << 20

const (
	// A peer whose machine vanished without closing its connections is noticed after pingEvery + pingTimeout.
	pingEvery   = 10 * time.Second
	pingTimeout = 5 * time.Second

	bufferBytes = 256 << 10 // read and write buffers: 3.5 against 2.9 GB/s with the 32 KiB of the library
	windowBytes = 4 << 20   // flow-control windows of stream and connection; set on both sides or not at all

	// graceful is how long Serve lets calls end by themselves.
	graceful = 2 * time.Second
)

// Dial returns a connection to the gRPC server at host:port, or at a LocalTarget. It connects at the first call, and again
// after an error. Without the options of Secure it neither shows nor asks who is there.
func Dial(addr string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	if _, ok := IsLocal(addr); !ok {
		addr = "passthrough:///" + addr
	}
	return grpc.NewClient(addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithReadBufferSize(bufferBytes),
		grpc.WithWriteBufferSize(bufferBytes),
		grpc.WithInitialWindowSize(windowBytes),
		grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
	}, opts...)...)
}

// NewServer returns a gRPC server that fits Dial. Its Stop waits for the handlers to return.
func NewServer(opts ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery / 2, PermitWithoutStream: true}),
		grpc.ReadBufferSize(bufferBytes),
		grpc.WriteBufferSize(bufferBytes),
		grpc.InitialWindowSize(windowBytes),
		grpc.InitialConnWindowSize(windowBytes),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.WaitForHandlers(true),
	}, opts...)...)
}

// Serve answers calls at the listeners until ctx is done. Calls then have two seconds to end by themselves; Serve returns
// when all have ended and the listeners are closed. It adds the health service, which says SERVING until ctx is done.
func Serve(ctx context.Context, s *grpc.Server, listeners ...net.Listener) error {
	healthy := health.NewServer()
	healthpb.RegisterHealthServer(s, healthy)
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		g.Go(func() error {
			if err := s.Serve(l); !errors.Is(err, grpc.ErrServerStopped) { // which says that ctx was done before it began
				return err
			}
			return nil
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		healthy.Shutdown()
		hard := time.AfterFunc(graceful, s.Stop)
		defer hard.Stop()
		s.GracefulStop()
		return nil
	})
	return g.Wait()
}

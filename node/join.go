package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/admin"
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
	"github.com/torctrain/torc/model"
	"github.com/torctrain/torc/model/cpu"
	"github.com/torctrain/torc/node/train"
)

// joining is a call of join.
type joining struct {
	addr        string // of the coordinator, or of any member
	wait, drain time.Duration
	replace     bool
	s           *config.Settings
	log         *slog.Logger
}

func newJoinCmd() *cobra.Command {
	j := &joining{}
	cmd := &cobra.Command{
		Use:   "join ADDR",
		Short: "Join the cluster of the coordinator (or any member) at ADDR and work until told to stop",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if j.s, err = config.Load(cmd.Flags(), "node"); err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			if j.addr, err = cluster.WithPort(args[0]); err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			if j.log, err = admin.Logger(os.Stderr, j.s.LogFormat); err != nil {
				return config.Kind(config.ErrUsage, err)
			}
			return j.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.String("name", "", "name of this node, unique in the cluster (default: host name)")
	f.String("listen", "", "address to serve peers on (default 0.0.0.0:0; 127.0.0.1:0 when ADDR is on this machine)")
	f.String("advertise", "", "address under which peers reach this node (default: the listening one)")
	f.Int("threads", 0, "compute threads (default: cores)")
	f.String("memory", "", "memory a run may use, e.g. 12GiB (default: no limit)")
	f.StringToString("label", nil, "label of this node, e.g. --label zone=a (repeatable)")
	f.String("token", "", "token to join with, from `coordinator token create`; a node that has joined needs none")
	f.String("token-file", "", "file that the token stands in")
	f.String("ca", "", "file with the certificate of the cluster's CA, for tokens that do not name it")
	f.String("pool-token", "", "file with the secret that the whole pool joins with; needs --ca")
	f.String("admin", "", "address of /metrics, /healthz and /readyz (default: not served)")
	f.String("pprof", "", "address of profiles, on loopback: 127.0.0.1:6060 (default: not served)")
	f.String("log-format", "", "text or json (default text)")
	f.Bool("insecure", false, "join a cluster that was started with --insecure: without certificates and encryption")
	f.BoolVar(&j.replace, "replace", false, "take this name over from a machine whose certificate still counts")
	f.DurationVar(&j.wait, "wait", 15*time.Second, "how long to wait for an answer from ADDR")
	f.DurationVar(&j.drain, "drain", 30*time.Second, "how long to wait, when told to end, for the run to go on without this node")
	f.Bool("leash", false, "leave when standard input closes")
	f.MarkHidden("leash")
	return cmd
}

// run runs the node until it is told to leave, by ctx or by the coordinator, and has done so; or until its standard input
// ends when it is on a leash, which waits for nothing.
func (j *joining) run(ctx context.Context) error {
	if err := checkBuild(); err != nil {
		return config.Kind(config.ErrRefused, err)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(spec.GCPercent)
	}
	id, err := identity(j.s.Name)
	if err != nil {
		return err
	}
	kernels, err := cpu.New(threads(j.s), cpu.Tier(j.s.CPU))
	if err != nil {
		return config.Kind(config.ErrUsage, err)
	}
	defer kernels.Close()
	workers, closeWorkers, err := singles(kernels)
	if err != nil {
		return err
	}
	defer closeWorkers()
	figures := newFigures()
	metrics := admin.Registry("node", version)
	metrics.MustRegister(figures)
	door, err := admin.Open(admin.Config{Admin: j.s.Admin, Pprof: j.s.Pprof}, metrics, admin.Checks{Ready: figures.ready}, j.log)
	if err != nil {
		return err
	}
	defer door.Close()
	in, err := j.enter(ctx, id)
	if err != nil {
		return err
	}
	defer in.gossip.Close()
	figures.watch(in.gossip, in.own)
	in.own.figures = figures
	links := allreduce.NewServer()
	links.Who = linker
	class := train.Class(kernels)
	member := train.NewMember(train.Config{
		Node: id, Addr: in.self, Labels: j.s.Labels, Version: version, Home: j.s.Home, Class: class, Kernels: kernels, Workers: workers,
		Threads: kernels.Threads(), Memory: uint64(j.s.Memory), Log: j.log, Links: links,
		Dial:        func(addr string) (*grpc.ClientConn, error) { return in.own.dial(addr, in.coordinator.addr()) },
		DialRing:    in.own.dialRing,
		Coordinator: in.coordinator.addr, Probe: cluster.Refuses,
		Cluster: in.admitted.Cluster, Gossip: in.gossip.Addr(), Drain: j.drain,
	})
	server := cluster.NewServer(append(allreduce.ServerOptions(), in.own.options()...)...)
	links.Register(server)
	in.own.register(server)
	member.Register(server)
	j.log.Info("joined", "node", id, "addr", in.self, "cluster", in.admitted.Cluster, "class", class, "threads", kernels.Threads())
	return j.work(ctx, in, member, func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return cluster.Serve(ctx, server, in.own.listeners(in.self, in.listener)...) })
		g.Go(func() error { return door.Serve(ctx) })
		return g.Wait()
	})
}

// entry is what a node has that was let into a cluster.
type entry struct {
	self        string // address under which peers reach it
	listener    net.Listener
	own         *membership
	admitted    *pb.JoinReply
	coordinator *bearings
	gossip      *cluster.Gossip
}

// enter makes this machine the node id of the cluster: with a certificate, admitted, and known to gossip.
func (j *joining) enter(ctx context.Context, id view.NodeID) (_ *entry, err error) {
	listener, self, err := cluster.Listen(listenOn(j.s, j.addr), j.s.Advertise, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, listener.Close())
		}
	}()
	in := &entry{self: self, listener: listener}
	node := pb.OfNode(id)
	applicant := &applicant{addr: j.addr, wait: j.wait, s: j.s, req: &pb.EnrolRequest{
		Node: node, Addr: self, Version: version, Protocol: pb.Protocol, Replace: j.replace,
	}}
	var at string // of the coordinator
	if in.own, at, err = applicant.enrol(ctx); err != nil {
		return nil, err
	}
	in.admitted, err = in.own.admit(ctx, at, j.wait, &pb.JoinRequest{
		Node: node, Addr: self, Version: version, Protocol: pb.Protocol, Labels: j.s.Labels,
	})
	if err != nil {
		return nil, err
	}
	in.coordinator = newBearings(in.admitted.Coordinator)
	in.own.coordinator = in.coordinator.addr
	keys, err := in.own.first(ctx, in.admitted.Coordinator, j.wait)
	if err != nil {
		return nil, err
	}
	in.gossip, err = openGossip(ctx, id, self, listener.Addr(), in.admitted, keys, j.log)
	return in, err
}

// work lets the member work and serve until it has left or ctx is done, and everything has ended.
func (j *joining) work(ctx context.Context, in *entry, member *train.Member, serve func(context.Context) error) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, member.Leave)()
	if j.s.Leash {
		go func() { // ends with the process at the latest
			_, _ = io.Copy(io.Discard, os.Stdin)
			end()
		}()
	}
	g, life := errgroup.WithContext(life)
	g.Go(func() error { return serve(life) })
	g.Go(func() error { return in.own.keep(life, in.gossip, j.log) })
	g.Go(func() error { return in.gossip.Run(life) })
	g.Go(func() error { return reachPeers(life, in.gossip.Peers, j.log) })
	g.Go(func() error { return in.coordinator.watch(life, in.gossip.Events(), in.gossip.Peers, j.log) })
	g.Go(func() error {
		defer end() // a node that has left ends
		return member.Run(life)
	})
	err := g.Wait()
	if left := in.gossip.Leave(leaveTimeout); left != nil {
		j.log.Debug("left without a word", "err", left)
	}
	return err
}

// checkBuild refuses a program compiled for newer processors than the least: there the compiler fuses multiplications and
// additions, and package math takes other paths, so that results would depend on how the program was built.
func checkBuild() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, s := range info.Settings {
		if s.Key == "GOAMD64" && s.Value != "v1" {
			return fmt.Errorf("this program was built with GOAMD64=%s, whose arithmetic differs: build it with GOAMD64=v1, as make build does", s.Value)
		}
	}
	return nil
}

// leaveTimeout bounds the farewell to the gossip.
const leaveTimeout = time.Second

// identity is this incarnation of the node.
func identity(name string) (view.NodeID, error) {
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return view.NodeID{}, fmt.Errorf("name this node: %w: give --name", err)
		}
		name = host
	}
	var boot [8]byte
	_, _ = rand.Read(boot[:]) // never fails
	return view.NodeID{Name: name, Boot: binary.LittleEndian.Uint64(boot[:])}, config.Kind(config.ErrUsage, cluster.CheckName(name))
}

func threads(s *config.Settings) int {
	if s.Threads > 0 {
		return s.Threads
	}
	return runtime.NumCPU()
}

// singles are kernels like k with one thread each, as many as k has threads.
func singles(k *cpu.Kernels) (list []model.Kernels, closeAll func(), err error) {
	var all []*cpu.Kernels
	closeAll = func() {
		for _, k := range all {
			k.Close()
		}
	}
	for range k.Threads() {
		one, err := cpu.New(1, k.Tier())
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		all, list = append(all, one), append(list, one)
	}
	return list, closeAll, nil
}

// listenOn is the address to listen on: what the settings say, else every interface, unless the cluster is on this machine.
func listenOn(s *config.Settings, addr string) string {
	if s.Listen != "" || s.Advertise != "" {
		return s.Listen
	}
	if host, _, err := net.SplitHostPort(addr); err == nil {
		if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
			return "127.0.0.1:0"
		}
	}
	return "0.0.0.0:0"
}

// admit asks the coordinator, or a member that forwards, to let this node in. The session of the machine that it replaces
// may take a moment to end.
func (m *membership) admit(ctx context.Context, addr string, wait time.Duration, req *pb.JoinRequest) (*pb.JoinReply, error) {
	var opts []grpc.DialOption
	if m.wallet != nil {
		opts = m.secure()
	}
	return call(ctx, wait, addr, opts, func(ctx context.Context, conn *grpc.ClientConn) (*pb.JoinReply, error) {
		patiently := grpc.WaitForReady(true) // the coordinator may start at the same moment
		reply, err := pb.NewControlClient(conn).Join(ctx, req, patiently)
		if status.Code(err) == codes.Unimplemented {
			reply, err = pb.NewPeerClient(conn).Join(ctx, req, patiently)
		}
		if err == nil {
			err = config.Kind(config.ErrRefused, pb.Compare(req.Version, req.Protocol, reply.Version, reply.Protocol))
		}
		return reply, err
	})
}

// openGossip listens beside the gRPC port and is reached under the same host.
func openGossip(ctx context.Context, id view.NodeID, self string, at net.Addr, admitted *pb.JoinReply, keys [][]byte, log *slog.Logger) (*cluster.Gossip, error) {
	advertise, _, err := net.SplitHostPort(self)
	if err != nil {
		return nil, err
	}
	bind, _, err := net.SplitHostPort(at.String())
	if err != nil {
		return nil, err
	}
	g, err := cluster.OpenGossip(cluster.GossipConfig{
		Cluster: admitted.Cluster, Keys: keys, Self: cluster.Peer{Node: id, Role: cluster.Node, Addr: self},
		Bind: net.JoinHostPort(bind, "0"), Advertise: advertise, Log: log,
	})
	if err != nil {
		return nil, err
	}
	if err := g.Join(ctx, admitted.GossipSeeds); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

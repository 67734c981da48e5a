package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/torctrain/torc/coordinator/control"
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/config"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/trust"
)

// launchLocal runs a whole cluster on this machine for one run.
func launchLocal(cmd *cobra.Command, r *spec.Resolved, n int) error {
	settings, err := config.Load(cmd.Flags(), "coordinator")
	if err != nil {
		return config.Kind(config.ErrUsage, err)
	}
	info, err := localRun(cmd, settings.Home, r, n)
	if err != nil {
		return err
	}
	if err := conclude(cmd, info); err != nil {
		return err
	}
	if info.State == pb.RunState_RUN_STOPPED && cmd.Context().Err() != nil {
		return context.Canceled
	}
	return nil
}

// localRun starts a coordinator in this process and n node processes, all of which keep their state below home, makes the
// run and ends them. Ctrl-C stops the run at its next step, not the cluster: that ends when the run has.
func localRun(cmd *cobra.Command, home string, r *spec.Resolved, n int) (*pb.RunInfo, error) {
	if n < r.Members.Min {
		return nil, config.Usagef("--local %d: members.min is %d: start as many, or lower it with --set members.min=%d", n, r.Members.Min, n)
	}
	g, ctx := errgroup.WithContext(context.WithoutCancel(cmd.Context()))
	var info *pb.RunInfo
	g.Go(func() (err error) {
		info, err = runLocal(cmd, ctx, g, home, r, n)
		return err
	})
	err := g.Wait()
	return info, err
}

func runLocal(cmd *cobra.Command, ctx context.Context, g *errgroup.Group, home string, r *spec.Resolved, n int) (*pb.RunInfo, error) {
	logs := filepath.Join(home, "local")
	coordinator, err := startCoordinator(ctx, g, home, logs, n)
	if err != nil {
		return nil, err
	}
	defer coordinator.stop() // after the nodes, which talk to it
	following, stopFollowing := context.WithCancelCause(ctx)
	defer stopFollowing(nil)
	var left atomic.Int32 // nodes
	left.Store(int32(n))
	nodes, err := startNodes(coordinator.addr, home, logs, coordinator.token, n, func(err error) {
		if left.Add(-1) > 0 {
			return // the others go on
		}
		time.AfterFunc(lossPatience, func() { stopFollowing(err) }) // the coordinator says it better, if it can
	})
	if err != nil {
		return nil, err
	}
	defer nodes.stop()

	conn, err := cluster.Dial(coordinator.addr, cluster.Secure(coordinator.wallet, cluster.AcceptRole(trust.Coordinator))...)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := pb.NewControlClient(conn)
	run, err := submit(ctx, client, r, n)
	if err != nil {
		return nil, err
	}
	stopOnSignal := context.AfterFunc(cmd.Context(), func() {
		fmt.Fprintln(cmd.ErrOrStderr(), "\nstopping at the next step")
		if _, err := client.Stop(ctx, &pb.StopRequest{Run: run}); err != nil {
			stopFollowing(err)
		}
	})
	defer stopOnSignal()
	info, err := follow(following, client, run, newProgress(cmd.ErrOrStderr()))
	if err != nil && following.Err() != nil {
		return nil, context.Cause(following)
	}
	return info, err
}

// lossPatience is how long the coordinator has to find a dead local node before launch gives up.
const lossPatience = 6 * time.Second

// localCoordinator is a coordinator in this process.
type localCoordinator struct {
	addr   string
	wallet *trust.Wallet // of an operator
	token  string        // with which nodes join; empty where they need none
	stop   func()        // ends it and waits for that
}

// startCoordinator starts a coordinator for n nodes in g. Its log and its CA are in the directory logs.
func startCoordinator(ctx context.Context, g *errgroup.Group, home, logs string, n int) (_ *localCoordinator, err error) {
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(logs, "coordinator.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			log.Close()
		}
	}()
	authority, err := trust.Open(trust.Config{Dir: filepath.Join(logs, "trust")})
	if err != nil {
		return nil, err
	}
	identity, err := operator(authority, "launch")
	if err != nil {
		return nil, err
	}
	c := &localCoordinator{}
	if c.wallet, err = identity.Wallet(); err != nil {
		return nil, err
	}
	if c.token, err = localToken(authority, n); err != nil {
		return nil, err
	}
	server, err := control.New(control.Config{
		Home: home, Nodes: n, Listen: "127.0.0.1:0", Version: version, Trust: authority, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan struct{})
	g.Go(func() error {
		defer close(served)
		defer log.Close()
		return server.Run(serving)
	})
	c.addr, c.stop = server.Addr(), func() { stop(); <-served }
	return c, nil
}

// localNodes are the node processes of a local cluster.
type localNodes struct {
	procs  []*exec.Cmd
	leash  []io.Closer // the writing ends of their standard inputs: a node leaves when its end closes
	exited []chan error
	died   func(error) // called when a node ends before stop
	ending atomic.Bool

	patience time.Duration // that all of them together may take to leave
}

// leavePatience is how long local nodes may take to leave before they are killed.
const leavePatience = 10 * time.Second

// localToken is a token for n nodes where there are no unix sockets by which the coordinator would know them.
func localToken(a *trust.Authority, n int) (string, error) {
	if runtime.GOOS == "linux" {
		return "", nil
	}
	token, _, err := a.CreateToken(time.Minute, n)
	return token.String(), err
}

// startNodes starts n `node join` processes of the binary beside this one.
func startNodes(addr, home, logs, token string, n int, died func(error)) (*localNodes, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(filepath.Dir(self), "node")
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("%w: --local needs the node binary beside %s: make build writes both", err, self)
	}
	l := &localNodes{died: died, patience: leavePatience}
	for i := range n {
		name := fmt.Sprintf("local-%d", i+1)
		c := exec.Command(binary, "join", addr, "--name", name, "--listen", "127.0.0.1:0", "--home", home,
			"--threads", fmt.Sprint(max(1, runtime.NumCPU()/n)), "--leash")
		if token != "" {
			c.Args = append(c.Args, "--replace") // whoever had the name before has ended
			c.Env = append(os.Environ(), "TORC_TOKEN="+token)
		}
		detach(c) // Ctrl-C on the terminal is for this process; it tells the nodes
		if err := l.start(c, filepath.Join(logs, name+".log")); err != nil {
			l.stop()
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
	}
	return l, nil
}

func (l *localNodes) start(c *exec.Cmd, logPath string) error {
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	c.Stdout, c.Stderr = log, log
	leash, err := c.StdinPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1) // the waiter never blocks
	go func() {
		err := c.Wait()
		if !l.ending.Load() {
			l.died(fmt.Errorf("%s ended (%v): %s", filepath.Base(logPath), err, lastLine(logPath)))
		}
		exited <- err
	}()
	l.procs, l.leash, l.exited = append(l.procs, c), append(l.leash, leash), append(l.exited, exited)
	return nil
}

// lastLine is the end of a log, for the message about whoever wrote it.
func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// stop ends the nodes and waits for them. Those that do not leave in time are killed.
func (l *localNodes) stop() {
	l.ending.Store(true)
	for _, c := range l.leash {
		c.Close()
	}
	late, cancel := context.WithTimeout(context.Background(), l.patience)
	defer cancel()
	for i, p := range l.procs {
		select {
		case <-l.exited[i]:
		case <-late.Done():
			_ = p.Process.Kill()
			<-l.exited[i]
		}
	}
}

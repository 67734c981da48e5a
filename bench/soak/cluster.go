package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"google.golang.org/grpc"

	dial "github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
)

// cluster is a coordinator and its nodes as processes.
type cluster struct {
	dir    string
	addr   string
	serve  *exec.Cmd
	conn   *grpc.ClientConn
	client pb.ControlClient
	nodes  []*node
	names  int
	hurt   map[string]bool // nodes to which something was done
}

// node is one node process.
type node struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
	frozen bool
}

var serves = regexp.MustCompile(`msg="coordinator serves" addr=(\S+)`)

// newCluster starts a coordinator on loopback.
func newCluster(ctx context.Context, dir string) (_ *cluster, err error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, hurt: map[string]bool{}, serve: exec.Command("bin/coordinator", "serve", "--insecure", "--listen", "127.0.0.1:0")}
	c.serve.Env = append(os.Environ(), "TORC_HOME="+filepath.Join(dir, "home"))
	stderr, err := c.serve.StderrPipe()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "coordinator.log"))
	if err != nil {
		return nil, err
	}
	if err := c.serve.Start(); err != nil {
		return nil, fmt.Errorf("%w: make build writes it", err)
	}
	defer func() {
		if err != nil {
			c.end()
		}
	}()
	addr := make(chan string, 1)
	go func() {
		defer log.Close()
		defer close(addr)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			fmt.Fprintln(log, s.Text())
			if m := serves.FindStringSubmatch(s.Text()); m != nil {
				addr <- m[1]
			}
		}
	}()
	if c.addr = <-addr; c.addr == "" {
		return nil, fmt.Errorf("the coordinator does not serve, see %s", log.Name())
	}
	if c.conn, err = dial.Dial(c.addr); err != nil {
		return nil, err
	}
	c.client = pb.NewControlClient(c.conn)
	return c, ctx.Err()
}

// join starts a node under a new name.
func (c *cluster) join() error {
	c.names++
	n := &node{name: fmt.Sprintf("n%03d", c.names), exited: make(chan struct{})}
	n.cmd = exec.Command("bin/node", "join", c.addr, "--insecure", "--name", n.name, "--threads", "1")
	n.cmd.Env = append(os.Environ(), "TORC_HOME="+filepath.Join(c.dir, "nodes"))
	log, err := os.Create(filepath.Join(c.dir, n.name+".log"))
	if err != nil {
		return err
	}
	n.cmd.Stderr = log
	if err := n.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = n.cmd.Wait()
		log.Close()
		close(n.exited)
	}()
	c.nodes = append(c.nodes, n)
	return nil
}

// launch starts the run of a spec and follows it.
func (c *cluster) launch(ctx context.Context, spec string) (*history, error) {
	cmd := exec.CommandContext(ctx, "bin/coordinator", "launch", spec, "--coordinator", c.addr, "--insecure", "--json",
		"--set", fmt.Sprint("steps=", steps), "--set", "optimizer.schedule=constant")
	cmd.Env = append(os.Environ(), "TORC_HOME="+filepath.Join(c.dir, "launch"))
	log, err := os.Create(filepath.Join(c.dir, "launch.log"))
	if err != nil {
		return nil, err
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); log.Close() }()
	for {
		reply, err := c.client.Runs(ctx, &pb.RunsRequest{})
		if err != nil {
			return nil, err
		}
		if len(reply.Runs) == 0 {
			select {
			case err := <-ended:
				return nil, fmt.Errorf("launch ended (%v), see %s", err, log.Name())
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		h := newHistory(reply.Runs[0].Run)
		stream, err := c.client.Follow(ctx, &pb.FollowRequest{Run: h.run})
		if err != nil {
			return nil, err
		}
		go h.follow(stream)
		return h, nil
	}
}

// fault does something to one of the nodes. While a single member has State it is left alone.
func (c *cluster) fault(ctx context.Context, run string, r *rand.Rand, most int) (string, error) {
	status, err := c.client.Status(ctx, &pb.StatusRequest{Run: run})
	if err != nil {
		return "", err
	}
	training := 0
	for _, m := range status.Run.Members {
		if m.Phase == pb.Phase_PHASE_TRAINING && m.Lanes > 0 && m.BeatAgeSeconds < 1 {
			training++
		}
	}
	c.nodes = slices.DeleteFunc(c.nodes, func(n *node) bool {
		select {
		case <-n.exited:
			return true
		default:
			return false
		}
	})
	var well []*node
	for _, n := range c.nodes {
		if n.frozen {
			n.frozen = false
			if err := n.cmd.Process.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return "", err
			}
			continue
		}
		well = append(well, n)
	}
	if len(c.nodes) < most && (len(well) < 3 || r.IntN(2) == 0) {
		return "join", c.join()
	}
	if training < 2 || len(well) == 0 {
		return "", nil
	}
	n := well[r.IntN(len(well))]
	c.hurt[n.name] = true
	switch k := r.IntN(10); {
	case k < 6:
		return "kill", n.cmd.Process.Kill()
	case k < 8:
		n.frozen = true
		return "freeze", n.cmd.Process.Signal(syscall.SIGSTOP)
	default:
		return "leave", n.cmd.Process.Signal(syscall.SIGTERM)
	}
}

// thaw lets frozen nodes go on.
func (c *cluster) thaw() {
	for _, n := range c.nodes {
		if n.frozen {
			n.frozen = false
			_ = n.cmd.Process.Signal(syscall.SIGCONT)
		}
	}
}

// dump lets all nodes write into their logs where their goroutines stand, which ends them.
func (c *cluster) dump() {
	c.thaw()
	for _, n := range c.nodes {
		_ = n.cmd.Process.Signal(syscall.SIGQUIT)
	}
	for _, n := range c.nodes {
		select {
		case <-n.exited:
		case <-time.After(5 * time.Second):
		}
	}
}

// end ends all processes.
func (c *cluster) end() {
	c.thaw()
	for _, n := range c.nodes {
		_ = n.cmd.Process.Kill()
		<-n.exited
	}
	if c.conn != nil {
		c.conn.Close()
	}
	_ = c.serve.Process.Kill()
	_ = c.serve.Wait()
}

// Command ringbench measures Ring.Sum over gRPC on loopback, one process per member.
//
//	go build -o /tmp/ringbench ./bench/ringbench && /tmp/ringbench -members 2 -bytes 4096,16777216
//
// It starts itself once per member and prints one JSON object per size and packing, with the bus bandwidth that
// bench/peers/gloo.py prints for Gloo: run the two in turns on a machine that is doing nothing else, and divide.
//
// bench/ringbench/hosts.sh puts each member into a network of its own, with or without a limit on their links.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/torctrain/torc/allreduce"
	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/trust"
	"github.com/torctrain/torc/internal/view"
)

type options struct {
	rank, members, rounds int
	bytes, pack, profile  string
	local                 bool
	tls                   bool
	listen, enter         string
	identities            string // directory of the members' certificates, with tls
}

func main() {
	var o options
	flag.IntVar(&o.members, "members", 2, "processes")
	flag.IntVar(&o.rank, "rank", -1, "used by the program itself")
	flag.IntVar(&o.rounds, "rounds", 15, "sums per size; 20 times as many up to 64 KiB")
	flag.StringVar(&o.bytes, "bytes", "4096,1048576,16777216,67108864", "lengths of the vector in bytes")
	flag.StringVar(&o.pack, "pack", "false,true", "with and without packing")
	flag.BoolVar(&o.local, "local", true, "unix sockets between members, as nodes on one machine use; false is TCP")
	flag.BoolVar(&o.tls, "tls", false, "mTLS between members, as nodes on different machines use; wants -local=false")
	flag.StringVar(&o.listen, "listen", "127.0.0.1", "IP addresses of the members, comma-separated; the last is that of all further ones")
	flag.StringVar(&o.enter, "enter", "", "processes whose networks the members enter, by id and comma-separated; wants root and nsenter")
	flag.StringVar(&o.identities, "identities", "", "used by the program itself")
	flag.StringVar(&o.profile, "profile", "", "write the CPU profile of rank 0 there")
	flag.Parse()
	run := o.parent
	if o.rank >= 0 {
		run = o.member
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ringbench:", err)
		os.Exit(1)
	}
}

// parent starts the members, tells each the addresses of all and waits for them.
func (o options) parent() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	args := slices.Clone(os.Args[1:])
	if o.tls {
		if o.identities, err = os.MkdirTemp("", "ringbench-*"); err != nil {
			return err
		}
		defer os.RemoveAll(o.identities)
		if err := o.certify(); err != nil {
			return err
		}
		args = append(args, "-identities", o.identities)
	}
	var addrs []string
	var stdins []io.WriteCloser
	var cmds []*exec.Cmd
	for rank := range o.members {
		cmd := exec.Command(exe, append(slices.Clone(args), "-rank", strconv.Itoa(rank))...)
		if o.enter != "" {
			cmd = exec.Command("nsenter", append([]string{"--target", nth(o.enter, rank), "--net", "--", exe}, cmd.Args[1:]...)...)
		}
		cmd.Stdout = os.Stdout
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		stderr, err := cmd.StderrPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		r := bufio.NewReader(stderr)
		addr, err := r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("rank %d: read address: %w", rank, err)
		}
		go func() { _, _ = io.Copy(os.Stderr, r) }()
		addrs, stdins, cmds = append(addrs, strings.TrimSpace(addr)), append(stdins, stdin), append(cmds, cmd)
	}
	for _, w := range stdins {
		if _, err := fmt.Fprintln(w, strings.Join(addrs, " ")); err != nil {
			return err
		}
	}
	for rank, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("rank %d: %w", rank, err)
		}
	}
	return nil
}

// member is one process of the ring.
func (o options) member() error {
	lis, err := net.Listen("tcp", net.JoinHostPort(nth(o.listen, o.rank), "0"))
	if err != nil {
		return err
	}
	options, dial := allreduce.ServerOptions(), dial
	if o.tls {
		own, err := trust.Load(o.identity(o.rank))
		if err != nil {
			return err
		}
		wallet, err := own.Wallet()
		if err != nil {
			return err
		}
		options = append(options, cluster.Guard(wallet, cluster.Rules{"/torc.v1.Ring/Link": {trust.Node}})...)
		dial = func(_ context.Context, addr string) (*grpc.ClientConn, error) {
			return cluster.Dial(addr, append(cluster.Secure(wallet, cluster.AcceptMember), allreduce.DialOptions()...)...)
		}
	}
	server, g := allreduce.NewServer(), grpc.NewServer(options...)
	server.Register(g)
	go func() { _ = g.Serve(lis) }()
	if o.local {
		lis, err := allreduce.ListenLocal(lis.Addr().String())
		if err != nil {
			return err
		}
		go func() { _ = g.Serve(lis) }()
	}
	defer g.Stop()
	fmt.Fprintln(os.Stderr, lis.Addr())
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return err
	}
	addrs := strings.Fields(line)
	if o.profile != "" && o.rank == 0 {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for i, pack := range strings.Split(o.pack, ",") {
		c := allreduce.Default()
		c.Pack, c.HopTimeout = pack == "true", time.Minute
		id := allreduce.Identity{Run: "bench", View: 1, Ring: uint32(i), Rank: o.rank, Members: o.members}
		for r := range o.members {
			id.Order = append(id.Order, r)
		}
		ring := allreduce.NewRing(id, server.Mesh(id, addrs, dial), c)
		for _, s := range strings.Split(o.bytes, ",") {
			bytes, err := strconv.Atoi(s)
			if err != nil {
				return err
			}
			if err := o.measure(ring, bytes, c.Pack); err != nil {
				return err
			}
		}
		ring.Close()
	}
	return nil
}

// nth is an element of a comma-separated list, or its last.
func nth(list string, i int) string {
	all := strings.Split(list, ",")
	return all[min(i, len(all)-1)]
}

// certify makes a certificate for each member.
func (o options) certify() error {
	a, err := trust.Open(trust.Config{Dir: o.identities})
	if err != nil {
		return err
	}
	for rank := range o.members {
		key, err := trust.NewKey()
		if err != nil {
			return err
		}
		csr, err := trust.Request(key)
		if err != nil {
			return err
		}
		leaf, err := a.Join(trust.JoinRequest{Name: "rank" + strconv.Itoa(rank), CSR: csr}, true)
		if err != nil {
			return err
		}
		if err := (&trust.Bundle{Key: key, Leaf: leaf, CA: a.CA()}).Save(o.identity(rank)); err != nil {
			return err
		}
	}
	return nil
}

func (o options) identity(rank int) string {
	return filepath.Join(o.identities, strconv.Itoa(rank)+".pem")
}

func dial(_ context.Context, addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient(addr, append(allreduce.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

// result is one line of output.
type result struct {
	What     string  `json:"what"` // torc, or torc with mTLS
	Pack     bool    `json:"pack"`
	Members  int     `json:"members"`
	Bytes    int     `json:"bytes"`
	N        int     `json:"n"`
	MedianS  float64 `json:"median_s"`
	MinS     float64 `json:"min_s"`
	MaxS     float64 `json:"max_s"`
	BusGBs   float64 `json:"bus_gbs"`   // 2·(P−1)/P·bytes of values over the median
	WireRate float64 `json:"wire_rate"` // bytes written over those of values, 2·(P−1)/P·bytes
	CPUS     float64 `json:"cpu_s"`     // processor time of member 0 per sum, the median
	CPUMinS  float64 `json:"cpu_min_s"` // and the least: what compares when others use the machine
}

func (o options) measure(ring *allreduce.Ring, bytes int, pack bool) error {
	own, total := gradient(bytes/4, uint64(o.rank)), make([]int32, bytes/4)
	side := allreduce.NewSide(200, 32)
	rounds := o.rounds
	if bytes <= 1<<16 {
		rounds *= 20
	}
	ctx := context.Background()
	var times, cpu []float64
	var sent int64
	for round := range rounds + 3 {
		side.Reset()
		at := view.Position{View: 1, Step: uint64(round)}
		if _, err := ring.Gather(ctx, at, allreduce.Fence{}, nil); err != nil { // a barrier
			return err
		}
		before, used, start := ring.BytesSent(), processorTime(), time.Now()
		if err := ring.Sum(ctx, at, allreduce.Fence{}, own, total, side, nil); err != nil {
			return err
		}
		if round >= 3 { // after warming up
			times = append(times, time.Since(start).Seconds())
			sent += ring.BytesSent() - before
			cpu = append(cpu, (processorTime() - used).Seconds())
		}
	}
	if o.rank != 0 {
		return nil
	}
	what := "torc"
	if o.tls {
		what = "torc with mTLS"
	}
	slices.Sort(times)
	slices.Sort(cpu)
	bus := 2 * float64(o.members-1) / float64(o.members) * float64(bytes)
	median := times[len(times)/2]
	return json.NewEncoder(os.Stdout).Encode(result{
		what, pack, o.members, bytes, rounds, median, times[0], times[len(times)-1],
		bus / median / 1e9, float64(sent) / float64(rounds) / bus, cpu[len(cpu)/2], cpu[0],
	})
}

func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// gradient draws values like those of a quantised gradient: heavy tails, rows of different size, sums of 24 bits at most.
func gradient(n int, seed uint64) []int32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	v := make([]int32, n)
	row := 1.0
	for i := range v {
		if i%576 == 0 {
			row = math.Exp(rng.NormFloat64())
		}
		chi := 0.0
		for range 3 {
			x := rng.NormFloat64()
			chi += x * x
		}
		t := rng.NormFloat64() / math.Sqrt(chi/3) * row
		v[i] = int32(max(-1, min(1, t/400)) * (1 << 23))
	}
	return v
}

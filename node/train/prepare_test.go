package train

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/model/cpu"
)

// library is a coordinator that serves files by hash, in chunks of 1000 bytes, and counts.
type library struct {
	pb.UnimplementedControlServer
	files   map[string][]byte // by hash
	fetched int
}

func (l *library) Fetch(req *pb.FetchRequest, stream grpc.ServerStreamingServer[pb.Chunk]) error {
	data, ok := l.files[string(req.Sha256)]
	if !ok {
		return status.Error(codes.NotFound, "no such file")
	}
	l.fetched++
	for len(data) > 0 {
		n := min(1000, len(data))
		if err := stream.Send(&pb.Chunk{Data: data[:n]}); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// borrower is a member with an empty home whose coordinator is l.
func borrower(t *testing.T, l *library) *Member {
	t.Helper()
	listener, server := bufconn.Listen(1<<20), grpc.NewServer()
	pb.RegisterControlServer(server, l)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return NewMember(Config{
		Home: t.TempDir(), Log: slog.New(slog.DiscardHandler), Coordinator: func() string { return "passthrough:///library" },
		Dial: func(addr string) (*grpc.ClientConn, error) {
			return grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		},
	})
}

func TestMembersFindFilesByContentAndFetchWhatTheyLack(t *testing.T) {
	weights, train := bytes.Repeat([]byte("w"), 4321), []byte("{}\n")
	sum, trainSum := sha256.Sum256(weights), sha256.Sum256(train)
	l := &library{files: map[string][]byte{string(sum[:]): weights}}
	m := borrower(t, l)
	here := filepath.Join(t.TempDir(), "train.jsonl")
	if err := os.WriteFile(here, train, 0o644); err != nil {
		t.Fatal(err)
	}
	list := []*pb.File{
		{Sha256: sum[:], Size: int64(len(weights)), Path: "/elsewhere/model.safetensors", Role: "model/model.safetensors"},
		{Sha256: trainSum[:], Size: int64(len(train)), Path: here, Role: "train/0"},
	}
	for range 2 { // the second time from the cache
		got, err := m.gather(t.Context(), list, nil)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(got.model["model.safetensors"])
		if err != nil || !bytes.Equal(data, weights) {
			t.Errorf("model file has %d bytes, %v; want the %d of the coordinator's", len(data), err, len(weights))
		}
		if len(got.train) != 1 || got.train[0].Path != here || got.train[0].Name != here {
			t.Errorf("training files are %v, want the one at its hint", got.train)
		}
	}
	if l.fetched != 1 {
		t.Errorf("fetched %d times, want 1", l.fetched)
	}
}

func TestFetchedContentIsChecked(t *testing.T) {
	sum := sha256.Sum256([]byte("right"))
	l := &library{files: map[string][]byte{string(sum[:]): []byte("wrong")}}
	m := borrower(t, l)
	_, err := m.gather(t.Context(), []*pb.File{{Sha256: sum[:], Size: 5, Path: "/elsewhere/config.json", Role: "model/config.json"}}, nil)
	if err == nil || !strings.Contains(err.Error(), "model/config.json") || !strings.Contains(err.Error(), "content") {
		t.Errorf("gather took wrong content: %v", err)
	}
	gone := sha256.Sum256([]byte("gone"))
	_, err = m.gather(t.Context(), []*pb.File{{Sha256: gone[:], Size: 4, Path: "/elsewhere/val.jsonl", Role: "validation/0"}}, nil)
	if err == nil || !strings.Contains(err.Error(), "validation/0 (/elsewhere/val.jsonl)") {
		t.Errorf("gather without the file: %v", err)
	}
}

// A node keeps the decompositions with which a run begins, and believes none that was damaged.
func TestPreparedFactorsComeFromTheCacheOrAnew(t *testing.T) {
	s, err := spec.Parse("run.yaml", []byte("{model: base, data: {train: [arithmetic/train.jsonl]}, method: {name: pissa, rank: 2}, steps: 1}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := spec.Resolve(s, "../../examples")
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	order := &pb.Assignment{Run: "run", Spec: text}
	for _, f := range r.Files {
		order.Files = append(order.Files, &pb.File{Sha256: f.SHA256[:], Size: f.Size, Path: f.Path, Role: f.Role})
	}
	m := borrower(t, &library{})
	for range 2 {
		k, err := cpu.New(1, cpu.Auto)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		m.cfg.Kernels, m.cfg.Workers = k, append(m.cfg.Workers, k)
	}
	start := func() []float32 {
		t.Helper()
		job, err := m.prepare(t.Context(), order, nil)
		if err != nil {
			t.Fatal(err)
		}
		return job.Method.Start(job.Weights)
	}
	want := start()
	kept, err := filepath.Glob(filepath.Join(m.cfg.Home, "cache", "factors", "*", "*"))
	if err != nil || len(kept) != 42 {
		t.Fatalf("%d decompositions are kept (%v), want one for each of 42 projections", len(kept), err)
	}
	value, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(value)
	damaged[5] ^= 1
	if err := os.WriteFile(kept[0], damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(start(), want) {
		t.Error("with a damaged cache the run begins elsewhere")
	}
	if mended, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(mended, value) {
		t.Errorf("the damaged decomposition was not computed again (%v)", err)
	}
}

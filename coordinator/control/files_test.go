package control

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/torctrain/torc/internal/pb"
)

// Two runs that are launched at the same time wait for the same file: it is sent once, whoever is faster, and the other launch
// is told that it is there.
func TestAFileThatTwoLaunchesBringIsNeededOnce(t *testing.T) {
	s := serve(t, t.TempDir())
	data := bytes.Repeat([]byte("weights"), 1000)
	sum := sha256.Sum256(data)
	wantCode(t, s.send(sum[:], data), codes.FailedPrecondition, "no run waits for file")
	r := resolved(t, t.TempDir())
	r.Files = append(r.Files[:1], r.Files[0])
	r.Files[1].SHA256, r.Files[1].Size, r.Files[1].Path = sum, int64(len(data)), "/nowhere"
	for range 2 {
		if missing := s.launch(r, 0).Missing; len(missing) != 1 || !bytes.Equal(missing[0], sum[:]) {
			t.Fatalf("missing are %x", missing)
		}
	}
	for range 2 {
		if err := s.send(sum[:], data); err != nil {
			t.Error(err)
		}
	}
}

// A run that waits for files is given up when none comes for a while, whatever was sent for another run before.
func TestARunWhoseFilesDoNotComeIsGivenUp(t *testing.T) {
	p := newPlay(t)
	p.play("launch r missing=1")
	file := p.core.find("r").spec.Files[0].SHA256
	p.core.offering(p.now, file, 1) // for r
	p.play("launch s missing=2")    // which lacks the same file and another
	p.now = p.now.Add(delivery)
	p.core.tick(p.now)
	if s := p.core.find("s"); s.over() {
		t.Fatalf("run s is %s while a file of its is on its way", s.why)
	}
	p.core.offering(p.now, file, -1)
	p.core.arrived(p.now, file)
	p.now = p.now.Add(delivery - time.Second)
	p.core.tick(p.now)
	if s := p.core.find("s"); s.over() {
		t.Fatalf("run s is %s too early", s.why)
	}
	p.now = p.now.Add(time.Second)
	p.core.tick(p.now)
	if s := p.core.find("s"); s.state != pb.RunState_RUN_FAILED {
		t.Errorf("run s is %s: %s", stateName(s.state), s.why)
	}
	if n := len(p.core.uploads); n != 0 {
		t.Errorf("%d uploads are under way", n)
	}
}

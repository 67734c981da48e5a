package allreduce

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type callerKey struct{}

// as is a call with the certificate of a member, or with none if name is empty.
func as(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, callerKey{}, name)
}

// vouching is a server whose callers are named by their contexts.
func vouching() *Server {
	s := NewServer()
	s.Who = func(ctx context.Context) (string, bool) {
		name, _ := ctx.Value(callerKey{}).(string)
		return name, name != ""
	}
	return s
}

// asks is the hello of a link to run r, view 7.
func asks(ring, from uint32) *header {
	return &header{kind: kindHello, run: hashRun("r"), view: 7, ring: ring, from: from}
}

func wantRefusal(t *testing.T, err error, code codes.Code, says string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want %v with %q", err, code, says)
	}
}

func TestALinkIsTakenFromItsOwnSeatOnly(t *testing.T) {
	s := vouching()
	seat := s.Sit("r", 7, []string{"ada", "bob"})
	defer seat.Leave()
	if err := s.vouch(as(t.Context(), "bob"), asks(1, 1)); err != nil {
		t.Errorf("bob in his seat: %v", err)
	}
	if err := s.vouch(as(t.Context(), ""), asks(1, 0)); err != nil {
		t.Errorf("a process of this user: %v", err)
	}
	wantRefusal(t, s.vouch(as(t.Context(), "bob"), asks(1, 0)), codes.PermissionDenied, `the view seats node "ada" there`)
	wantRefusal(t, s.vouch(as(t.Context(), "bob"), asks(1, 2)), codes.PermissionDenied, "the view has 2 members")
	wantRefusal(t, s.vouch(as(t.Context(), "bob"), asks(1, 1<<32-1)), codes.PermissionDenied, "the view has 2 members")
	wantRefusal(t, s.vouch(as(t.Context(), "eve"), asks(1, 1)), codes.PermissionDenied, `the view seats node "bob" there`)
}

// A link may come before its view. Only those that are entitled to their seats say at which ring the members are.
func TestALinkWaitsForItsViewAndIsCheckedThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vouching()
		bob, eve := make(chan error, 1), make(chan error, 1)
		go func() { bob <- s.vouch(as(t.Context(), "bob"), asks(3, 1)) }()
		go func() { eve <- s.vouch(as(t.Context(), "eve"), asks(1000, 1)) }()
		synctest.Wait()
		defer s.Sit("another run", 7, []string{"ada", "eve"}).Leave()
		synctest.Wait()
		seat := s.Sit("r", 7, []string{"ada", "bob"})
		defer seat.Leave()
		if ring, _ := seat.Next(); ring != 3 {
			t.Errorf("the first ring is %d, want bob's 3", ring)
		}
		if err := <-bob; err != nil {
			t.Errorf("bob: %v", err)
		}
		wantRefusal(t, <-eve, codes.PermissionDenied, `the view seats node "bob" there`)
		if len(s.claims) != 0 {
			t.Errorf("%d links are remembered that wait no more", len(s.claims))
		}
	})
}

func TestLinksWaitNotForEverAndNotInAnyNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vouching()
		waiting := make(chan error, maxClaims)
		for range maxClaims {
			go func() { waiting <- s.vouch(as(t.Context(), "eve"), asks(1, 1)) }()
		}
		synctest.Wait()
		wantRefusal(t, s.vouch(as(t.Context(), "eve"), asks(1, 1)), codes.ResourceExhausted, `16 links of node "eve" wait`)
		bob := make(chan error, 1)
		go func() { bob <- s.vouch(as(t.Context(), "bob"), asks(1, 1)) }() // is not kept out by her
		for range maxClaims {
			wantRefusal(t, <-waiting, codes.DeadlineExceeded, "did not come to view")
		}
		wantRefusal(t, <-bob, codes.DeadlineExceeded, "did not come to view")
	})
}

package config

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestExitCodesFollowTheKind(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
		text string
	}{
		{nil, 0, ""},
		{errors.New("disk is full"), 1, "disk is full"},
		{Usagef("--local %d", 0), 2, "--local 0"},
		{fmt.Errorf("launch: %w", Kind(ErrUsage, errors.New("no such key"))), 2, "launch: no such key"},
		{Kind(ErrUnreachable, errors.New("nobody")), 3, "nobody"},
		{status.Error(codes.Unavailable, "connection refused"), 3, "connection refused"},
		{
			status.Error(codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial tcp [::1]:7170: connect: connection refused"`),
			3, "dial tcp [::1]:7170: connect: connection refused",
		},
		{
			fmt.Errorf("ask: %w", status.Error(codes.Unavailable, `last connection error: connection error: desc = "transport: authentication handshake failed: no \"x\""; gone`)),
			3, `ask: last connection error: authentication handshake failed: no "x"; gone`,
		},
		{Kind(ErrRefused, errors.New("other version")), 4, "other version"},
		{errors.Join(status.Error(codes.PermissionDenied, "name is taken"), nil), 4, "name is taken"},
		{fmt.Errorf("join: %w", status.Error(codes.InvalidArgument, "name")), 2, "join: name"},
		{context.Canceled, 130, "context canceled"},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("ExitCode(%v) = %d, want %d", c.err, got, c.want)
		}
		if c.err == nil {
			continue
		}
		if got := Text(c.err); got != c.text {
			t.Errorf("Text(%v) = %q, want %q", c.err, got, c.text)
		}
	}
}

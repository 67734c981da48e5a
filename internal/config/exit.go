package config

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Exit codes of both binaries; scripts rely on them.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitUsage       = 2 // bad usage or spec
	ExitUnreachable = 3 // cannot reach the cluster
	ExitRefused     = 4 // identity, class or version
	ExitInterrupted = 130
)

// Kinds of errors that have an exit code of their own; wrap them with Kind.
var (
	ErrUsage       = errors.New("bad usage")
	ErrUnreachable = errors.New("cannot reach the cluster")
	ErrRefused     = errors.New("refused")
)

// kindError is an error of one of the kinds above whose text is the error's alone.
type kindError struct {
	error
	kind error
}

func (e kindError) Is(target error) bool { return target == e.kind }
func (e kindError) Unwrap() error        { return e.error }

// Kind marks err as one of the kinds above without changing its text. A nil err stays nil.
func Kind(kind, err error) error {
	if err == nil {
		return nil
	}
	return kindError{err, kind}
}

// Usagef is a usage error.
func Usagef(format string, args ...any) error { return Kind(ErrUsage, fmt.Errorf(format, args...)) }

// ExitCode is the exit code for the error with which a command ended.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.Is(err, ErrUsage):
		return ExitUsage
	case errors.Is(err, ErrUnreachable):
		return ExitUnreachable
	case errors.Is(err, ErrRefused):
		return ExitRefused
	}
	switch status.Code(err) { // the kind of an error that crossed the wire
	case codes.InvalidArgument:
		return ExitUsage
	case codes.Unavailable, codes.DeadlineExceeded:
		return ExitUnreachable
	case codes.PermissionDenied, codes.Unauthenticated:
		return ExitRefused
	case codes.Canceled:
		return ExitInterrupted
	}
	return ExitFailed
}

// wire is what gRPC says around the reason for which there is no connection; the reason is quoted as in Go.
var wire = regexp.MustCompile(`connection error: desc = "(?:transport: )?(?:Error while dialing: )?((?:[^"\\]|\\.)*)"`)

// Text is err for a person: an error that crossed the wire without its transport's wording, a full disk with what to do.
func Text(err error) string {
	text := err.Error()
	var crossed interface {
		error
		GRPCStatus() *status.Status
	}
	if errors.As(err, &crossed) {
		text = strings.ReplaceAll(text, crossed.Error(), crossed.GRPCStatus().Message())
	}
	text = wire.ReplaceAllStringFunc(text, func(wrapped string) string {
		reason := wire.FindStringSubmatch(wrapped)[1]
		if plain, err := strconv.Unquote(`"` + reason + `"`); err == nil {
			return plain
		}
		return reason
	})
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			text += ": make room there, or write elsewhere (--output, --home)"
		}
	}
	return text
}

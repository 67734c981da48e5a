package sim

import (
	"context"
	"errors"
	"log/slog"

	"github.com/torctrain/torc/node/train"
)

// ear is a handler that also tells what it hears.
type ear struct {
	slog.Handler
	hears func(slog.Record)
}

// Enabled implements slog.Handler: it hears everything.
func (e ear) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (e ear) Handle(ctx context.Context, r slog.Record) error {
	e.hears(r)
	if !e.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return e.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (e ear) WithAttrs(attrs []slog.Attr) slog.Handler {
	return ear{e.Handler.WithAttrs(attrs), e.hears}
}

// WithGroup implements slog.Handler.
func (e ear) WithGroup(name string) slog.Handler { return ear{e.Handler.WithGroup(name), e.hears} }

// overheard takes note of what a process says about its State.
func (p *process) overheard(r slog.Record) {
	switch r.Message {
	case "entered view":
		p.rank = attr(r, "rank").Int64()
		p.c.check.sits(p, attr(r, "number").Uint64())
	case "left view":
		p.c.check.sits(p, 0)
	case "has a State of the other members", "goes on from a checkpoint":
		p.committed.Store(attr(r, "step").Uint64())
		p.c.check.copies(p)
	case "starts over from a State of others":
		var stray *train.StrayError
		if err, ok := attr(r, "why").Any().(error); ok && errors.As(err, &stray) {
			for _, rank := range stray.Diverged {
				if int64(rank) == p.rank {
					p.c.check.outvoted(p)
				}
			}
		}
	}
}

func attr(r slog.Record, key string) (v slog.Value) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == key {
			v = a.Value
		}
		return a.Key != key
	})
	return v
}

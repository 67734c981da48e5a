package train

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/torctrain/torc/internal/pb"
)

// lines are log lines on their way to the coordinator. They have a lock of their own: whoever holds another may log.
type lines struct {
	mu   sync.Mutex // guards list
	list []*pb.LogLine
}

// maxLines bounds the lines kept for the next beat; the node's own log has them all.
const maxLines = 256

// maxText bounds a text in a beat. The coordinator refuses a beat with one that is much longer.
const maxText = 8 << 10

// carried is what a beat can carry of a text: its beginning, without bytes that are no UTF-8, such as those of a file's name. A
// beat with anything else could not be sent, nor could those after it, which would have it too.
func carried(text string) string {
	if len(text) > maxText {
		text = text[:maxText] + " …"
	}
	return strings.ToValidUTF8(text, "?")
}

func (l *lines) add(line *pb.LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) < maxLines {
		l.list = append(l.list, line)
	}
}

func (l *lines) take() []*pb.LogLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list
	l.list = nil
	return list
}

// unsent takes back lines that did not leave.
func (l *lines) unsent(list []*pb.LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(list, l.list...)
	l.list = l.list[:min(len(l.list), maxLines)]
}

// forward is a log handler that also sends what a person should see to the coordinator.
type forward struct {
	slog.Handler
	to    *lines
	node  string
	attrs []slog.Attr
}

// Handle implements slog.Handler.
func (f *forward) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		text := r.Message
		for _, a := range f.attrs {
			text += " " + a.String()
		}
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		f.to.add(&pb.LogLine{UnixNano: r.Time.UnixNano(), Node: f.node, Level: r.Level.String(), Text: carried(text)})
	}
	return f.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (f *forward) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &forward{f.Handler.WithAttrs(attrs), f.to, f.node, append(f.attrs[:len(f.attrs):len(f.attrs)], attrs...)}
}

// WithGroup implements slog.Handler.
func (f *forward) WithGroup(name string) slog.Handler {
	return &forward{f.Handler.WithGroup(name), f.to, f.node, f.attrs}
}

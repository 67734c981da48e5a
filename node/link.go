package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
)

// The trial of a link: a plain TCP connection on which the server greets; the client then asks for one thing.
//
//	server  "torc link 1\n"
//	client  'p' and a byte        server returns the byte; again until the client closes
//	client  's' and bytes         server counts until the client ends its side, and says "done\n"
//	client  'r'                   server sends until the client closes, ten seconds at most
const (
	linkGreeting  = "torc link 1\n"
	linkDone      = "done\n"
	linkTrial     = time.Second // in each direction
	linkMost      = 10 * time.Second
	linkPings     = 20
	linkBuffer    = 256 << 10
	linkAtOnce    = 4 // trials that a server serves at a time
	linkGreetTime = 2 * time.Second
)

// errNoBench says that whoever answers does not measure links.
var errNoBench = errors.New("node: nobody measures links there")

// linkSpeed is what a link gave.
type linkSpeed struct {
	There, Back float64 // bytes per second
	RoundTrip   time.Duration
}

// serveLinks answers trials at l until ctx is done; it closes l.
func serveLinks(ctx context.Context, l net.Listener, log *slog.Logger) error {
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	atOnce := make(chan struct{}, linkAtOnce)
	g.Go(func() error {
		for {
			conn, err := l.Accept()
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			select {
			case atOnce <- struct{}{}:
			default:
				_ = conn.Close() // enough of them
				continue
			}
			g.Go(func() error {
				defer func() { <-atOnce }()
				if err := answerLink(ctx, conn.(*net.TCPConn)); err != nil && ctx.Err() == nil {
					log.Warn("trial of a link ended early", "peer", conn.RemoteAddr(), "err", err)
				}
				return nil
			})
		}
	})
	return g.Wait()
}

// answerLink serves one trial.
func answerLink(ctx context.Context, conn *net.TCPConn) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(linkMost)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, linkGreeting); err != nil {
		return err
	}
	var what [1]byte
	if _, err := io.ReadFull(conn, what[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // wanted to know only who answers
		}
		return err
	}
	switch what[0] {
	case 'p':
		_, err := io.Copy(conn, conn)
		return err
	case 's':
		if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{conn}, make([]byte, linkBuffer)); err != nil {
			return err
		}
		_, err := io.WriteString(conn, linkDone)
		return err
	case 'r':
		block := make([]byte, linkBuffer)
		for {
			if _, err := conn.Write(block); err != nil {
				return nil // the client has seen enough
			}
		}
	}
	return fmt.Errorf("trial %q is unknown: install the same release on both machines", what[0])
}

// measureLink tries the link to a server of links: so long in each direction.
func measureLink(ctx context.Context, addr string, each time.Duration) (linkSpeed, error) {
	var s linkSpeed
	err := trial(ctx, addr, 'p', func(conn *net.TCPConn) error {
		var b [1]byte
		for i := range linkPings {
			began := time.Now()
			if _, err := conn.Write(b[:]); err != nil {
				return err
			}
			if _, err := io.ReadFull(conn, b[:]); err != nil {
				return err
			}
			if took := time.Since(began); i == 0 || took < s.RoundTrip {
				s.RoundTrip = took
			}
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	err = trial(ctx, addr, 's', func(conn *net.TCPConn) (err error) {
		s.There, err = flood(conn, each)
		return err
	})
	if err != nil {
		return s, err
	}
	return s, trial(ctx, addr, 'r', func(conn *net.TCPConn) (err error) {
		s.Back, err = drink(conn, each)
		return err
	})
}

// trial connects, checks the greeting and asks for one thing.
func trial(ctx context.Context, addr string, what byte, do func(*net.TCPConn) error) error {
	c, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	conn := c.(*net.TCPConn)
	if err := conn.SetDeadline(time.Now().Add(linkGreetTime)); err != nil {
		return err
	}
	greeting := make([]byte, len(linkGreeting))
	if _, err := io.ReadFull(conn, greeting); err != nil || string(greeting) != linkGreeting {
		return errNoBench
	}
	if err := conn.SetDeadline(time.Now().Add(linkMost)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{what}); err != nil {
		return err
	}
	return do(conn)
}

// flood sends for so long and says how fast the other side took it.
func flood(conn *net.TCPConn, each time.Duration) (float64, error) {
	block, sent, began := make([]byte, linkBuffer), 0, time.Now()
	for time.Since(began) < each {
		n, err := conn.Write(block)
		sent += n
		if err != nil {
			return 0, err
		}
	}
	if err := conn.CloseWrite(); err != nil {
		return 0, err
	}
	done := make([]byte, len(linkDone)) // what is under way has arrived then
	if _, err := io.ReadFull(conn, done); err != nil {
		return 0, err
	}
	return float64(sent) / time.Since(began).Seconds(), nil
}

// drink receives for so long and says how fast it came.
func drink(conn *net.TCPConn, each time.Duration) (float64, error) {
	block, got, began := make([]byte, linkBuffer), 0, time.Now()
	for time.Since(began) < each {
		n, err := conn.Read(block)
		got += n
		if err != nil {
			return 0, err
		}
	}
	return float64(got) / time.Since(began).Seconds(), nil
}

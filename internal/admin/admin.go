package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// Config says where to listen; an empty address opens nothing.
type Config struct {
	// Admin is the host:port of metrics and health.
	Admin string
	// Pprof is the host:port of profiles. The host must be a loopback address.
	Pprof string
}

// Validate refuses to show profiles to the network.
func (c Config) Validate() error {
	if c.Pprof == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Pprof)
	if err != nil {
		return fmt.Errorf("pprof address %q: use 127.0.0.1:PORT", c.Pprof)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("pprof address %q: profiles can show data and are for this machine alone: use 127.0.0.1:PORT", c.Pprof)
	}
	return nil
}

// Checks say how a process does; each must answer within a second.
type Checks struct {
	Alive func() error // nil: it works, or will by itself
	Ready func() error // nil: it can be used
}

// Registry returns a registry with what every process has: Go's and the operating system's figures and its version.
func Registry(program, version string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "torc_build_info", Help: "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"program": program, "version": version},
	})
	info.Set(1)
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info)
	return r
}

// Door is an open admin port. Serve must follow; it closes it.
type Door struct {
	servers   []*http.Server
	listeners []net.Listener
}

// Open opens the ports of c.
func Open(c Config, metrics prometheus.Gatherer, checks Checks, log *slog.Logger) (*Door, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d := &Door{}
	admin := http.NewServeMux()
	admin.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4}))
	admin.Handle("GET /healthz", answer(checks.Alive))
	admin.Handle("GET /readyz", answer(checks.Ready))
	profiles := http.NewServeMux()
	profiles.HandleFunc("/debug/pprof/", pprof.Index)
	profiles.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	profiles.HandleFunc("/debug/pprof/profile", pprof.Profile)
	profiles.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	profiles.HandleFunc("/debug/pprof/trace", pprof.Trace)
	for _, p := range []struct {
		what, addr string
		mux        *http.ServeMux
	}{{"metrics and health", c.Admin, admin}, {"profiles", c.Pprof, profiles}} {
		if p.addr == "" {
			continue
		}
		l, err := net.Listen("tcp", p.addr)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the port of %s: %w", p.what, err), d.Close())
		}
		log.Info(p.what+" are served", "addr", l.Addr().String())
		d.listeners = append(d.listeners, l)
		d.servers = append(d.servers, &http.Server{
			Handler: p.mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		})
	}
	return d, nil
}

// Addrs are where the ports are, in the order of Config, without those that were not asked for.
func (d *Door) Addrs() []string {
	var all []string
	for _, l := range d.listeners {
		all = append(all, l.Addr().String())
	}
	return all
}

// Close closes ports that are not served.
func (d *Door) Close() error {
	var errs []error
	for _, l := range d.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Serve answers until ctx is done.
func (d *Door) Serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range d.servers {
		g.Go(func() error {
			if err := s.Serve(d.listeners[i]); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			return s.Close()
		})
	}
	return g.Wait()
}

func answer(check func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if check != nil {
			if err := check(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = io.WriteString(w, "ok\n") // whoever asked may be gone
	})
}

// Logger logs to w as text for people, or as JSON, one object a line, for programs.
func Logger(w io.Writer, format string) (*slog.Logger, error) {
	switch format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	}
	return nil, fmt.Errorf("log format is %q: use text or json", format)
}

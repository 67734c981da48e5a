// Package admin is the door for those who look after a process: metrics, health and profiles, by plain HTTP, and how the
// process logs.
//
//	--admin ADDR   /metrics   Prometheus     --pprof 127.0.0.1:PORT   /debug/pprof/   profiles, for this machine alone
//	               /healthz   does it answer?
//	               /readyz    can it be used?
//
// Nothing that is told here is a secret and nothing can be changed; still the metrics port belongs on a network of one's
// own, because whoever reads it learns what is trained, how fast and by whom. Profiles can show data, so their port opens
// on loopback only.
//
// Start reading at admin.go.
package admin

// Package e2e tries torc as its users do: the built programs, as processes, on real files.
//
//	script_test.go   commands and what they say, one script per topic in testdata/script
//	cluster_test.go  coordinator and nodes as processes on loopback: digests, a lost member
//
// Oracle of every run: its digest equals that of the undisturbed one-member run.
package e2e

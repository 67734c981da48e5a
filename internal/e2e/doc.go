// Package e2e tries torc as its users do: the built programs, as processes, on real files.
//
//	script_test.go         commands and what they say, one script per topic in testdata/script
//	cluster_test.go        coordinator and nodes as processes on loopback: digests, a lost member
//	network_linux_test.go  hosts with networks of their own, for root: namespaces that end with the test
//	cut_linux_test.go      hosts cut off, links that carry one way or slowly
//	hosts_linux_test.go    the documented commands on three hosts, and what can be read on the wire between them
//
// Oracle of every run: its digest equals that of the undisturbed one-member run.
package e2e

package main

import (
	"strings"
	"testing"

	"github.com/torctrain/torc/internal/pb"
)

// Whoever upgrades nodes one by one sees how far he has come.
func TestNodesShowTheirRelease(t *testing.T) {
	nodes := []*pb.MemberInfo{{Node: &pb.NodeID{Name: "ada", Boot: 1}, Addr: "h:1", Class: "cpu-1", Version: "v1.2.3"}}
	var table strings.Builder
	if err := printNodes(&table, nodes); err != nil {
		t.Fatal(err)
	}
	head, row, _ := strings.Cut(table.String(), "\n")
	if at := strings.Index(head, "VERSION"); at < 0 || !strings.HasPrefix(row[min(at, len(row)):], "v1.2.3 ") {
		t.Errorf("nodes prints\n%s", table.String())
	}
	if got := nodeRows(nodes)[0]["version"]; got != "v1.2.3" {
		t.Errorf("version is %v in JSON", got)
	}
}

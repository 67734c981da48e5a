package main

import (
	"reflect"
	"strings"
	"testing"
)

const output = `goos: linux
pkg: github.com/torctrain/torc/allreduce
cpu: some
BenchmarkSum/ring-2         	     100	  30 ns/op	 400 MB/s
BenchmarkSum/vs-copy-2      	     100	  10 ns/op	 800 MB/s
BenchmarkSum/ring-2         	     100	  20 ns/op	 600 MB/s
BenchmarkSum/vs-copy-2      	     100	  10 ns/op	 800 MB/s
PASS
pkg: github.com/torctrain/torc/methods
BenchmarkTopK-2             	    5000	   7 ns/op
ok  	github.com/torctrain/torc/methods	1.2s
`

func TestFiguresAreMediansComparedWithTheirYardstick(t *testing.T) {
	all, err := parse(strings.NewReader(output))
	if err != nil {
		t.Fatal(err)
	}
	got := summarise(all)
	want := []Result{
		{Name: "allreduce.Sum/ring", Value: 25, Unit: "ns/op", N: 2, Spread: 0.4, Against: "allreduce.Sum/vs-copy", Ratio: 2.5},
		{Name: "allreduce.Sum/ring", Value: 500, Unit: "MB/s", N: 2, Spread: 0.4, Against: "allreduce.Sum/vs-copy", Ratio: 0.625},
		{Name: "allreduce.Sum/vs-copy", Value: 10, Unit: "ns/op", N: 2},
		{Name: "allreduce.Sum/vs-copy", Value: 800, Unit: "MB/s", N: 2},
		{Name: "methods.TopK", Value: 7, Unit: "ns/op", N: 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestAFigureThatIsNoNumberIsAnError(t *testing.T) {
	if _, err := parse(strings.NewReader("pkg: p\nBenchmarkX 10 fast ns/op\n")); err == nil {
		t.Error("no error")
	}
}

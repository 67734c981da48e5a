module github.com/torctrain/torc/tools/kernelgen

go 1.26.0

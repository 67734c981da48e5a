# torc: what one does with this tree. `make` alone lists the targets.
export GOAMD64 = v1
export CGO_ENABLED = 0
GO   ?= go
# Tools live in modules of their own, so that none of their dependencies reaches the binaries.
LINT  = $(GO) tool -modfile=tools/lint/go.mod
# Packages whose goroutines meet: tested a second time under the race detector, where a C compiler is at hand.
RACE  = ./allreduce/... ./coordinator/control/... ./node/train/... ./internal/cluster/... ./sharding/...

.DEFAULT_GOAL := help
.PHONY: help build demo base data test race check bench soak quality lint proto kernels

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

build: ## write bin/coordinator and bin/node, static
	$(GO) build -o bin/ ./coordinator ./node

demo: build ## three nodes teach the tiny base problems of three steps; ends with accuracy, model and digest
	examples/demo.sh

data: build ## write the demo's training and test problems again: the same bytes
	examples/data.sh

base: build ## make the tiny base model again: tokenizer, random weights, pretraining; the same bytes on any number of cores; TEXT=FILES makes another, see examples/base.sh
	examples/base.sh

test: ## run all tests, then the concurrent packages under the race detector
	$(GO) test -timeout 25m ./...
	@$(MAKE) --no-print-directory race

race: # part of test
	@if command -v "$$($(GO) env CC)" >/dev/null; then echo "$(GO) test -race $(RACE)"; CGO_ENABLED=1 $(GO) test -timeout 25m -race $(RACE); \
	else echo "no C compiler found: the race detector needs one, its tests are left out"; fi

.PHONY: sim
sim: ## play 10,000 schedules of faults on simulated clusters (one again: go test ./internal/sim -run Schedules -seed N -trace)
	$(GO) test ./internal/sim -count=1 -timeout=0 -run TestSchedules -schedules 10000

check: lint ## everything that needs no run: formatting, vet, staticcheck, architecture, arm64
	$(GO) vet ./...
	$(LINT) staticcheck ./...
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./...

lint: ## formatting, import rules, package docs, purity of pure files
	@dirty=$$($(LINT) gofumpt -l .); test -z "$$dirty" || { echo "run 'go tool -modfile=tools/lint/go.mod gofumpt -w' on:"; echo "$$dirty"; exit 1; }
	$(GO) test ./internal/lint

quality: build ## compare what the methods learn and forget, at one budget; goes on where it was broken off
	$(GO) run ./bench/quality

soak: build ## disturb a cluster for MINUTES (default 10) and compare its State with an undisturbed run's; METHOD=lift|sorsa
	$(GO) run ./bench/soak -minutes $(or $(MINUTES),10) -method $(or $(METHOD),lift)

bench: ## run every benchmark five times and write bench/results.json
	$(GO) run ./bench

proto: ## generate internal/pb from its .proto
	$(GO) tool -modfile=tools/buf/go.mod buf generate --template tools/buf/buf.gen.yaml internal/pb

kernels: ## generate the assembly of model/cpu
	$(GO) generate ./model/cpu

.PHONY: chart
chart: ## hold the Helm chart to its schema, its tests and those of Kubernetes
	tools/chart/check.sh

# The version that images and packages carry.
VERSION ?= $(shell sed -n 's/^appVersion: //p' helm/Chart.yaml)

.PHONY: image
image: ## build the container images without a container engine (build/*.oci.tar), and try them
	cd tools/image && $(GO) run . -source ../.. -out ../../build -version $(VERSION) && $(GO) test .

.PHONY: package man
package: ## write archives for machines without Kubernetes (build/torc-*.tar.gz), and try the one for this machine
	packaging/package.sh $(VERSION)
	packaging/check.sh $(VERSION)

man: ## write manual pages and shell completion (build/share)
	@for p in coordinator node; do $(GO) test -count=1 -run TestManualAndCompletion ./$$p -package $(CURDIR)/build; done

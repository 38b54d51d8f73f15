# The commands of this repository. `go run ./cmd/presence-bridge demo` and `go test ./...` need only Go;
# lint and vuln build their tools first, pinned in .ci/tools/go.mod.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 20s
BENCH    ?= .
BENCHPKG ?= ./...
BENCHFLAGS ?=
TESTFLAGS ?=
# The race detector multiplies memory: this many packages at a time.
RACEPROCS ?= 2
LDFLAGS  := -s -w -X presencebridge/cmd/internal/cli.version=$(VERSION)
BIN      := $(CURDIR)/bin
FOLDERS  := bridge cmd deploy graph monitors webhook

.DEFAULT_GOAL := help
.PHONY: help run build test race lint fmt bench scale microbench fuzz explore vuln deploy-check clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: ## the demo: a simulated tenant and PBX, with the real bridge between them
	$(GO) run ./cmd/presence-bridge demo

build: ## bin/presence-bridge, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/presence-bridge ./cmd/presence-bridge

test: ## all tests; those that need a server that is not installed say so and are skipped, unless CI=true
	$(GO) test $(TESTFLAGS) ./...

race: ## all tests under the race detector, the long ones shortened
	$(GO) test -race -short -timeout 30m -p $(RACEPROCS) $(TESTFLAGS) ./...

lint: $(BIN)/golangci-lint ## gofmt and golangci-lint
	@bad=$$(gofmt -l $(FOLDERS)); if [ -n "$$bad" ]; then echo "not gofmt-ed: $$bad" >&2; exit 1; fi
	$(BIN)/golangci-lint run ./...

fmt: $(BIN)/golangci-lint ## format the Go files
	$(BIN)/golangci-lint fmt ./...

bench: ## the targets, each as a ratio in one run on this machine (BENCHFLAGS for the program's own flags)
	$(GO) run ./cmd/internal/bench $(BENCHFLAGS)

scale: ## 100,000 members on 154 monitors, with times and numbers of Graph calls; takes about 12 minutes and 3 GB
	$(GO) test -tags scale -count=1 -timeout 30m -v -run '^TestScale$$' ./cmd/internal/scale

microbench: ## the packages' own benchmarks (BENCH=regexp, BENCHPKG=./package)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(TESTFLAGS) $(BENCHPKG)

fuzz: ## every fuzz target for FUZZTIME each
	@.ci/fuzz '$(FUZZTIME)'

explore: ## every interleaving of the engine's small worlds, larger than in the tests, and what each rule is for
	EXPLORE=large $(GO) test -count=1 -timeout 4h -v -run '^Test(Worlds|EveryRuleIsNeeded)$$' ./bridge/explore
	$(GO) test -count=1 -timeout 1h -run '^TestManyMembersUnderAnyPolicy$$' ./bridge -rapid.checks=10000

vuln: $(BIN)/govulncheck ## known vulnerabilities that the code reaches; needs the vulnerability database, so not part of CI
	$(BIN)/govulncheck ./...

deploy-check: ## the files under deploy/: rules, compose, unit and image against the program and one another
	$(GO) test -count=1 -run '^TestDeploy' -v ./cmd/internal/archtest

clean: ## remove bin/
	rm -rf $(BIN)

# The tools have a module of their own, so that what they need never reaches the program.
$(BIN)/golangci-lint: .ci/tools/go.mod .ci/tools/go.sum
	$(GO) build -C .ci/tools -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(BIN)/govulncheck: .ci/tools/go.mod .ci/tools/go.sum
	$(GO) build -C .ci/tools -o $@ golang.org/x/vuln/cmd/govulncheck

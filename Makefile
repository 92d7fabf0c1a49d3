# One target for each thing one does here; `make` alone lists them.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# sudo and fresh shells do not always know where Go is.
export PATH := $(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin
export CGO_ENABLED := 0
# As executables are built, so that tests find what they have in common compiled.
export GOFLAGS := -trimpath $(GOFLAGS)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/argosy-cluster/argosy/internal/version.Version=$(VERSION)
PREFIX  ?= /usr/local
# What is installed, below DESTDIR for those who make packages.
BINDIR  := $(DESTDIR)$(PREFIX)/bin
MANDIR  := $(DESTDIR)$(PREFIX)/share/man/man1
BASHDIR := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSHDIR  := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISHDIR := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
TOOL    := go tool -modfile=tools/go.mod

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/argosy, bin/argosyd, bin/argosy-witness and bin/argosy-guard
	@go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: man
man: build ## write the manual pages, .cache/man/*.1
	@rm -rf .cache/man
	@bin/argosy man .cache/man

.PHONY: install
install: man ## install the executables, manual pages and shells' completions below PREFIX (/usr/local)
	@install -d '$(BINDIR)' '$(MANDIR)' '$(BASHDIR)' '$(ZSHDIR)' '$(FISHDIR)'
	@install -m 755 bin/argosy bin/argosyd bin/argosy-witness bin/argosy-guard '$(BINDIR)'
	@install -m 644 .cache/man/*.1 '$(MANDIR)'
	@for shell in bash zsh fish; do bin/argosy completion $$shell >.cache/completion.$$shell; done
	@install -m 644 .cache/completion.bash '$(BASHDIR)/argosy'
	@install -m 644 .cache/completion.zsh '$(ZSHDIR)/_argosy'
	@install -m 644 .cache/completion.fish '$(FISHDIR)/argosy.fish'
	@echo 'argosy, argosyd, argosy-witness and argosy-guard are installed in $(BINDIR)'

.PHONY: uninstall
uninstall: ## remove what install installed, and nothing that argosy keeps
	@rm -f '$(BINDIR)/argosy' '$(BINDIR)/argosyd' '$(BINDIR)/argosy-witness' '$(BINDIR)/argosy-guard' '$(MANDIR)'/argosy.1 '$(MANDIR)'/argosyd.1 '$(MANDIR)'/argosy-*.1 '$(BASHDIR)/argosy' '$(ZSHDIR)/_argosy' '$(FISHDIR)/argosy.fish'

.PHONY: demo
demo: ## five LAMP stacks and two balancers on three machines, from nothing (root)
	@scripts/demo.sh up

.PHONY: demo-down
demo-down: ## remove every trace of the demo (root)
	@scripts/demo.sh down

.PHONY: install-deps
install-deps: ## install the Debian packages that demo and tests need (root)
	@scripts/install-deps.sh

.PHONY: test
test: install-deps engine check unit e2e ## everything: checks, tests, end to end on machines in containers (root)

.PHONY: engine
engine: build ## start a Docker Engine if none answers (root)
	@bin/argosy cluster engine

.PHONY: check
check: ## formatting, vet, protocol, generated code
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go' | xargs -r ls -d 2>/dev/null | grep -v '\.pb\.go$$' || true)); \
		[ -z "$$out" ] || { echo "not formatted; run gofmt -w on:"; echo "$$out"; exit 1; }
	@go vet ./...
	@go vet -tags e2e ./test/...
	@go vet -tags vm ./test/vm/...
	@scripts/check-protocol.sh

.PHONY: unit
unit: ## all tests that need no machines, and a minute of simulation
	@go test -parallel 6 ./... # what is slow waits: for elections, leases, Engines
	@go test -count=1 ./internal/sim -run TestSim -simtime 60s

.PHONY: e2e
e2e: build ## end to end on three machines in containers (root); RUN=pattern chooses
	@go test -tags e2e -count=1 -timeout 35m -v $(if $(RUN),-run '$(RUN)') ./test/e2e -writer

.PHONY: robustness
robustness: build ## break three machines for MINUTES (60) while clients and a single writer work, and judge what they were told and the disk saw (root); SEED=n FAULT=pattern CLUSTER=name
	@go test -tags e2e -count=1 -timeout 0 -v -run TestRobustness ./test/e2e \
		-robustness $(or $(MINUTES),60)m -writer $(if $(SEED),-seed $(SEED)) $(if $(FAULT),-fault '$(FAULT)') $(if $(CLUSTER),-cluster $(CLUSTER)) -report '$(CURDIR)/.cache/robustness.txt'

.PHONY: faults
faults: build ## break the machine of a single writer for MINUTES (60), and judge what it wrote by what the disk saw (root); SEED=n CLUSTER=name
	@go test -tags e2e -count=1 -timeout 0 -v -run TestOneWriter ./test/e2e \
		-onewriter $(or $(MINUTES),60)m $(if $(SEED),-seed $(SEED)) $(if $(CLUSTER),-cluster $(CLUSTER)) -report '$(CURDIR)/.cache/faults.txt'

.PHONY: moves
moves: build ## move a replica with a shared volume ROUNDS (100) times by drains, and tell what that takes (root); CLUSTER=name
	@go test -tags e2e -count=1 -timeout 0 -v -run 'TestMoves$$' ./test/e2e -moves $(or $(ROUNDS),100) $(if $(CLUSTER),-cluster $(CLUSTER))

.PHONY: fleetctl
fleetctl: build ## try fleet's own client, built from its Go module, with the socket that speaks fleet's API (root); CLUSTER=name
	@scripts/fleetctl.sh .cache/fleetctl
	@go test -tags e2e -count=1 -timeout 20m -v -run 'TestUnits$$' ./test/e2e -fleetctl '$(CURDIR)/.cache/fleetctl' $(if $(CLUSTER),-cluster $(CLUSTER))

.PHONY: deaths
deaths: build ## have the machine that writes a shared volume lose power ROUNDS (20) times, and tell how long the next one takes to mount it (root); LEASES=fast CLUSTER=name LEADING=1 for one that also leads
	@go test -tags e2e -count=1 -timeout 0 -v -run 'TestDeaths$$' ./test/e2e -deaths $(or $(ROUNDS),20) $(if $(LEADING),-leading) $(if $(LEASES),-leases $(LEASES)) $(if $(CLUSTER),-cluster $(CLUSTER))

.PHONY: restarts
restarts: build ## start agent, guard, server and witness of a machine that writes a shared volume anew ROUNDS (100) times: nothing is touched (root); CLUSTER=name
	@go test -tags e2e -count=1 -timeout 0 -v -run 'TestRestarts$$' ./test/e2e -restarts $(or $(ROUNDS),100) $(if $(CLUSTER),-cluster $(CLUSTER))

.PHONY: overload
overload: build ## let leases run out TRIALS (100) times on a machine with 16 times as many busy processes as processors: quiet in time, or reset (root)
	@go test -count=1 -timeout 0 -v -run 'TestOverload$$' ./cmd/argosy-guard -overload $(or $(TRIALS),100)

.PHONY: sim
sim: ## play lives of clusters with faults in virtual time: MINUTES=n or SEEDS=n; FROM=seed, RESUME=1 goes on
	@go run -trimpath ./test/sim -out '$(CURDIR)/.cache/sim' $(if $(SEEDS),-seeds $(SEEDS)) \
		-minutes $(or $(MINUTES),$(if $(SEEDS),0,10)) $(if $(FROM),-from $(FROM)) $(if $(RESUME),-resume)

.PHONY: check-model
check-model: ## explore who may write a volume: STATES=n (500000) of each scenario, LIVES=n (20000), ONLY=name; TELL=1 tells how each mistake is found
	@go test -count=1 -timeout 0 -v ./internal/claims/check -states $(or $(STATES),500000) -lives $(or $(LIVES),20000) \
		$(if $(SEED),-seed $(SEED)) $(if $(ONLY),-only '$(ONLY)') $(if $(JUDGE),-judge $(JUDGE)) $(if $(TELL),-tell)

.PHONY: outage
outage: build ## MINUTES (10) without a majority of servers, and as long with ever new leaders: no container is touched (root)
	@go test -tags e2e -count=1 -timeout 0 -v -run TestServers ./test/e2e -outage $(or $(MINUTES),10)m $(if $(CLUSTER),-cluster $(CLUSTER))

.PHONY: upgrade
upgrade: build ## servers and agents change to an earlier release and back, one by one, and no container is touched (root)
	@go test -tags e2e -count=1 -timeout 20m -v -run 'TestUpgrade$$' ./test/e2e -upgrade

.PHONY: kill
kill: ## kill servers and an agent ROUNDS (1000) times while clients change apps: nothing acknowledged is lost, nothing orphaned (root); SEED=n
	@go test -count=1 -timeout 0 -v -run 'TestKill$$' ./test/kill \
		-rounds $(or $(ROUNDS),1000) $(if $(SEED),-seed $(SEED)) -report '$(CURDIR)/.cache/kill.txt'

.PHONY: test-vm
test-vm: build ## a single writer on a real machine under QEMU: cgroup v2, systemd as Docker's driver, a watchdog, real resets (root)
	@scripts/install-deps.sh --vm
	@go test -tags vm -count=1 -timeout 90m -v ./test/vm

.PHONY: restore
restore: build ## a cluster comes back from a backup, and moves into an external etcd, while machines run on (root)
	@go test -tags e2e -count=1 -timeout 30m -v -run TestRestore ./test/e2e -restore

.PHONY: editors
editors: build ## real editors try argosy lsp and the schema; needs nvim, node and YAML_LANGUAGE_SERVER, see test/editors
	@go test -tags editors -count=1 -timeout 5m -v ./test/editors

.PHONY: bench
bench: install-deps engine ## every promise of speed and memory with its goal (root); ONLY=pattern chooses, see docs/bench
	@go run -trimpath ./test/bench $(if $(ONLY),-only '$(ONLY)') $(if $(ROUNDS),-rounds '$(ROUNDS)') \
		$(if $(SIZES),-sizes '$(SIZES)') $(if $(AGAINST),-against '$(AGAINST)') $(if $(UNITS),-units '$(UNITS)')

.PHONY: lint
lint: check ## check, and golangci-lint
	@$(TOOL) golangci-lint run ./...

.PHONY: generate
generate: ## regenerate the protocol's Go code
	@$(TOOL) buf generate

.PHONY: images
images: ## build the example's images into the local Docker Engine (root)
	@examples/lamp/build.sh

.PHONY: clean
clean: ## remove what was built here
	@rm -rf bin .cache

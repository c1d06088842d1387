# gokernel. "make run" shows it at work, "make test" tests it, "make help" lists the rest.

GO          ?= go
BIN         := bin/gokernel
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS     := -s -w $(if $(VERSION),-X github.com/gokernel/gokernel/internal/cli.version=$(VERSION))
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10s
QUICKSTART  := bin/quickstart.ipynb

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

.PHONY: build
build: ## build bin/gokernel, static
	@command -v $(firstword $(GO)) >/dev/null || { echo "Go 1.26 or newer is needed to build gokernel: https://go.dev/dl" >&2; exit 1; }
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/gokernel

.PHONY: run
run: ## build, and run a notebook from the shell
	@scripts/install-deps.sh run
	@$(MAKE) --no-print-directory build
	$(BIN) run examples/quickstart.ipynb -o $(QUICKSTART)
	@scripts/next-steps.sh $(BIN) $(QUICKSTART)

.PHONY: test
test: test-deps ## run all tests: Go with the race detector, and real Jupyter clients
	CGO_ENABLED=1 $(GO) test -race -timeout 25m ./...

.PHONY: test-deps
test-deps: ## install what the tests need (Debian, as root)
	@scripts/install-deps.sh test

.PHONY: short
short: ## run the Go tests without the Jupyter clients
	CGO_ENABLED=1 $(GO) test -race -short ./...

.PHONY: e2e
e2e: test-deps ## run the Jupyter clients only; SUITE=name for one
	$(GO) test -v -timeout 25m -run 'TestJupyter/$(SUITE)' ./tests

.PHONY: lint
lint: ## gofmt, go vet for three systems, staticcheck
	@out=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
		[ -z "$$out" ] || { echo "not formatted with gofmt:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	CGO_ENABLED=0 GOOS=darwin $(GO) vet ./...
	CGO_ENABLED=0 GOOS=windows $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

.PHONY: many
many: ## run a thousand short sessions, which must leave nothing behind
	$(GO) test -count=1 -timeout 20m -run TestManyRuns ./session -args -runs 1000

.PHONY: check
check: lint test many ## what a change must pass

.PHONY: bench
bench: test-deps ## measure against ipykernel in one run, print a table
	GOKERNEL_BENCH=1 $(GO) test -count=1 -v -timeout 25m -run TestBench ./tests

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME
	@GO='$(GO)' scripts/fuzz.sh $(FUZZTIME)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist coverage.*

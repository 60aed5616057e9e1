# `make` alone prints what there is. Go's own caches decide what is out of date.

GO           ?= go
LINT         := bin/golangci-lint
LINT_VERSION := 2.15.0
DEADCODE     := bin/deadcode
DEADCODE_VERSION := 0.52.0
# Tools that tests need and no command does.
FOR_TESTS    := ^(internal/(devstack|fakeprovider|harness)|migrations)/
MONITOR_PORT ?= 8080
# Binaries need no C library: they start 9 ms sooner, and nothing is compiled for it.
export CGO_ENABLED ?= 0
FUZZTIME     ?= 10s

.DEFAULT_GOAL := help
.PHONY: help build test test-race test-bill test-pooler test-examples test-web fuzz lint fmt demo dev chaos bench bench-limits bench-pages bench-forecast migrate up down setup clean bin/dev bin/worker

help: ## Print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## Run a thousand sample prompts on services of their own, and show what came of it
	@bin/dev demo

dev: setup ## Run Postgres, Redis, a worker and the monitor until Ctrl-C; data is kept
	@exec bin/dev up

build: ## Build all commands into bin/
	$(GO) build -ldflags='-s -w' -o bin/ ./cmd/...

# Without debug tables each test program is linked in half the time; some packages mostly wait, so three run at once.
test: setup ## Run all tests
	$(GO) test -ldflags=-s -p 3 -timeout 20m ./...

test-race: setup ## Run all tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 20m ./...

# PgBouncer is Debian's package here; elsewhere it has to be there.
test-pooler: setup ## Run everything through PgBouncer in transaction mode
	@command -v pgbouncer >/dev/null || test -x /usr/sbin/pgbouncer || \
		{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends pgbouncer; }
	$(GO) test -tags pooler -timeout 20m ./internal/e2e -run Pooler

# Two thousand jobs, priced by two who do not know of each other.
test-bill: setup ## Hold our bill of mixed jobs against that of the fake vendors, to the nano-dollar
	$(GO) test -tags bill -timeout 20m ./internal/e2e -run TheBillOf

# Postgres brings psql; the others are Debian's packages, and npm's and Go's at the versions of the locks.
test-examples: setup ## Run examples/ with their runtimes, which it installs where they are missing
	@/usr/bin/python3 -c 'import psycopg' 2>/dev/null || \
		{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends python3 python3-psycopg; }
	@command -v node >/dev/null && command -v npm >/dev/null || \
		{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends nodejs npm; }
	@command -v curl >/dev/null || { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends curl; }
	@for folder in examples/node examples/sdk/node; do (cd $$folder && npm ci --ignore-scripts --no-audit --no-fund) || exit 1; done
	$(GO) test -tags examples -timeout 20m ./internal/e2e -run Examples

# Chromium is Debian's package here; elsewhere it has to be there.
test-web: setup ## Look at the monitor in a real browser, which it installs where it is missing
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
		{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends chromium; }
	@command -v npm >/dev/null || { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends nodejs npm; }
	@cd internal/e2e/testdata/axe && npm ci --ignore-scripts --no-audit --no-fund
	$(GO) test -tags web -timeout 20m ./internal/e2e -run RealBrowser

# Without the limit most of the time would go into making inputs shorter.
fuzz: setup ## Fuzz each parser of outside input for FUZZTIME (10s)
	@grep -ro --include='*_test.go' '^func Fuzz[A-Za-z]*' . | sort | while IFS=: read -r file name; do \
		echo "$$file $${name#func }"; \
		$(GO) test "$$(dirname "$$file")" -run '^$$' -fuzz "^$${name#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s || exit 1; \
	done

# What no command and no benchmark reaches is dead, also where a test uses it; a test's tools are dead where no test does.
lint: $(LINT) $(DEADCODE) ## Check style, likely mistakes, dead code and the arrows between packages
	$(LINT) run
	@dead=$$($(DEADCODE) -test -tags chaos ./...) && tested=$$($(DEADCODE) ./cmd/... ./internal/bench ./internal/benchlimits) || exit 1; \
		tested=$$(echo "$$tested" | grep -vE '$(FOR_TESTS)'); [ -z "$$dead$$tested" ] || { echo "$$dead$$tested"; exit 1; }

fmt: $(LINT) ## Format all Go files
	$(LINT) fmt

chaos: setup ## Break everything that can break, and write docs/reliability.md's table (22 minutes)
	$(GO) test -tags chaos -timeout 60m -parallel 3 -v ./internal/chaos -run TestChaos -args -update

bench: setup ## Measure throughput on this machine
	@$(GO) run ./internal/bench

bench-limits: setup build ## Show that limits are used to the full and never broken, and what a long queue costs (17 minutes)
	@$(GO) run ./internal/benchlimits

bench-pages: setup ## Time the first answer of each page with a million jobs (3 minutes); ONEFLOW_JOBS is another number
	$(GO) test -tags million -timeout 20m -v ./monitor -run MillionJobs

bench-forecast: setup ## Compare forecasts of 20 mixed batches with what became of them (5 minutes)
	$(GO) test -tags forecast -timeout 15m -v ./internal/e2e -run Forecasts

migrate: bin/worker ## Bring the schema of DATABASE_URL up
	@bin/worker migrate up

up: ## Run everything in containers
	docker compose up -d --build --wait
	@echo "monitor at http://127.0.0.1:$(MONITOR_PORT)/, token as in docker-compose.yml"

down: ## Stop the containers; their data is kept
	docker compose down

setup: bin/dev ## Install Postgres and Redis where they are missing
	@bin/dev setup

clean: ## Remove what was built and forget test results; data in .oneflow/ and in containers stays
	rm -rf bin dist
	$(GO) clean -testcache

bin/dev bin/worker:
	@$(GO) build -ldflags='-s -w' -o $@ ./cmd/$(@F)

# Installed again only where the version is another one.
.PHONY: $(LINT) $(DEADCODE)
$(LINT):
	@$(LINT) version --short 2>/dev/null | grep -qxF $(LINT_VERSION) || \
		GOBIN="$(CURDIR)/bin" $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(LINT_VERSION)
$(DEADCODE):
	@$(GO) version -m $@ 2>/dev/null | grep -qF 'golang.org/x/tools	v$(DEADCODE_VERSION)' || \
		GOBIN="$(CURDIR)/bin" $(GO) install golang.org/x/tools/cmd/deadcode@v$(DEADCODE_VERSION)

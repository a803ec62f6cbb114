# make demo shows the main job, make test runs all tests, make check runs the
# linters and the tests under the race detector. Each installs what it needs.

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK  = golang.org/x/vuln/cmd/govulncheck@v1.1.4
# Where timing is what is tested, the race detector has no place.
RACE         = $$($(GO) list ./... | grep -v /internal/e2e/)
# Tests that measure time or memory, of which the race detector takes many times as much.
MEASURES     = ^(TestHostile|TestGrowth|TestGrowthOfCovering|TestClaimsGrow)$$
# Packages with tests that need a tag.
TAGGED       = ./ipvs ./sync ./internal/e2e/...
# What asks how soon something happens.
QUIET        = ./internal/netif ./internal/e2e/checks ./internal/e2e/failover ./internal/e2e/bench ./internal/e2e/rig
# All tests, with flags. The machine with an IPVS kernel takes longest, so it begins, and
# what needs no quiet runs beside it. What asks how soon something happens follows.
ALL_TESTS    = failed=; \
	  $(GO) test -p 3 -timeout 30m $(1) ./internal/e2e/kernel $$($(GO) list ./... | grep -v -e /e2e/ -e /netif$$) || failed=1; \
	  $(GO) test -p 1 -timeout 30m $(1) $(QUIET) || failed=1; \
	  test -z "$$failed"

export CGO_ENABLED ?= 0

.PHONY: build demo test check lint race install bench-vrrp bench-checks bench-ipvs bench-sync soak conformance go

build: go
	$(GO) build -trimpath -o bin/lvsha ./cmd/lvsha

demo: build
	@internal/lab/install demo
	bin/lvsha demo

test: go
	@internal/lab/install test
	@$(call ALL_TESTS)

check: lint race

lint: go
	@test -z "$$(gofmt -l .)" || { echo "gofmt these:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags ipvskernel,soak $(TAGGED)
	$(GO) mod tidy -diff
	$(GO) run $(STATICCHECK) -checks all ./...
	$(GO) run $(STATICCHECK) -checks all -tags ipvskernel,soak $(TAGGED)
	@echo govulncheck; out=$$($(GO) run $(GOVULNCHECK) ./... 2>&1) || case "$$out" in \
	  *"fetching vulnerabilities"*|*"dial tcp"*|*"Forbidden"*) echo "govulncheck cannot reach its database, left out";; \
	  *) echo "$$out"; exit 1;; esac

race: go
	@internal/lab/install test
	CGO_ENABLED=1 $(GO) test -race -skip '$(MEASURES)' $(RACE)

# Figures beside keepalived's, each table from one run. It takes about half an
# hour, and says little on a machine that has other work.
bench-vrrp: go
	@internal/lab/install test
	@for part in Failover Scale Jitter Idle; do echo; echo "$$part, from $$(date +%T), load $$(cut -d' ' -f1-3 /proc/loadavg)"; \
	  $(GO) test -run '^$$' -bench "^Benchmark$$part$$" -benchtime 1x -timeout 60m ./internal/e2e/bench || failed="$$failed $$part"; \
	done; echo; echo "Crowded, from $$(date +%T), load $$(cut -d' ' -f1-3 /proc/loadavg)"; \
	$(GO) test -run '^$$' -bench '^BenchmarkNetnsCrowded$$' -benchtime 1x ./internal/netif || failed="$$failed Crowded"; \
	test -z "$$failed" || { echo "bars were missed in:$$failed"; exit 1; }

# What checks cost beside keepalived, each table from one run, in five minutes.
bench-checks: go
	@internal/lab/install test
	@for part in Checks Storm; do echo; echo "$$part, from $$(date +%T), load $$(cut -d' ' -f1-3 /proc/loadavg)"; \
	  $(GO) test -run '^$$' -bench "^Benchmark$$part$$" -benchtime 1x -timeout 60m ./internal/e2e/bench || failed="$$failed $$part"; \
	done; test -z "$$failed" || { echo "bars were missed in:$$failed"; exit 1; }

# What a table of 1,000 services with ten servers each costs beside keepalived, in the
# emulated machine, how soon a change of the file is in the table in memory, and what an
# operator waits for.
bench-ipvs: go
	@internal/lab/install test
	@for part in Table Reload; do echo; echo "$$part, from $$(date +%T), load $$(cut -d' ' -f1-3 /proc/loadavg)"; \
	  $(GO) test -run '^$$' -bench "^Benchmark$$part$$" -benchtime 1x -timeout 60m ./internal/e2e/bench || failed="$$failed $$part"; \
	done; echo; echo "Large, from $$(date +%T), load $$(cut -d' ' -f1-3 /proc/loadavg)"; \
	$(GO) test -run '^$$' -bench '^BenchmarkLarge$$' -benchtime 20x ./internal/director || failed="$$failed Large"; \
	test -z "$$failed" || { echo "bars were missed in:$$failed"; exit 1; }

# What connections survive beside keepalived, and large tables, each table from one run.
bench-sync: go
	@internal/lab/install test
	@for part in Sync LargeSync; do echo; echo "$$part, from $$(date +%T), load $$(cut -d' ' -f1-3 /proc/loadavg)"; \
	  $(GO) test -run '^$$' -bench "^Benchmark$$part$$" -benchtime 1x -timeout 90m ./internal/e2e/bench || failed="$$failed $$part"; \
	done; test -z "$$failed" || { echo "bars were missed in:$$failed"; exit 1; }

# Long runs of what make test does once.
soak: go
	@internal/lab/install test
	$(GO) test -count 10 -timeout 3h -p 1 ./internal/e2e/... ./vrrp ./internal/netif
	$(GO) test -tags soak -run '^TestSoak' -timeout 1h ./internal/e2e/bench -v
	for f in vrrp:FuzzDecode vrrp:FuzzTrailer vrrp:FuzzParseIPv4 vrrp:FuzzParseARP vrrp:FuzzParseNA internal/bfd:FuzzPacket \
	  internal/notify:FuzzSplit healthcheck:FuzzHealthStatus internal/peer:FuzzFrame internal/config:FuzzParse ipvs:FuzzParseServiceKey ipvs:FuzzParseRules sync:FuzzDecode sync:FuzzListing internal/doctor:FuzzParse internal/cmsg:FuzzParse; do \
	  $(GO) test -run '^$$' -fuzz "^$${f#*:}$$" -fuzztime 10m ./$${f%:*} || exit 1; done

# The table of requirements, with the results of this run.
conformance: go
	@mkdir -p bin
	@internal/lab/install test
	@{ $(call ALL_TESTS,-json); } > bin/conformance.json
	$(GO) test ./vrrp -run '^TestConformance$$' -update -results "$$PWD/bin/conformance.json"

install: build
	install -D -m 755 bin/lvsha $(DESTDIR)/usr/bin/lvsha
	install -D -m 644 -t $(DESTDIR)/lib/systemd/system examples/systemd/lvsha.service examples/systemd/lvsha-cleanup.service examples/systemd/lvsha-realserver.service
	# The groups come first: a unit whose groups are missing does not start. With DESTDIR
	# it is a package's business to make them.
	install -D -m 644 examples/systemd/sysusers.conf $(DESTDIR)/usr/lib/sysusers.d/lvsha.conf
	$(if $(DESTDIR),,systemd-sysusers lvsha.conf)
	install -D -m 644 -t $(DESTDIR)/lib/systemd/system/lvsha.service.d examples/systemd/lvsha.service.d/groups.conf

# Says so when there is no Go, or one that is too old.
go:
	@command -v $(GO) >/dev/null || { echo "lvsha is built with Go 1.25 or newer, and there is none here: see https://go.dev/dl/"; exit 1; }
	@v=$$($(GO) env GOVERSION); case "$$v" in go1.[0-9]|go1.[0-9].*|go1.1[0-9]*|go1.2[0-4]*) echo "lvsha is built with Go 1.25 or newer; this is $$v: see https://go.dev/dl/"; exit 1;; esac

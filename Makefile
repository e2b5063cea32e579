# One target per thing that CI does. `make run` and `make test` install what is missing.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Where setup has just installed Rust, the shell does not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

# mold links the test binaries several times faster than the default linker; where it is missing, the default is used.
ifneq ($(shell command -v mold 2>/dev/null),)
export RUSTFLAGS ?= -C link-arg=-fuse-ld=mold
endif
CARGO ?= cargo
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mutt
DENY_VERSION := 0.20.2
DENY := $(CACHE)/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny

.PHONY: help
help: ## Show the targets.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 20

.PHONY: setup
setup: ## Install what building and testing need (Debian, Ubuntu, RHEL-like).
	@.ci/setup test

.PHONY: run
run: ## Build and start everything on this machine, with sample rules and traffic; Ctrl-C ends it.
	@.ci/setup run
	$(CARGO) build --release -p mutt --locked
	@exec $${CARGO_TARGET_DIR:-target}/release/mutt dev

.PHONY: test
test: setup fmt clippy deny unit e2e ## Run every check and every test.
	@if e2e/cluster/build-keda cached; then printf 'test: all passed, with the real KEDA\n'; \
	else printf 'test: all passed, without the real KEDA, whose programs are not in the cache (make keda)\n'; fi

.PHONY: fmt
fmt: ## Check the formatting.
	$(CARGO) fmt --all --check

.PHONY: clippy
clippy: ## Lint, warnings are errors.
	$(CARGO) clippy --workspace --all-targets --features mutt-cluster/node --locked -- -D warnings

.PHONY: deny
deny: $(DENY) ## Check crates, licences and sources of the dependency tree.
	$(DENY) --locked check --hide-inclusion-graph bans licenses sources

$(DENY):
	$(CARGO) install cargo-deny --locked --version $(DENY_VERSION) --no-default-features --root $(CACHE)/tools/cargo-deny-$(DENY_VERSION)

.PHONY: unit
unit: ## Tests of every crate, with real Redis and PostgreSQL.
	$(CARGO) test --workspace --exclude mutt-e2e --locked

.PHONY: images
images: ## Build the images as archives, target/images/{worker,operator}.tar; REGISTRY=… comes before their names.
	@REGISTRY=$(REGISTRY) .ci/images

# A node needs root.
AS_ROOT = $(if $(filter-out 0,$(shell id -u)),sudo --preserve-env env "PATH=$$PATH" "HOME=$$HOME")
ON_A_NODE = $(AS_ROOT) $${CARGO_TARGET_DIR:-target}/debug/mutt-cluster run \
	--image $${CARGO_TARGET_DIR:-target}/images/worker.tar --image $${CARGO_TARGET_DIR:-target}/images/operator.tar
IN_CLUSTER = $(ON_A_NODE) --
WITH_KEDA = $(ON_A_NODE) --keda -- $(CARGO) test -p mutt-e2e --test cluster --locked --offline -- keda::

.PHONY: e2e
e2e: REGISTRY = localhost
e2e: cluster-binaries images ## Tests that drive everything from outside: daemons, and a real Kubernetes node of their own.
	$(CARGO) build -p mutt -p mutt-cluster --locked
	$(CARGO) test -p mutt-e2e --locked --no-run
	$(CARGO) test -p mutt-cluster --features node --test run --locked --no-run
	$(AS_ROOT) $(CARGO) test -p mutt-cluster --features node --test run --locked --offline
	$(IN_CLUSTER) $(CARGO) test -p mutt-e2e --locked --offline -- --skip keda::
	@if e2e/cluster/build-keda cached; then \
		printf 'keda: its programs are in the cache, so the node with the real KEDA is next\n'; $(WITH_KEDA); \
	else \
		printf 'keda: its programs are not in the cache, so the test with the real KEDA is left to `make keda`\n'; \
	fi

.PHONY: keda
keda: REGISTRY = localhost
keda: cluster-binaries keda-binaries images ## Tests with the real KEDA on a Kubernetes node; compiles it once, 8 minutes.
	$(CARGO) build -p mutt-cluster --locked
	$(CARGO) test -p mutt-e2e --test cluster --locked --no-run
	$(WITH_KEDA)

.PHONY: cluster
cluster: REGISTRY = localhost
cluster: cluster-binaries images ## A shell beside a real Kubernetes node with the images; the node ends with it.
	$(CARGO) build -p mutt-cluster --locked
	$(IN_CLUSTER) $${SHELL:-bash}

.PHONY: cluster-binaries
cluster-binaries: ## Compile Kubernetes, containerd and Helm for the test cluster, once per version.
	@e2e/cluster/build
	@e2e/cluster/build-keda config

.PHONY: keda-binaries
keda-binaries: ## Compile KEDA for the test cluster, once per version; 8 minutes on two cores.
	@nice e2e/cluster/build-keda

.PHONY: bench
bench: ## Measure, each figure beside its limit in the same run; quiet cores, please.
	$(CARGO) build --release -p mutt --locked
	$${CARGO_TARGET_DIR:-target}/release/mutt bench

.PHONY: bench-operator
bench-operator: cluster-binaries ## Measure the operator with a real API server, Redis, PostgreSQL and two alerters; quiet cores, please.
	$(CARGO) build --release -p mutt --locked
	$(CARGO) bench -p mutt-operator --bench operator --locked

.PHONY: golden
golden: ## Write generated files again: definitions and their reference, the README's settings table, OpenAPI, what pipelines become, dashboards.
	UPDATE_GOLDEN=1 $(CARGO) test -p mutt-crds --lib --locked golden
	UPDATE_GOLDEN=1 $(CARGO) test -p mutt --lib --locked golden
	UPDATE_GOLDEN=1 $(CARGO) test -p mutt-operator --lib --locked golden
	UPDATE_GOLDEN=1 $(CARGO) test -p mutt-e2e --test monitoring --locked golden
	UPDATE_GOLDEN=1 $(CARGO) test -p mutt-e2e --test charts --locked golden

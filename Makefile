# Everything a person types. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help demo release train test lint bench perf-record flamegraph fuzz-smoke miri informers tools

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Only an argument of make counts: a variable of that name in the environment could point to a real cluster by accident.
ifeq ($(origin CLUSTER_KUBECONFIG),command line)
demo_arguments := --cluster-kubeconfig '$(CLUSTER_KUBECONFIG)'
endif

demo: ## Start API server, issuer and gateway on this machine (CLUSTER_KUBECONFIG=path: before a real cluster)
	@exec cargo run --quiet --locked -p loadtest --bin demo -- $(demo_arguments)

release: ## Build the gateway with the profile of the load test, as target/portcullis (ten minutes)
	@deploy/build.sh

train: ## Make the profile anew from the load test, for `make release` (half an hour)
	@tests/tools/install.sh profdata
	@loadtest/train.sh

test: ## Run everything CI runs: format, lints, tests, stock clients, docs, benches once, fuzz smoke, deploy
	@tests/tools/check.sh

lint: ## Check format and lints only
	@tests/tools/check.sh format lint

bench: ## Measure (takes minutes)
	@cargo bench --workspace --locked

# A bar that does not hold is on record like one that does; only what could not be measured at all stops.
perf-record: ## Run every scenario of the load test and append the reports to benches/record/ (takes an hour)
	@tests/tools/install.sh proxies || true
	@deploy/build.sh
	@record=benches/record/$$(date +%F)-loadtest.md; \
	for scenario in $$(cargo loadtest list | cut -d' ' -f1); do \
	  rm -f target/scenario.md; \
	  LOADTEST_GATEWAY=target/portcullis cargo loadtest $$scenario --markdown target/scenario.md; \
	  { cat target/scenario.md; echo; } >>$$record || exit; \
	done

flamegraph: ## Draw where the gateway spends its CPU time in a scenario (SCENARIO=masked-list-secrets)
	@tests/tools/install.sh flamegraph
	@loadtest/flamegraph.sh $(or $(SCENARIO),masked-list-secrets) target/flamegraph.svg

fuzz-smoke: ## Run every fuzz target for a few seconds from its corpus (fuzz/run TARGET: one, for as long as you like)
	@tests/tools/check.sh fuzz

miri: ## Interpret the only unsafe code, the scanner's vectors, with Miri (needs a nightly toolchain)
	@tests/tools/check.sh miri

informers: ## Follow changing objects through the masks with stock clients, for ten minutes
	@tests/tools/install.sh kubectl python
	@CHURN_SECONDS=600 cargo test --quiet --locked --test e2e informers -- --nocapture

tools: ## Install the stock clients the tests drive, under target/tools
	@tests/tools/install.sh

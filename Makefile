# Ferrovirt: `make demo` boots a guest, `make test` is what CI runs. Debian packages that a goal
# needs are installed when they are missing (scripts/deps.sh names them); a second run is quick.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench fuzz images conformance

target := $(or $(CARGO_TARGET_DIR),target)
debug := $(target)/debug

help: ## show this
	@echo "goals:"
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## boot a real guest from YAML, show its console and the times, clean up (needs root)
	@scripts/deps.sh build run
	@scripts/images.sh tiny
	@echo "demo: building ferrovirt"
	@cargo build --quiet --package ferrovirt --package xtask
	@$(debug)/xtask demo

# The tests start the binary: it is built with them, so that both share every dependency.
test: ## everything CI runs but `lint`; ends with the number of tests that passed
	@scripts/deps.sh build run test
	@scripts/clients.sh
	@scripts/images.sh tiny
	@command -v cargo-nextest > /dev/null || { \
	  echo "test: installing cargo-nextest from crates.io"; \
	  cargo install cargo-nextest --locked; }
	@echo "test: building"
	@cargo build --workspace --exclude ferrovirt-fuzz --bins --tests
	@echo "test: checked-in schemas are those of k8s-openapi"
	@$(debug)/xtask schemas --check
	@scripts/conformance.sh $(debug)/ferrovirt
	@echo "test: ten thousand inputs for every fuzz target, the same each time"
	@$(debug)/xtask fuzz --runs 10000
	cargo nextest run --workspace --exclude ferrovirt-fuzz

lint: ## formatting, clippy without warnings, layer rules, sizes of files
	@scripts/deps.sh build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo xtask deps
	cargo xtask size

bench: ## measure against references in the same run; writes target/bench/*.json
	@scripts/deps.sh build run bench
	@scripts/images.sh tiny
	@echo "bench: building with optimization"
	@cargo build --quiet --release --package ferrovirt --package ferrovirt-bench
	@$(target)/release/ferrovirt-bench

fuzz: ## a minute of every fuzz target, with coverage; FUZZ_SECONDS=N for more
	@scripts/deps.sh build
	@cargo xtask fuzz --seconds $(or $(FUZZ_SECONDS),60)

conformance: ## replay the recorded answers of kube-apiserver, where ../shared has them
	@scripts/deps.sh build run
	@cargo build --quiet --package ferrovirt
	@scripts/conformance.sh

images: ## build the guests `tiny` and `debian` from Debian packages into target/images/
	@scripts/images.sh all

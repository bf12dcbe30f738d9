# Nonna. Each target is one script or one cargo command; the scripts say what they do at their top.

# What the tests, the demo and clippy compile with, so that each finds what the others built.
PROFILE ?= ci
export NONNA_PROFILE = $(PROFILE)
export PATH := $(HOME)/.cargo/bin:$(PATH)

BENCHES := deploy rollout edge footprint build serve-while-building logs logs-capture logs-block

.DEFAULT_GOAL := help
.PHONY: help setup build demo demo-down check-demo test bench $(addprefix bench-,$(BENCHES)) lint fmt doc clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "  make bench-NAME         One of the benchmarks: $(BENCHES)"

setup: ## Install and start what building and testing need
	@scripts/setup

build: ## Build the nonna binary as it is shipped (target/release/nonna)
	@scripts/setup-build-tools
	cargo build --locked --release -p nonna-cli --bin nonna

demo: ## Put the example app on the air on this machine
	@scripts/demo

demo-down: ## Take the demo away, all of it
	@scripts/demo-down

check-demo: ## Check the demo end to end: up, again, down, nothing left
	@scripts/check-demo

test: ## Run all tests
	@scripts/test

bench: ## Run all benchmarks; each figure is one line of JSON
	@scripts/bench $(BENCHES)

$(addprefix bench-,$(BENCHES)): bench-%:
	@scripts/bench $*

lint: ## Check formatting, clippy, dependencies and documentation
	@scripts/lint

fmt: ## Format the code
	cargo fmt --all

clean: ## Remove what was built
	cargo clean

# `make` lists what there is to do.

.PHONY: help build test lint example

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

build: ## the binary, target/release/tightfit
	cargo build --release

test: ## all tests; the same command as in the README
	cargo test --workspace

lint: ## formatting and clippy, as CI runs them
	.ci/fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

example: ## handwritten digits, the README's first command
	cargo run --release -p tightfit-cli -- run examples/digits/digits.pb --input examples/digits/test.tfrecord --label label --memory 16MiB --output digits.jsonl

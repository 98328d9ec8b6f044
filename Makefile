# `make` lists the targets.

.PHONY: help build test lint example dist image

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

build: ## build the binary, target/release/tightfit
	cargo build --release -p tightfit-cli

test: ## run all tests
	cargo test --workspace

lint: ## check formatting and run clippy, as CI does
	.ci/fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

example: build ## recognise handwritten digits, and draw them
	target/release/tightfit run examples/digits/digits.pb --input examples/digits/test.tfrecord --label label --memory 16MiB --show 4 --output digits.jsonl

dist: ## pack binary, completions and man pages into target/dist
	.ci/dist

image: ## build a container image with the binary alone
	docker build -t tightfit .

# `make` lists the targets. Every one but lint and fuzz installs, with apt, what it needs and this machine lacks.

CARGO = scripts/cargo

.PHONY: help demo test lint bench deb test-package fuzz clean

help:
	@echo 'make demo          build nfban and watch it ban a scanner in a private network namespace'
	@echo 'make test          build and run every test: unit, property, golden, command line, real kernel'
	@echo 'make lint          formatting, clippy, shellcheck, licences of the dependencies'
	@echo 'make bench         measure the time from packet to ban, the cost of a packet, and what is found in a week of traffic'
	@echo 'make deb           build the Debian package'
	@echo 'make test-package  install, use and remove that package in a booted Debian 12 and 13 (as root)'
	@echo 'make fuzz          fuzz the decoders; SECONDS=60 for each target'
	@echo 'make clean         remove what was built'

demo:
	scripts/setup demo
	$(CARGO) run --locked --release -- demo

test:
	scripts/setup test
	scripts/isolated test --no-fail-fast

lint:
	scripts/lint

bench:
	scripts/setup bench
	scripts/isolated bench

deb:
	scripts/setup deb
	scripts/deb

test-package: deb
	scripts/setup package
	for suite in bookworm trixie; do \
	    for part in run service documents moving-in; do tests/package/$$part $$suite || exit 1; done; done
	tests/package/autopkgtest bookworm
	tests/package/autopkgtest trixie
	tests/package/reproducible
	lintian --allow-root -EIL +pedantic --fail-on error,warning,info,pedantic,experimental target/debian/nfban_*.changes

fuzz:
	scripts/fuzz $(SECONDS)

clean:
	$(CARGO) clean

# Everything that the project's work needs; `make help` lists it.

PREFIX ?= /usr/local
DESTDIR ?=

# The reference: Swift from PyPI. It serves, stores and checks what the tests replicate.
SWIFT := 2.38.3
VENV := target/swift
VENV_STAMP := $(VENV)/swift-$(SWIFT).installed

# The tests make mount namespaces (each cluster has an /etc/swift of its own) and listen on rsync's port.
ROOT := $(filter 0,$(shell id -u))
SUDO := $(if $(ROOT),,sudo)
AS_ROOT := $(if $(ROOT),,--config "target.'cfg(unix)'.runner = ['sudo', '--preserve-env']")

# A command that is needed, and the package of Debian and Ubuntu that has it.
NEEDED := rsync:rsync unshare:util-linux mount:mount $(if $(filter bench,$(MAKECMDGOALS)),nginx:nginx-light)
MISSING := $(foreach pair,$(NEEDED),$(if $(shell command -v $(firstword $(subst :, ,$(pair)))),,$(lastword $(subst :, ,$(pair)))))
MISSING += $(if $(shell python3 -c 'import ensurepip, venv' 2>&1 || echo no),python3-venv)
MISSING := $(strip $(MISSING))

.PHONY: help build setup packages venv demo test bench install clean

help:
	@echo 'make build    the replicator, optimised: target/release/swift-object-replicator'
	@echo 'make demo     a three-node cluster on this machine, and a pass over it'
	@echo 'make test     every test, against the real Swift $(SWIFT)'
	@echo 'make bench    what passes cost, by the reference and by this one; QUICK=1 takes 15 minutes, ROW=cold takes one row'
	@echo 'make install  the replicator and its man page below $(PREFIX) (PREFIX, DESTDIR)'
	@echo 'make setup    what demo and test need: Debian packages, and Swift in $(VENV)'
	@echo 'make clean    removes target/'

build:
	cargo build --release --locked

setup: packages venv

packages:
	$(if $(MISSING),$(SUDO) apt-get update && $(SUDO) apt-get install --yes --no-install-recommends $(MISSING),@:)

venv: $(VENV_STAMP)

$(VENV_STAMP): | packages
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check swift==$(SWIFT)
	touch $@

demo: setup build
	cargo run --release --locked --quiet --example demo $(AS_ROOT)

test: setup
	cargo test --locked $(AS_ROOT)

bench: setup
	cargo bench --locked --bench replication $(AS_ROOT)

install: build
	install -D -m 755 target/release/swift-object-replicator $(DESTDIR)$(PREFIX)/bin/swift-object-replicator
	install -D -m 644 man/swift-object-replicator.1 $(DESTDIR)$(PREFIX)/share/man/man1/swift-object-replicator.1

clean:
	$(SUDO) rm -rf target/clusters
	cargo clean

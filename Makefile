# Everything that the project's work needs; `make help` lists it.

PREFIX ?= /usr/local
DESTDIR ?=

# The reference: Swift from PyPI. It serves, stores and checks what the tests replicate.
SWIFT := 2.38.3
VENV := target/swift$(if $(filter-out 2.38.3,$(SWIFT)),-$(SWIFT))
VENV_STAMP := $(VENV)/swift-$(SWIFT).installed

# The tests make mount namespaces (each cluster has an /etc/swift of its own) and listen on rsync's port.
ROOT := $(filter 0,$(shell id -u))
SUDO := $(if $(ROOT),,sudo)
AS_ROOT := $(if $(ROOT),,--config "target.'cfg(unix)'.runner = ['sudo', '--preserve-env']")

# The same for tests, behind which it is looked that nothing is left; the one around waits for that.
GUARDED := --config "target.'cfg(unix)'.runner = [$(if $(ROOT),,'sudo', '--preserve-env', )'$(CURDIR)/tests/guarded']"
CARGO_TEST := tests/guarded --around cargo test --locked $(GUARDED)

# A command that is needed, and the package of Debian and Ubuntu that has it.
NEEDED := rsync:rsync unshare:util-linux setpriv:util-linux mount:mount script:bsdutils
NEEDED += mkfs.ext4:e2fsprogs debugfs:e2fsprogs chattr:e2fsprogs
NEEDED += $(if $(filter bench,$(MAKECMDGOALS)),nginx:nginx-light)
MISSING := $(foreach pair,$(NEEDED),$(if $(shell PATH=$$PATH:/usr/sbin:/sbin; command -v $(firstword $(subst :, ,$(pair)))),,$(lastword $(subst :, ,$(pair)))))
MISSING += $(if $(shell python3 -c 'import ensurepip, venv' 2>&1 || echo no),python3-venv)
MISSING := $(sort $(MISSING))

# What the goals need of this machine is looked for before anything is downloaded or built.
CLUSTER := rust root namespaces xattrs
NEEDS_build := rust
NEEDS_lint := rust
NEEDS_unit := rust root xattrs
NEEDS_demo := $(CLUSTER)
NEEDS_bench := $(CLUSTER)
NEEDS_test := $(CLUSTER) fuse
NEEDS_check := $(NEEDS_test)
NEEDS_chaos := $(NEEDS_test)
NEEDS_interop := $(NEEDS_test)
NEEDS_random := $(NEEDS_test)
NEEDS_matrix := $(NEEDS_test)
NEEDS_fuzz := rust
NEEDS_deb := rust
NEEDS_rpm := rust
NEEDS_dist := rust
NEEDS := $(sort $(foreach goal,$(MAKECMDGOALS),$(NEEDS_$(goal))))

# What is installed; packagers may bring their own build.
BINARY ?= target/release/swift-object-replicator
CARGO_FUZZ := target/tools/bin/cargo-fuzz
FUZZERS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

.PHONY: help preflight build setup packages venv demo lint unit test check interop promtool random chaos matrix fuzz corpus bench install completions portable deb rpm tar dist test-deb test-rpm clean

help:
	@echo 'make build    the replicator, optimised: target/release/swift-object-replicator'
	@echo 'make demo     a three-node cluster on this machine, and a pass over it'
	@echo 'make test     every test, against the real Swift $(SWIFT)'
	@echo 'make unit     only those of the library, which need no Swift: a minute or two'
	@echo 'make lint     formatting, clippy and the documentation, where every warning is an error'
	@echo 'make check    lint and test: what a change must pass'
	@echo 'make interop  those against the servers of another Swift: SWIFT=2.30.1 or 2.35.1'
	@echo 'make promtool fetches the checker of Prometheus, for the tests of metrics and alerts'
	@echo 'make random   those with random inputs, RUNS=500 times; SWIFT_TEST_SEED=... has one again'
	@echo 'make chaos    passes while everything fails, for MINUTES=5; SEED=7, BATCH=1, SYNC=ssync|mixed and WITHOUT=... are possible'
	@echo 'make matrix   what one fault costs its neighbours, every cell of docs/fault-matrix.md; ONLY="EIO |" takes some, REFERENCE=1 shows Swift'"'"'s'
	@echo 'make fuzz     feeds everything that is read here with bytes of all kinds, for MINUTES=5; TARGETS=rings takes one target'
	@echo 'make bench    what passes cost, by the reference and by this one; QUICK=1 takes 15 minutes, ROW=cold takes one row'
	@echo 'make install  the replicator, its manual pages, completions and unit below $(PREFIX) (PREFIX, DESTDIR)'
	@echo 'make dist     packages for Debian, Ubuntu and the Red Hat family, an archive, and their sums: target/dist/'
	@echo 'make deb      the package for Debian and Ubuntu alone, which takes the place of the replicator in swift-object'
	@echo 'make test-deb tries it on a Debian 12 and 13 with their own Swift, in root folders below target/; RELEASE=trixie takes one'
	@echo 'make test-rpm tries the RPM beside a package with the paths of openstack-swift-object'
	@echo 'make setup    what demo and test need: Debian packages, and Swift in $(VENV)'
	@echo 'make clean    removes target/'

preflight:
	@tests/preflight $(NEEDS)

build: preflight
	cargo build --release --locked

setup: packages venv

packages: preflight
	@tests/preflight -- $(MISSING)
	$(if $(MISSING),$(SUDO) apt-get update && $(SUDO) apt-get install --yes --no-install-recommends $(MISSING),@:)

venv: $(VENV_STAMP)

# It unpacks below target/ too, where nothing of an interrupted one stays for long: /tmp may be small.
UNPACK := rm -rf target/pip && mkdir -p target/pip && TMPDIR='$(CURDIR)/target/pip'

$(VENV_STAMP): | packages
	python3 -m venv $(VENV)
	@echo 'Swift $(SWIFT) from PyPI, below $(VENV)'
	$(UNPACK) $(VENV)/bin/pip install --quiet --disable-pip-version-check swift==$(SWIFT)
	touch $@

# Both in one command: two cores link them at the same time.
demo: setup
	cargo build --release --locked --bin swift-object-replicator --example demo
	cargo run --release --locked --quiet --example demo $(AS_ROOT)

lint: preflight
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps

unit: packages
	cargo test --locked --lib $(AS_ROOT)

test: setup
	$(CARGO_TEST)

check: lint test

# Where that Swift's own replicator or sender is looked at, which is not always what it is today.
OTHER_THAN_OURS := reference:: same_pass both_senders $(if $(filter 2.30.%,$(SWIFT)),every_kind_of_object)

# Scenarios in which ours meets the servers of that Swift; docs/interoperability.md has what came of it.
interop: export SWIFT_VENV = $(abspath $(VENV))
interop: setup
	$(CARGO_TEST) --test integration -- interop:: $(addprefix --skip ,$(OTHER_THAN_OURS))

# Prometheus' checker of metrics and of rules, out of Debian's package, which need not be installed. Tests that ask it say
# where there is none.
PROMTOOL := target/tools/promtool

promtool: $(PROMTOOL)

$(PROMTOOL):
	rm -rf target/promtool && mkdir -p target/promtool $(@D)
	cd target/promtool && { apt-get download prometheus || { $(SUDO) apt-get update && apt-get download prometheus; }; } && dpkg-deb --extract prometheus_*.deb .
	mv target/promtool/usr/bin/promtool $@
	rm -rf target/promtool

RUNS ?= 500

# Tests with other inputs in every run, without those that have the same; what fails says how to have it again.
SAME_EVERY_TIME = repr_escapes_the_characters killed_pushes_are_logged a_console_that_nobody_reads nothing_is_lost_between \
	errors_have_the_references_words
random: setup
	tests/guarded --around sh -ec 'for run in $$(seq $(RUNS)); do "$$@"; done' sh nice cargo test --locked --quiet \
		$(GUARDED) --test integration -- oracle::peer oracle::recon oracle::report oracle::ssync $(SAME_EVERY_TIME:%=--skip %)

bench: setup
	cargo bench --locked --bench replication $(AS_ROOT)

MINUTES ?= 5
SEED ?=
BATCH ?=
SYNC ?=
WITHOUT ?=

chaos: export CHAOS_MINUTES = $(MINUTES)
chaos: export CHAOS_SEED = $(SEED)
chaos: export CHAOS_BATCH = $(BATCH)
chaos: export CHAOS_SYNC = $(SYNC)
chaos: export CHAOS_WITHOUT = $(WITHOUT)
chaos: setup
	$(CARGO_TEST) --test integration -- --exact chaos::nothing_is_lost_whatever_happens --nocapture

TARGETS ?= $(FUZZERS)

# Instrumenting needs an unstable option of the compiler. What is found stays in target/; the corpora in fuzz/ are only read.
# Leaks are not looked for: a thread that is just starting or ending, as closes connections, looks like one.
fuzz: export RUSTC_BOOTSTRAP = 1
fuzz: $(CARGO_FUZZ)
	set -e; for target in $(TARGETS); do \
		mkdir -p target/fuzz/corpus/$$target; \
		$(CARGO_FUZZ) fuzz run --target-dir target/fuzz $$target target/fuzz/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$$(( $(MINUTES) * 60 / $(words $(TARGETS)) + 1 )) -timeout=20 -rss_limit_mb=1024 -malloc_limit_mb=256 \
			-max_len=65536 -detect_leaks=0 -print_final_stats=1 $$(test ! -e fuzz/dictionaries/$$target || echo -dict=fuzz/dictionaries/$$target); \
	done

$(CARGO_FUZZ):
	cargo install cargo-fuzz --version 0.13.2 --locked --debug --root target/tools

# The fuzzers' first inputs, made by the real Swift.
corpus: setup
	$(VENV)/bin/python3 fuzz/make-corpus

ONLY ?=
REFERENCE ?=

matrix: export MATRIX_LONG = 1
matrix: export MATRIX_ONLY = $(ONLY)
matrix: export MATRIX_REFERENCE = $(REFERENCE)
matrix: setup
	$(CARGO_TEST) --test integration -- --exact matrix::one_fault_costs_its_own_share --nocapture

SHARE := $(DESTDIR)$(PREFIX)/share
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/system

# It never builds: root may have no Rust.
install:
	$(if $(shell test -f $(BINARY) && echo there),,$(error There is no $(BINARY) to install yet: run make build first, without sudo))
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/swift-object-replicator
	install -D -m 644 man/swift-object-replicator.1 $(SHARE)/man/man1/swift-object-replicator.1
	install -D -m 644 man/swift-object-replicator.conf.5 $(SHARE)/man/man5/swift-object-replicator.conf.5
	install -D -m 644 packaging/completions/swift-object-replicator.bash $(SHARE)/bash-completion/completions/swift-object-replicator
	install -D -m 644 packaging/completions/_swift-object-replicator $(SHARE)/zsh/site-functions/_swift-object-replicator
	install -D -m 644 packaging/completions/swift-object-replicator.fish $(SHARE)/fish/vendor_completions.d/swift-object-replicator.fish
	install -D -m 644 -t $(SHARE)/doc/swift-object-replicator packaging/alerts.yml packaging/alerts_test.yml
	install -D -m 644 -t $(SHARE)/doc/swift-object-replicator/grafana packaging/grafana/swift-object-replicator.json
	install -d $(UNITS)
	sed 's|/usr/local|$(PREFIX)|' packaging/systemd/swift-object-replicator.service > $(UNITS)/swift-object-replicator.service
	chmod 644 $(UNITS)/swift-object-replicator.service
	install -D -m 644 packaging/systemd/native.conf $(UNITS)/swift-object-replicator.service.d/native.conf

# After a change of the command line; a test says so.
completions:
	cargo run --locked --quiet --example completions

# ---- Packages: one program for every Linux with this glibc or a newer one, in all of them.
GLIBC := 2.28
ARCH := $(shell uname -m)
TARGET := $(ARCH)-unknown-linux-gnu
PORTABLE := target/$(TARGET)/release/swift-object-replicator
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
DEB_ARCH := $(or $(patsubst x86_64,amd64,$(filter x86_64,$(ARCH))),$(patsubst aarch64,arm64,$(filter aarch64,$(ARCH))),$(ARCH))
DIST := target/dist
DEB := $(DIST)/swift-object-replicator_$(VERSION)-1_$(DEB_ARCH).deb
RPM := $(DIST)/swift-object-replicator-$(VERSION)-1.$(ARCH).rpm
TAR := $(DIST)/swift-object-replicator-$(VERSION)-$(ARCH)-linux.tar.gz

# Zig links against any glibc of any age; its wheel is the whole of it.
ZIG := target/tools/zig-0.15.2
ZIG_CACHES := CARGO_ZIGBUILD_CACHE_DIR=$(CURDIR)/target/tools/cache ZIG_GLOBAL_CACHE_DIR=$(CURDIR)/target/tools/cache/zig

$(ZIG)/bin/cargo-zigbuild: | packages
	rm -rf $(ZIG)
	python3 -m venv $(ZIG)
	$(UNPACK) $(ZIG)/bin/pip install --disable-pip-version-check ziglang==0.15.2 cargo-zigbuild==0.24.1

# They run for seconds, so they are not worth optimising; and gzip will do.
CARGO_DEB := target/tools/bin/cargo-deb
CARGO_RPM := target/tools/bin/cargo-generate-rpm
TOOLS_BUILD := target/tools/build
INSTALL_TOOL := cargo install --locked --debug --root target/tools --target-dir $(TOOLS_BUILD)

$(CARGO_DEB):
	$(INSTALL_TOOL) cargo-deb --version 3.8.0 --no-default-features

$(CARGO_RPM):
	$(INSTALL_TOOL) cargo-generate-rpm --version 0.21.1

# The same commit gives the same packages, whenever they are made.
deb rpm tar dist: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct 2>/dev/null || stat --format=%Y Cargo.toml)

portable: $(ZIG)/bin/cargo-zigbuild
	PATH="$(CURDIR)/$(ZIG)/bin:$$PATH" $(ZIG_CACHES) CARGO_PROFILE_RELEASE_STRIP=symbols \
		cargo zigbuild --release --locked --target $(TARGET).$(GLIBC) --bin swift-object-replicator
	packaging/check-symbols $(PORTABLE) $(GLIBC)

deb: portable $(CARGO_DEB)
	$(CARGO_DEB) --locked --no-build --no-strip --target $(TARGET) --compress-type gzip --output $(DEB)

# Beside RDO's package names of its own are needed.
rpm: portable $(CARGO_RPM)
	mkdir -p target/rpm $(DIST)
	for page in 1:swift-object-replicator.1 5:swift-object-replicator.conf.5; do gzip -9nc man/$${page#*:} >target/rpm/man$${page%%:*}.gz; done
	for shell in bash fish; do \
		sed 's/swift-object-replicator/&-native/g' packaging/completions/swift-object-replicator.$$shell >target/rpm/completion.$$shell; \
	done
	sed 's/swift-object-replicator/&-native/g' packaging/completions/_swift-object-replicator >target/rpm/completion.zsh
	$(CARGO_RPM) generate-rpm --target $(TARGET) --payload-compress gzip --output $(RPM)

# To be unpacked in /usr/local.
tar: portable
	rm -rf target/tar
	$(MAKE) --no-print-directory install BINARY=$(PORTABLE) PREFIX=/usr/local DESTDIR=target/tar
	mv target/tar/usr/local target/tar/$(notdir $(TAR:.tar.gz=))
	install -m 644 LICENSE README.md CHANGELOG.md target/tar/$(notdir $(TAR:.tar.gz=))/
	mkdir -p $(DIST)
	tar --create --owner=0 --group=0 --sort=name --mtime=@$$SOURCE_DATE_EPOCH --directory target/tar $(notdir $(TAR:.tar.gz=)) | gzip -9n >$(TAR)

dist: deb rpm tar
	rm -rf $(TOOLS_BUILD)
	cd $(DIST) && sha256sum $(notdir $(DEB) $(RPM) $(TAR)) >SHA256SUMS
	ls -l $(DIST)

RELEASE ?= bookworm trixie

test-deb: deb
	$(SUDO) packaging/test-deb $(DEB) $(RELEASE)

test-rpm: rpm
	$(SUDO) packaging/test-rpm $(RPM)

clean:
	$(SUDO) rm -rf --one-file-system target/clusters target/machines
	cargo clean

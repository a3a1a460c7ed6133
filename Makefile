# Every target installs what it needs. `make` alone lists them.

TOOLS := $(abspath $(or $(LIFEBOAT_TOOLS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/etcd-lifeboat/tools))
# One set of features for tests and demo, so that nothing is built twice. Packages are built without it.
FEATURES := --features failpoints

# Without its own xz and debug symbol features: the machine's xz does it.
CARGO_DEB := 3.8.0
TARGET := x86_64-unknown-linux-gnu
# The .deb says the same (Cargo.toml).
GLIBC := 2.28
VERSION = $(shell sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# Times in the packages are those of the commit.
EPOCH = $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)

export LIFEBOAT_TOOLS := $(TOOLS)

.DEFAULT_GOAL := help
.PHONY: help tools cargo check test model soak fuzz fuzz-min kills disks damages lab demo bench deb rpm packages-check package-tree cargo-deb

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: cargo tools ## the whole story in two minutes: snapshots, a lost host, the restore, every key compared
	cargo build $(FEATURES)
	tests/demo.sh

# Most tests wait for real processes most of their time, so that there are more of them at once than there are cores.
test: cargo tools ## all tests: units, real etcd of five releases, real S3 servers
	RUST_TEST_THREADS=$(or $(RUST_TEST_THREADS),4) cargo test --no-fail-fast $(FEATURES)
	@tests/support/fetch-tools.sh left-out

soak: cargo tools ## random faults on three hosts: ROUNDS=200 SEED=any number
	LIFEBOAT_ROUNDS=$(or $(ROUNDS),200) LIFEBOAT_SEED=$(SEED) cargo test $(FEATURES) --test several whatever_happens -- --nocapture

# Optimised, with the dependencies of the other tests.
model: cargo ## every order of crashes, lost disks and joins that several hosts can go through, minutes; MODEL_LIMIT=n worlds per variant
	LIFEBOAT_MODEL=long LIFEBOAT_MODEL_LIMIT=$(or $(MODEL_LIMIT),1000000) cargo test $(FEATURES) --test model \
	  --config 'profile.dev.package.etcd-lifeboat.opt-level=2' -- --include-ignored --nocapture --test-threads=2

fuzz: cargo ## MINUTES=3 of each fuzz target, JOBS=1 at a time, TARGETS="bolt wal"; crashes go to fuzz/crashes, where 'make test' finds them
	@command -v c++ >/dev/null || { echo "libFuzzer is built by a C++ compiler: install g++" >&2; exit 1; }
	MINUTES=$(or $(MINUTES),3) JOBS=$(or $(JOBS),1) fuzz/run.sh fuzz $(TARGETS)

fuzz-min: cargo ## what 'make fuzz' found, minimised, into fuzz/corpus
	fuzz/run.sh minimise $(TARGETS)

kills: cargo tools ## kill -9 at every named point of save, ship and restore, on hosts with a past: SEEDS=20 SEED=1
	LIFEBOAT_KILLS=$(or $(SEEDS),20) LIFEBOAT_SEED=$(or $(SEED),1) cargo test $(FEATURES) --test faults seeded -- --nocapture

disks: cargo tools ## disks that fill at OFFSETS=100 places, or fail any one fsync or rename: save, fetch, restore, gate
	LIFEBOAT_DISKS=$(or $(OFFSETS),100) cargo test $(FEATURES) --test faults disk_faults -- --nocapture

# Optimised, with the dependencies of the other tests.
damages: cargo tools ## COUNT=1000 changed bytes in each part of a snapshot of 64 MiB, SEED=1
	LIFEBOAT_DAMAGES=$(or $(COUNT),1000) LIFEBOAT_SEED=$(or $(SEED),1) cargo test $(FEATURES) --test faults \
	  --config 'profile.dev.package.etcd-lifeboat.opt-level=2' flips -- --nocapture

check: cargo tools ## format, lints, and the direction of imports
	cargo fmt --check
	cargo clippy --all-targets $(FEATURES) -- -D warnings
	cargo clippy --test lab $(FEATURES) -- -D warnings
	cargo test $(FEATURES) --test layers

# Of the package LIFEBOAT_DEB, or else of the one that is built here.
lab: cargo tools $(if $(LIFEBOAT_DEB),,deb) ## stories on hosts with real systemd and the package, in containers (root or sudo); LAB=words: those with one in their name
	tests/lab/rootfs.sh prerequisites
	for suite in bookworm trixie; do tests/lab/as-root.sh tests/lab/rootfs.sh $$suite || exit 1; done
	LIFEBOAT_DEB="$(if $(LIFEBOAT_DEB),$(abspath $(LIFEBOAT_DEB)),$$(echo $(CURDIR)/target/debian/etcd-lifeboat_*_amd64.deb))" cargo test $(FEATURES) --test lab --config 'target."cfg(unix)".runner = "tests/lab/as-root.sh"' -- \
	  --test-threads=$(or $(LAB_JOBS),1) --nocapture $(LAB)

bench: cargo tools ## save, restore and their effect on etcd beside what a user would run instead, on a db of 1.3 GiB (release build)
	cargo build --release --features bench
	bench/bench.sh

deb: package-tree cargo-deb ## the Debian package, in target/debian
	rm -f target/debian/*.deb
	SOURCE_DATE_EPOCH=$(EPOCH) $(TOOLS)/cargo/bin/cargo-deb --no-build --no-strip --quiet --output target/debian/
	@cd target && du --apparent-size -h debian/*.deb

rpm: package-tree ## the RPM package, in target/rpm (root: it is built in a root file system of its own)
	rm -f target/rpm/*.rpm
	SOURCE_DATE_EPOCH=$(EPOCH) packaging/tools-root.sh run target /project/packaging/rpm/build.sh $(VERSION) /out/package/tree /out/rpm
	@cd target && du --apparent-size -h rpm/*.rpm

packages-check: deb rpm ## lintian, rpmlint, units, and both packages installed, upgraded, removed (root)
	packaging/check.sh target

# The release binary, without failpoints, against the C library of RHEL 8 and Debian 11 (packaging/README.md), and all files at their places.
package-tree: cargo tools
	zig=$$(packaging/fetch-zig.sh) && \
	  RUSTFLAGS="--remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=cargo --remap-path-prefix=$$PWD=." CARGO_ZIGBUILD_ZIG_PATH=$$zig/ziglang/zig \
	  $$zig/bin/cargo-zigbuild zigbuild --release --locked --target $(TARGET).$(GLIBC)
	SOURCE_DATE_EPOCH=$(EPOCH) packaging/stage.sh $(or $(CARGO_TARGET_DIR),target)/$(TARGET)/release/lifeboat target/package/tree

cargo-deb:
	@$(TOOLS)/cargo/bin/cargo-deb --version 2>/dev/null | grep -qx '$(CARGO_DEB)' || \
	  cargo install cargo-deb --version $(CARGO_DEB) --locked --no-default-features --root $(TOOLS)/cargo

tools: ## etcd 3.4 to 3.7 and S3 servers, into $LIFEBOAT_TOOLS (default ~/.cache/etcd-lifeboat/tools)
	@tests/support/fetch-tools.sh

cargo:
	@command -v cargo >/dev/null || { echo "cargo is not on PATH: install Rust 1.90 or newer with clippy and rustfmt (package rust-all, or rustup)" >&2; exit 1; }
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || { echo "rustfmt or clippy is missing: rustup component add rustfmt clippy" >&2; exit 1; }

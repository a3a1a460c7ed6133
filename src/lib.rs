//! `etcd-lifeboat`: snapshots of etcd that can be restored, and a gate that restores them before etcd may start.
//!
//! # The three data paths
//!
//! 1. **Scheduled snapshot**: `agent` (a slot is due) -> `snapshot::save` (stream, digest, compress, spool) ->
//!    `snapshot::ship` (payload, then the manifest: the commit point).
//! 2. **Bootstrap**: `bootstrap` gathers `core::facts`, `core::decide` decides, `bootstrap` takes one durable step and
//!    looks again.
//! 3. **A command**: `main` -> `cli::args` -> `config` -> `cli::wire` -> a function that returns a report ->
//!    `cli::render` -> exit code.
//!
//! # Who may import whom
//!
//! `main -> cli -> { bootstrap, snapshot, agent, setup } -> catalog -> ports <- { store, etcd, datadir } ->
//! { bolt, codec, crypto, sys }`. Everything may use `core` and `error`; `core` uses nothing of the crate.
//! `tests/layers.rs` holds that.
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`core`] | pure: names, records, facts, rules, schedules; values in, values with reasons out |
//! | [`ports`] | what we need from the world, as traits |
//! | [`bolt`], [`datadir`] | etcd's files: read, checked, written, without an etcd |
//! | [`store`], [`etcd`] | backends of the ports |
//! | [`catalog`] | keys and signed records over a store |
//! | [`snapshot`], [`bootstrap`], [`agent`] | the product |
//! | [`setup`] | drop-ins: etcd's unit waits for the gate, ours get what the configuration names |
//! | [`config`], [`cli`], [`telemetry`], [`sys`], [`codec`], [`crypto`] | around it |

pub mod agent;
pub mod bolt;
pub mod bootstrap;
pub mod catalog;
pub mod cli;
pub mod codec;
pub mod config;
pub mod core;
pub mod crypto;
pub mod datadir;
pub mod error;
pub mod etcd;
pub mod ports;
pub mod setup;
pub mod snapshot;
pub mod store;
pub mod sys;
pub mod telemetry;

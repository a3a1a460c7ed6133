//! `etcd-lifeboat`: snapshots of etcd that can be restored, and a gate that restores them before etcd may start.

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
pub mod snapshot;
pub mod store;
pub mod sys;
pub mod telemetry;

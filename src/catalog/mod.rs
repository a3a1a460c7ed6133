//! What is in the store: signed records, snapshots and plans, by key.
//!
//! It knows keys and records; it does not know S3, etcd or why something is read.

pub mod attached;
pub mod changes;
pub mod heartbeat;
pub mod keys;
mod listing;
#[cfg(test)]
mod many_tests;
#[cfg(test)]
pub(crate) mod memory;
pub mod plans;
#[cfg(test)]
mod planted_tests;
pub mod presence;
pub mod probe;
pub mod records;
pub mod snapshots;
#[cfg(test)]
pub(crate) mod snapshots_tests;
pub mod voters;

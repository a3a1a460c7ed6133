//! What is in the store: signed records and snapshots, by key.
//!
//! It knows keys and records; it does not know S3, etcd or why something is read.

pub mod records;

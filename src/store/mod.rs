//! Backends of [`crate::ports::ObjectStore`]: a directory and S3-compatible storage.
//!
//! They exist to give both the same promises: create-only writes that are atomic, objects that are whole or absent,
//! success only when the bytes are durable, absence only on positive evidence. They know nothing of snapshots, manifests
//! or plans, and decide nothing: what a key means is the catalog's business.

pub mod dir;
mod key;
pub mod s3;
pub mod unusable;

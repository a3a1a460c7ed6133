//! etcd's own files: the db (a bolt file), the WAL, the `.snap` file; what is in them, whether they are sound, and how a
//! data dir is built from a snapshot.
//!
//! It exists so that neither a snapshot's check nor a restore needs an etcd binary on the host. Formats are those of
//! etcd 3.4 to 3.6 (`server/storage/{schema,wal}`, `etcdutl/snapshot`). It never removes member data, and never writes
//! into a data dir that is in use.

use crate::error::{Error, Kind};

pub mod buckets;
#[cfg(test)]
mod damage;
pub mod hash;
pub mod ids;
pub mod inspect_dir;
pub mod inspect_file;
pub mod install;
pub mod protobuf;
mod received;
pub mod restore;
pub mod snap;
mod staged;
pub mod stream_index;
pub mod trailer;
pub mod urls;
pub mod wal;

/// Bytes that cannot be what they should be.
fn damaged(text: impl Into<String>) -> Error {
    Error::new(Kind::Verification, text)
}

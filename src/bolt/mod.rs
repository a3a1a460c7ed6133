//! The bolt file format, version 2 (bbolt's `internal/common/{page,meta}.go`): bounded reading, a structural check, an
//! append-only edit, and an index of an image that passes by as a stream.
//!
//! It exists because no maintained library opens etcd's files without `unsafe` and mmap. It knows nothing of etcd:
//! bucket names and what is in values belong to `datadir`. No input makes it panic, loop or allocate without bound.

use crate::error::{Error, Kind};

mod bucket;
pub mod check;
pub mod editor;
pub mod page;
mod read_at;
pub mod reader;
pub mod stream_index;

/// Bytes that cannot be what they should be. `text` names the page and what is wrong with it.
fn damaged(text: impl Into<String>) -> Error {
    Error::new(Kind::Verification, text)
}

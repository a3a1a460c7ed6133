//! The snapshot path: save into the spool, ship to the store, fetch back, verify.
//!
//! It exists so that a snapshot is either whole, proven and listed, or not there at all. It knows etcd and the store only
//! through their ports, reads no configuration, and does not decide when anything is due.

pub mod adoption;
pub mod commands;
mod early;
pub mod effort;
pub mod fetch;
pub mod life;
mod payload;
mod received;
pub mod save;
pub mod ship;
pub mod spool;
pub mod stopped;
mod stream;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod watched;

/// Every named step at which a test may kill, stop or fail the process on its way from etcd's stream to the store.
pub const FAILPOINTS: &[&str] = &[
    "save.before_stream",
    "save.mid_stream",
    "save.after_stream",
    "save.after_fsync",
    "save.after_manifest",
    "save.after_rename",
    "ship.before_payload",
    "ship.after_payload",
    "ship.before_rename",
    "ship.after_manifest",
    "ship.after_mark",
    "ship.after_trim",
];

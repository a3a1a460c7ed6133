//! What the product needs from the world, as traits: the store, etcd, the clock.
//!
//! Backends live in `store/`, `etcd/` and `sys/`; only `cli::wire` names them. Nothing here does anything.

mod etcd;
mod store;

use std::time::Duration;

pub use etcd::{
    Campaign, Election, Etcd, EtcdError, EtcdErrorKind, EtcdResult, Learners, Member, MemberStatus, Membership, Office,
    Peer, PeerAnswer, Promoted, SnapshotStream,
};
pub use store::{
    ByteStream, EarlyUpload, Fetched, GrowingFile, ObjectKey, ObjectMeta, ObjectStore, Opened, Page, PutMode,
    StoreError, StoreErrorKind, StoreResult, Swept,
};

use crate::core::model::Timestamp;

/// The clocks. Wall time for records and schedules, monotonic for every interval.
pub trait Clock: Send + Sync {
    /// Wall clock, UTC.
    fn now(&self) -> Timestamp;

    /// Monotonic time since some fixed point; never goes back.
    fn monotonic(&self) -> Duration;
}

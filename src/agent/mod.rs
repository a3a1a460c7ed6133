//! The daemon: schedules, and what they start.
//!
//! It exists to keep the scheduled work of one node going for months. It may not decide what is due or how a snapshot
//! is taken: `core` and `snapshot` do.

pub mod scheduler;

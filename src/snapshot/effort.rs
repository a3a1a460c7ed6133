//! How hard a snapshot may press: threads that compress, and a limit on what is read from etcd.

use std::num::{NonZeroU64, NonZeroUsize};

/// Hosts with more processors than this compress on two threads. One thread keeps up with etcd's stream as a rule, and etcd
/// runs on the same processors.
const SMALL_HOST: usize = 4;

/// What a snapshot may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Threads that compress.
    pub compression_threads: NonZeroUsize,
    /// Bytes per second that are read from etcd, at most.
    pub etcd_rate: Option<NonZeroU64>,
}

impl Default for Effort {
    fn default() -> Self {
        Effort { compression_threads: NonZeroUsize::MIN, etcd_rate: None }
    }
}

impl Effort {
    /// `threads` as configured; 0: by the number of processors of this host.
    pub fn new(threads: usize, etcd_rate: Option<NonZeroU64>) -> Self {
        let by_host = || {
            let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            if processors > SMALL_HOST { NonZeroUsize::MIN.saturating_add(1) } else { NonZeroUsize::MIN }
        };
        Effort { compression_threads: NonZeroUsize::new(threads).unwrap_or_else(by_host), etcd_rate }
    }
}

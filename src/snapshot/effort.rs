//! How hard a snapshot may press: threads that compress, and a limit on what is read from etcd.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

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

/// Keeps a flow of bytes below a rate, without bursts of more than a second.
pub(super) struct Pace {
    rate: Option<NonZeroU64>,
    /// When what has passed so far would have passed at exactly the rate.
    even: Instant,
}

impl Pace {
    pub(super) fn new(rate: Option<NonZeroU64>) -> Self {
        Pace { rate, even: Instant::now() }
    }

    /// Waits until `bytes` more may pass.
    pub(super) async fn pass(&mut self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        let now = Instant::now();
        // A flow that was slow for a while does not make up for all of it.
        self.even = self.even.max(now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
        self.even += Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
        sleep_until(self.even).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flow_stays_below_its_rate_and_makes_up_for_a_second_at_most() {
        let begun = Instant::now();
        let mut pace = Pace::new(NonZeroU64::new(1 << 20));
        for _ in 0..100 {
            pace.pass(256 << 10).await;
        }
        let took = begun.elapsed().as_secs_f64();
        assert!((24.0..=25.1).contains(&took), "25 MiB at 1 MiB/s took {took}");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let begun = Instant::now();
        for _ in 0..40 {
            pace.pass(256 << 10).await;
        }
        let took = begun.elapsed().as_secs_f64();
        assert!((8.9..=9.1).contains(&took), "10 MiB after an hour took {took}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let (begun, mut pace) = (Instant::now(), Pace::new(None));
        pace.pass(usize::MAX).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}

//! Keeps a flow of bytes below a rate. By the monotonic clock.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What a flow may make up for after a pause. It is also the longest burst.
const CREDIT: Duration = Duration::from_secs(1);

/// One flow.
pub struct Pace {
    rate: Option<NonZeroU64>,
    /// When what has passed so far would have passed at exactly the rate.
    even: Option<Instant>,
}

impl Pace {
    /// At most `rate` bytes per second; `None`: as fast as it comes.
    pub fn new(rate: Option<NonZeroU64>) -> Self {
        Pace { rate, even: None }
    }

    /// Waits until `bytes` more may pass.
    pub async fn pass(&mut self, bytes: usize) {
        if let Some(due) = self.due(Instant::now(), bytes) {
            sleep_until(due).await;
        }
    }

    /// When `bytes` more that come `now` may pass.
    pub fn due(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let rate = self.rate?;
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        let even = self.even.map_or(now, |even| even.max(earliest));
        let due = even + Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
        self.even = Some(due);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_stays_below_its_rate_and_makes_up_for_a_second_at_most() {
        let mut pace = Pace::new(NonZeroU64::new(1 << 20));
        // Each piece comes as soon as the one before it may pass.
        let flow = |pace: &mut Pace, begin: Instant, pieces: usize| {
            let end = (0..pieces).fold(begin, |now, _| pace.due(now, 256 << 10).unwrap().max(now));
            end.duration_since(begin).as_secs_f64()
        };
        let begin = Instant::now();
        assert!((flow(&mut pace, begin, 100) - 25.0).abs() < 0.01);
        let later = begin + Duration::from_secs(3600);
        assert!((flow(&mut pace, later, 40) - 9.0).abs() < 0.01);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        assert_eq!(Pace::new(None).due(Instant::now(), usize::MAX), None);
    }
}

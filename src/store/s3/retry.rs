//! How often and when a request is sent again.
//!
//! It exists so that every retry has backoff, jitter and an end: a number of attempts and a span of monotonic time. What
//! may be sent again at all is said by the failure itself (`failure.rs`).

use std::time::Duration;

use crate::sys::random;

use super::client::Client;
use super::failure::{Again, Failure, SKEWED};
use super::options::Limits;

/// A person is told after this time that a request is still being tried; twice as long passes until the next time.
const TELL_AFTER: Duration = Duration::from_secs(3);

pub(super) struct Tries<'c> {
    client: &'c Client,
    operation: &'static str,
    started: Duration,
    made: u32,
    signed_anew: bool,
    tell_at: Duration,
}

impl<'c> Tries<'c> {
    pub(super) fn new(client: &'c Client, operation: &'static str) -> Self {
        let started = client.clock.monotonic();
        Tries { client, operation, started, made: 1, signed_anew: false, tell_at: TELL_AFTER }
    }

    /// Returns when the request may be sent again.
    ///
    /// # Errors
    /// The failure itself, when it may not, or has been often or long enough.
    pub(super) async fn wait(&mut self, failure: Failure) -> Result<(), Failure> {
        let limits = &self.client.limits;
        let elapsed = self.client.clock.monotonic().saturating_sub(self.started);
        match failure.again {
            Again::No => return Err(failure),
            Again::SignAnew if self.signed_anew => return Err(self.ended(failure, elapsed)),
            Again::SignAnew => {
                self.signed_anew = true;
                if failure.code != SKEWED {
                    self.client.credentials.forget().await;
                }
            }
            Again::Later => {}
        }
        let pause = pause(limits, self.made, random::fraction(), failure.retry_after);
        if self.made >= limits.attempts || elapsed.saturating_add(pause) > limits.retry_for {
            return Err(self.ended(failure, elapsed));
        }
        tracing::debug!(
            operation = self.operation,
            attempt = self.made,
            wait_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            error = %failure.error,
            "the S3 request failed and will be sent again"
        );
        if let Some(tell) = limits.tell
            && elapsed.saturating_add(pause) >= self.tell_at
        {
            self.tell_at = elapsed.saturating_mul(2).max(TELL_AFTER * 2);
            let left = limits.retry_for.saturating_sub(elapsed).as_secs();
            tell(&format!("still trying, for up to {left} s more: {}", failure.error));
        }
        tokio::time::sleep(pause).await;
        self.made = self.made.saturating_add(1);
        Ok(())
    }

    fn ended(&self, mut failure: Failure, elapsed: Duration) -> Failure {
        if self.made > 1 {
            failure.error.text.push_str(&format!(" (tried {} times in {} s)", self.made, elapsed.as_secs()));
        }
        failure
    }
}

/// Exponential, between half and the whole of each step, never less than the store asked for (within the cap).
fn pause(limits: &Limits, made: u32, fraction: f64, retry_after: Option<Duration>) -> Duration {
    let doubled = limits.backoff.saturating_mul(1u32 << made.saturating_sub(1).min(16)).min(limits.backoff_cap);
    let jittered = doubled.mul_f64(0.5 + fraction.clamp(0.0, 1.0) / 2.0);
    jittered.max(retry_after.unwrap_or_default()).min(limits.backoff_cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_are_jittered() {
        let limits =
            Limits { backoff: Duration::from_millis(100), backoff_cap: Duration::from_secs(2), ..Limits::default() };
        let asked = Some(Duration::from_secs(1));
        let cases = [
            (1, 0.0, None, 50),
            (1, 1.0, None, 100),
            (2, 1.0, None, 200),
            (4, 0.5, None, 600),
            (5, 1.0, None, 1600),
            (6, 1.0, None, 2000),
            (u32::MAX, 1.0, None, 2000),
            (u32::MAX, 0.0, None, 1000),
            (1, 0.0, asked, 1000),
            (1, 0.0, Some(Duration::from_secs(60)), 2000),
        ];
        for (made, fraction, retry_after, expected) in cases {
            let got = pause(&limits, made, fraction, retry_after);
            assert_eq!(got, Duration::from_millis(expected), "attempt {made}, fraction {fraction}");
        }
    }
}

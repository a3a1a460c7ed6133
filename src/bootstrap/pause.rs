//! How long the gate waits between two looks.

use std::time::Duration;

use crate::core::decide::{Decision, Verdict, WaitReason};
use crate::sys::random;

/// First pause between two looks; it doubles up to [`LONGEST_PAUSE`], with jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A mended cause is seen within this time.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// As long as hosts may be booting together, they look at each other this often: before the first two of three can serve without the third, which would
/// then have to join.
const AMONG_HOSTS: Duration = Duration::from_secs(1);
/// How long that is.
const SOON: Duration = Duration::from_secs(10 * 60);

/// The pauses between looks: growing, with jitter.
#[derive(Debug, Clone, Copy)]
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Pause(FIRST_PAUSE)
    }
}

impl Pause {
    /// How long the next one is, jitter left aside.
    pub(super) fn next(&self) -> Duration {
        self.0
    }

    /// Waits, and makes the next one longer, up to `longest`.
    pub async fn wait(&mut self, longest: Duration) {
        tokio::time::sleep(self.0.min(longest).mul_f64(0.75 + 0.5 * random::fraction())).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

/// Hosts that boot together wait for each other by seconds, not by quarters of a minute; only who has waited long looks seldom.
pub(super) fn longest_pause(verdict: &Verdict, waited: Duration) -> Duration {
    let for_hosts = matches!(
        verdict.decision,
        Decision::Join { .. }
            | Decision::MakePlan(_)
            | Decision::Wait { reason: WaitReason::Peers | WaitReason::RollCall | WaitReason::Seed }
    );
    if for_hosts && waited < SOON { AMONG_HOSTS } else { LONGEST_PAUSE }
}

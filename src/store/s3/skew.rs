//! The difference between this host's clock and the store's, in words.
//!
//! It exists because a wrong clock shows itself as a refused signature or a bad certificate, and nobody thinks of it at 3 a.m. A store that only
//! shows a wrong date is worked with: ages are measured by its clock alone. One that refuses ours is signed for by its own date, and said so.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::core::model::Timestamp;

/// S3 refuses signatures beyond 15 minutes; hosts with NTP are within a second.
const WORTH_A_WORD: i64 = 300;

/// What to type.
pub(super) const REMEDY: &str = "correct the clock that is wrong (on this host: timedatectl, chronyc makestep)";

/// Endpoints whose clock was said to differ. One process is one run; it has several clients.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// What to add to this host's clock for a signature, in seconds: nothing, until the store refuses our date.
#[derive(Debug, Default)]
pub(super) struct Correction(AtomicI64);

impl Correction {
    /// The store refused the date, and told its own.
    pub(super) fn learn(&self, here: Timestamp, there: Timestamp) {
        self.0.store(there.as_second().saturating_sub(here.as_second()), Ordering::Relaxed);
    }

    /// The date to sign with.
    pub(super) fn of(&self, here: Timestamp) -> Timestamp {
        let corrected = here.as_second().saturating_add(self.0.load(Ordering::Relaxed));
        Timestamp::from_second(corrected).unwrap_or(here)
    }
}

/// Seconds between the two, if they are worth a word.
pub(super) fn notable(here: Timestamp, there: Timestamp) -> Option<i64> {
    let seconds = here.as_second().saturating_sub(there.as_second()).saturating_abs();
    (seconds > WORTH_A_WORD).then_some(seconds)
}

/// "this host's clock (2024-01-15T10:30:00Z) and the store's (2024-01-15T11:30:12Z) differ by 3612 s".
pub(super) fn words(here: Timestamp, there: Timestamp) -> String {
    let seconds = here.as_second().saturating_sub(there.as_second()).saturating_abs();
    let days = match seconds / 86_400 {
        0 | 1 => String::new(),
        days => format!(" ({days} days)"),
    };
    let show = |t: Timestamp| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    format!("this host's clock ({}) and the store's ({}) differ by {seconds} s{days}", show(here), show(there))
}

/// A warning, when it is the first of this run for `endpoint`, or the clocks agreed in between.
pub(super) fn warning(endpoint: &str, here: Timestamp, there: Timestamp) -> Option<String> {
    let differs = notable(here, there).is_some();
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !differs {
        said.remove(endpoint);
        return None;
    }
    said.insert(endpoint.to_owned()).then(|| format!("{endpoint}: {}; {REMEDY}", words(here, there)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_and_said_once() {
        let at = |s: &str| s.parse::<Timestamp>().unwrap();
        let here = at("2024-01-15T10:30:00Z");
        for (there, expected) in [
            ("2024-01-15T10:30:00Z", None),
            ("2024-01-15T10:35:00Z", None),
            ("2024-01-15T10:24:59Z", Some("differ by 301 s")),
            ("2024-01-15T11:30:12Z", Some("differ by 3612 s")),
            ("2034-01-15T10:30:00Z", Some("differ by 315619200 s (3653 days)")),
            ("1970-01-01T00:00:00Z", Some("(1970-01-01T00:00:00Z) differ by 1705314600 s (19737 days)")),
        ] {
            let there = at(there);
            assert_eq!(notable(here, there).is_some(), expected.is_some(), "{there}");
            let first = warning("https://skew.test", here, there);
            match expected {
                None => assert_eq!(first, None),
                Some(text) => {
                    let first = first.unwrap();
                    assert!(first.contains(text) && first.contains("timedatectl"), "{first}");
                    assert_eq!(warning("https://skew.test", here, there), None, "once");
                    assert!(warning("https://other.test", here, there).is_some());
                }
            }
            for endpoint in ["https://skew.test", "https://other.test"] {
                assert_eq!(warning(endpoint, here, here), None);
            }
        }
    }
}

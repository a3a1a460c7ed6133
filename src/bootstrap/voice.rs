//! What the gate tells people: a line when there is something new, and the state of now for `systemctl status`.
//!
//! It exists so that a gate that waits for days says why once, and again every five minutes, however often it looks. It outlives a change of the
//! configuration and a failed attempt. It may not decide anything.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The same reason is said again only after this time.
const SAY_AGAIN: Duration = Duration::from_secs(300);
/// Terminals cut a status about here: what happened and what to type should both stand before it.
const GLANCE: usize = 200;
/// What is left of a reason beside a hint that is long itself.
const LEAST_OF_A_REASON: usize = 120;

type Sink = Box<dyn Fn(&str) + Send + Sync>;

/// Where lines and states go.
pub struct Voice {
    line: Sink,
    status: Sink,
    said: Mutex<HashMap<&'static str, (String, Duration)>>,
}

impl Voice {
    /// `line` gets each line once; `status` gets the state of now, as often as it is looked at.
    pub fn new(line: impl Fn(&str) + Send + Sync + 'static, status: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Voice { line: Box::new(line), status: Box::new(status), said: Mutex::default() }
    }

    /// A line, now.
    pub fn line(&self, text: &str) {
        (self.line)(text);
    }

    /// The state of now.
    pub fn status(&self, text: &str) {
        (self.status)(text);
    }

    /// Whether `text` is worth a line: `topic` had another one until now, or has not been heard of for five minutes. Numbers (ages, seconds)
    /// change at each look; the reason does not.
    pub fn is_news(&self, topic: &'static str, text: &str, now: Duration) -> bool {
        let reason: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let old = said.get(topic);
        let news = old.is_none_or(|(old, at)| *old != reason || now.saturating_sub(*at) >= SAY_AGAIN);
        if news {
            said.insert(topic, (reason, now));
        }
        news
    }
}

/// A status for people who see the beginning of it: head, what happened, what to type. Where that is too long, the reason is cut there and follows
/// in full at the end.
pub fn status_line(head: &str, why: &str, hint: Option<&str>) -> String {
    let Some(hint) = hint else { return format!("{head}: {why}") };
    let beside = head.chars().count() + hint.chars().count() + ":  | to do: ".len();
    let room = GLANCE.saturating_sub(beside).max(LEAST_OF_A_REASON);
    if why.chars().count() <= room {
        return format!("{head}: {why} | to do: {hint}");
    }
    let mut short: String = why.chars().take(room.saturating_sub(1)).collect();
    if let Some(blank) = short.rfind(' ') {
        short.truncate(blank);
    }
    format!("{head}: {short}… | to do: {hint} | in full: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_when_it_changes_and_every_five_minutes() {
        let voice = Voice::new(|_| (), |_| ());
        let at = Duration::from_secs;
        for (topic, text, now, expected) in [
            ("verdict", "the store is away", 0, true),
            ("verdict", "the store is away", 15, false),
            ("verdict", "the store is away", 299, false),
            ("verdict", "the store is away", 300, true),
            ("verdict", "waited for 10 s", 301, true),
            ("verdict", "waited for 27 s", 317, false),
            ("tidy", "a disk is full", 318, true),
            ("verdict", "waited for 44 s", 333, false),
            ("verdict", "the store is away", 334, true),
            ("tidy", "a disk is full", 400, false),
        ] {
            assert_eq!(voice.is_news(topic, text, at(now)), expected, "{text:?} at {now}");
        }
    }

    #[test]
    fn reason_and_hint_stand_at_the_beginning_of_a_status() {
        let hint = "lifeboat restore-once --cancel";
        assert_eq!(status_line("D7 START", "all is well", None), "D7 START: all is well");
        assert_eq!(status_line("F0 WAIT", "no store", Some(hint)), format!("F0 WAIT: no store | to do: {hint}"));
        let long = "a bucket that cannot be listed ".repeat(20);
        let line = status_line("P1 WAIT", &long, Some(hint));
        let glance: String = line.chars().take(GLANCE).collect();
        assert!(glance.starts_with("P1 WAIT: a bucket that cannot be listed") && glance.contains(hint), "{line}");
        assert!(line.ends_with(&long), "{line}");
        let longer = "type this and that ".repeat(20);
        let line = status_line("P1 WAIT", &long, Some(&longer));
        let glance: String = line.chars().take(GLANCE).collect();
        assert!(glance.contains("a bucket that cannot be listed a bucket") && glance.contains("type this"), "{line}");
        // Words of any language are cut between characters.
        let line = status_line("P1 WAIT", &"é".repeat(500), Some(hint));
        assert!(line.contains(hint), "{line}");
    }
}

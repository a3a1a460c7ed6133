//! When a schedule is due: cron expressions and fixed periods over time zones, missed runs, jitter.
//!
//! It exists because the timers that carry a schedule must not decide: a host sleeps, its clock jumps, a daemon is
//! down for a day. What is due follows from three times alone, so every case is a row in a table.
//! It may not read a clock or the time zone database; both arrive as arguments.

use std::fmt;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Zoned};
use sha2::{Digest, Sha256};

use crate::core::model::{Invalid, SnapshotName, Timestamp};

/// A recorded run that lies further ahead of the clock than this was recorded by a clock that was wrong: waiting
/// for it would stop the snapshots for as long as that clock was ahead.
const CLOCK_WAS_WRONG: SignedDuration = SignedDuration::from_hours(24);

/// Counting missed slots ends here: the number is for people, the work must stay bounded.
const MISSED_LIMIT: u32 = 1000;

/// Longest text that is looked at.
const LONGEST_TEXT: usize = 256;

const SHORTEST_PERIOD: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_PERIOD: SignedDuration = SignedDuration::from_hours(24 * 366);

const NICKNAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// A parsed schedule in its time zone.
///
/// Cron expressions have five fields as in crontab(5). A time of day that a change to summer time skips runs once,
/// at the end of the gap; one that occurs twice runs once, at the first. Periods (`@every 12h`, `@12h`) are counted
/// from 1970-01-01T00:00Z, so that all members agree on the slots and a restart moves none.
#[derive(Clone)]
pub struct Schedule {
    text: String,
    rule: Rule,
}

#[derive(Clone)]
enum Rule {
    Cron { cron: Box<Cron>, zone: TimeZone },
    Every(SignedDuration),
}

/// What [`due`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The slot to run now: the latest one that has passed and has not been run.
    pub due: Option<Timestamp>,
    /// Earlier slots that passed without a run; the run of `due` stands for them. At most 1000 are counted.
    pub missed: u32,
    /// The first slot that is still to come; `None` when the schedule never fires again.
    pub next: Option<Timestamp>,
}

impl Schedule {
    /// Parses `text`: five cron fields, a nickname such as `@hourly`, or a period such as `@every 12h` or `@12h`.
    /// Blanks around it are ignored. `zone` is that of the cron fields.
    ///
    /// # Errors
    /// When the text is none of these. Whether it ever fires is not looked at: see [`Schedule::next_after`].
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, Invalid> {
        let text = text.trim();
        let bad = |why: String| Invalid::new("schedule", text, why);
        if text.is_empty() {
            return Err(bad("it is empty; an example is \"0 * * * *\"".into()));
        }
        if text.len() > LONGEST_TEXT {
            return Err(bad(format!("it is longer than {LONGEST_TEXT} characters")));
        }
        if text.contains("TZ=") {
            return Err(bad("a time zone inside the expression is not supported; use the key timezone".into()));
        }
        let rule = match text.strip_prefix('@') {
            Some(rest) if !NICKNAMES.contains(&text.to_ascii_lowercase().as_str()) => {
                Rule::Every(parse_period(rest).map_err(bad)?)
            }
            _ => Rule::Cron { cron: Box::new(parse_cron(text).map_err(bad)?), zone },
        };
        Ok(Schedule { text: text.to_owned(), rule })
    }

    /// The text that was parsed, trimmed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first slot after `t`, never `t` itself; `None` when there is none (31 February).
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        // A slot is a whole second, so the fraction cannot matter; croner would carry it into the result.
        let whole = Timestamp::from_second(t.as_nanosecond().div_euclid(1_000_000_000).try_into().ok()?).ok()?;
        let next = match &self.rule {
            Rule::Cron { cron, zone } => {
                let from = whole.to_zoned(zone.clone());
                match cron.find_next_occurrence(&from, false) {
                    Ok(next) => next.timestamp(),
                    Err(_) => end_of_long_gap(cron, &from)?,
                }
            }
            Rule::Every(period) => {
                let period = period.as_secs();
                let slot = whole.as_second().div_euclid(period).checked_add(1)?.checked_mul(period)?;
                Timestamp::from_second(slot).ok()?
            }
        };
        // A search that does not advance would let callers loop.
        (next > t).then_some(next)
    }

    /// The latest slot in `(after, until]`.
    ///
    /// Built on [`Schedule::next_after`] alone, with a window that doubles: searching backwards gives other slots
    /// around a change of the clocks.
    fn last_in(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let mut window = SignedDuration::from_mins(1);
        loop {
            let from = until.checked_sub(window).unwrap_or(Timestamp::MIN).max(after);
            let mut found = None;
            let mut at = from;
            while let Some(slot) = self.next_after(at).filter(|s| *s <= until) {
                found = Some(slot);
                at = slot;
            }
            if found.is_some() || from == after {
                return found;
            }
            window = window.checked_mul(2)?;
        }
    }
}

/// The end of the gap that swallows the next civil time of `cron`. Croner gives up on gaps of more than two hours
/// (a zone that changes sides of the date line skips a day), which would end the schedule for good.
fn end_of_long_gap(cron: &Cron, from: &Zoned) -> Option<Timestamp> {
    let civil = cron.find_next_occurrence(&from.datetime(), false).ok()?;
    let AmbiguousOffset::Gap { before, .. } = from.time_zone().to_ambiguous_zoned(civil).offset() else {
        return None;
    };
    let behind = before.to_timestamp(civil).ok()?.checked_add(SignedDuration::from_secs(1)).ok()?;
    from.time_zone().preceding(behind).next().map(|transition| transition.timestamp())
}

fn parse_period(rest: &str) -> Result<SignedDuration, String> {
    let lower = rest.to_ascii_lowercase();
    let amount = lower.strip_prefix("every").unwrap_or(&lower).trim();
    let known = || format!("it is neither a period such as \"@every 12h\" nor one of {}", NICKNAMES.join(", "));
    let period: SignedDuration = amount.parse().map_err(|_| known())?;
    if !(SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&period) {
        return Err("a period is at least one second and at most 366 days".into());
    }
    if period.subsec_nanos() != 0 {
        return Err("a period is a whole number of seconds".into());
    }
    Ok(period)
}

fn parse_cron(text: &str) -> Result<Cron, String> {
    let fields = text.split_whitespace().count();
    if !text.starts_with('@') && fields != 5 {
        return Err(format!("it has {fields} fields; the five are minute, hour, day of month, month, day of week"));
    }
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
        .parse(text)
        .map_err(|e| e.to_string().trim_end_matches('.').to_owned())
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Rule::Cron { zone, .. } => {
                write!(f, "Schedule({:?} in {})", self.text, zone.iana_name().unwrap_or("a fixed offset"))
            }
            Rule::Every(_) => write!(f, "Schedule({:?})", self.text),
        }
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        match (&self.rule, &other.rule) {
            (Rule::Cron { zone: a, .. }, Rule::Cron { zone: b, .. }) => self.text == other.text && a == b,
            (Rule::Every(a), Rule::Every(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Schedule {}

/// What is to be done at `now`, when `last_run` is the slot of the last run and the schedule is in force since
/// `started_at` (slots up to then are nobody's when there was no run).
///
/// Every slot is run at most once. Slots that passed while nobody looked are caught up by one run. A clock that
/// goes back runs no slot again; a `last_run` more than a day ahead of `now` counts as never recorded, since the
/// clock that wrote it was wrong.
pub fn due(schedule: &Schedule, last_run: Option<Timestamp>, started_at: Timestamp, now: Timestamp) -> Due {
    let trusted = last_run.filter(|t| t.duration_since(now) <= CLOCK_WAS_WRONG);
    let base = match (last_run, trusted) {
        (_, Some(last)) => last,
        (Some(_), None) => started_at.min(now),
        (None, None) => started_at,
    };
    if base >= now {
        return Due { due: None, missed: 0, next: schedule.next_after(base) };
    }
    let next = schedule.next_after(now);
    let Some(slot) = schedule.last_in(base, now) else {
        return Due { due: None, missed: 0, next };
    };
    let mut missed = 0;
    let mut at = base;
    while missed < MISSED_LIMIT {
        match schedule.next_after(at) {
            Some(s) if s < slot => at = s,
            _ => break,
        }
        missed += 1;
    }
    Due { due: Some(slot), missed, next }
}

/// Whether a snapshot of this name was taken for this slot of `schedule`, or for a later one.
pub fn stands_for(name: &SnapshotName, schedule: &str, slot: Timestamp) -> bool {
    const STAMP: &str = "0000-00-00T00-00-00Z";
    let stamp = name.as_str().strip_prefix(schedule).and_then(|rest| rest.strip_prefix('-')?.get(..STAMP.len()));
    let is_stamp = |text: &str| {
        text.bytes().zip(STAMP.bytes()).all(|(c, like)| if like == b'0' { c.is_ascii_digit() } else { c == like })
    };
    // Stamps of one form are in the order of time.
    let begun = SnapshotName::from_start(schedule, slot);
    stamp.is_some_and(is_stamp)
        && begun.is_ok_and(|begun| name.as_str().get(..begun.as_str().len()) >= Some(begun.as_str()))
}

/// How long after a slot `node` runs `schedule`: spread evenly over `0..max` by a hash of both names, the same at
/// every call and on every version.
pub fn jitter(node: &str, schedule: &str, max: Duration) -> Duration {
    let digest = Sha256::new().chain_update(node).chain_update([0]).chain_update(schedule).finalize();
    let mut first = [0u8; 8];
    first.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    let share = (u128::from(u64::from_be_bytes(first)) * max.as_millis()) >> 64;
    Duration::from_millis(u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;

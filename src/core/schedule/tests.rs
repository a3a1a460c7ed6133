//! Tables of days on which clocks change, and the properties that hold on all the others.

use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn slots(text: &str, tz: &str, from: &str, n: usize) -> Vec<String> {
    let schedule = Schedule::parse(text, zone(tz)).unwrap();
    let mut t = at(from);
    let mut out = Vec::new();
    while out.len() < n {
        t = schedule.next_after(t).unwrap();
        out.push(t.to_zoned(zone(tz)).strftime("%Y-%m-%dT%H:%M%:z").to_string());
    }
    out
}

#[test]
fn days_on_which_the_clocks_change() {
    let cases: [(&str, &str, &str, &[&str]); 10] = [
        // Spring: 02:30 does not exist on the 29th.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T00:00+01:00",
            &["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
        ),
        // Autumn: 02:30 exists twice on the 25th.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00+02:00",
            &["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
        ),
        (
            "0 */6 * * *",
            "Europe/Berlin",
            "2026-03-28T20:00+01:00",
            &["2026-03-29T00:00+01:00", "2026-03-29T06:00+02:00", "2026-03-29T12:00+02:00"],
        ),
        // Hourly follows real hours through both changes.
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:30+01:00",
            &["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"],
        ),
        (
            "0 * * * *",
            "Europe/Berlin",
            "2026-10-25T01:30+02:00",
            &["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"],
        ),
        // Half an hour: Lord Howe goes from 02:00 to 02:30 in October and back in April.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00+10:30",
            &["2026-10-03T02:15+10:30", "2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"],
        ),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T12:00+11:00",
            &["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"],
        ),
        // At one minute past midnight: St. John's in 2006.
        (
            "1 0 * * *",
            "America/St_Johns",
            "2006-04-01T12:00-03:30",
            &["2006-04-02T01:01-02:30", "2006-04-03T00:01-02:30"],
        ),
        (
            "30 23 * * *",
            "America/St_Johns",
            "2006-10-28T12:00-02:30",
            &["2006-10-28T23:30-02:30", "2006-10-29T23:30-03:30"],
        ),
        // A whole day: 30 December 2011 did not happen in Apia.
        (
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00-10:00",
            &["2011-12-29T12:00-10:00", "2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"],
        ),
    ];
    for (text, tz, from, expected) in cases {
        assert_eq!(slots(text, tz, from, expected.len()), expected, "{text} in {tz} from {from}");
    }
}

#[test]
fn texts_that_are_schedules() {
    let cases = [
        ("  0 * * * *", "2026-01-01T01:00:00Z"),
        ("@hourly", "2026-01-01T01:00:00Z"),
        ("@Daily ", "2026-01-02T00:00:00Z"),
        ("@weekly", "2026-01-04T00:00:00Z"),
        ("@every 12h", "2026-01-01T12:00:00Z"),
        ("@12h", "2026-01-01T12:00:00Z"),
        ("@every 90s", "2026-01-01T00:01:30Z"),
        ("@every 1h30m", "2026-01-01T01:30:00Z"),
        ("0 3 * * sun", "2026-01-04T03:00:00Z"),
        ("0 3 29 2 *", "2028-02-29T03:00:00Z"),
        ("*/15 * * * 1-5", "2026-01-01T00:15:00Z"),
    ];
    for (text, first) in cases {
        let schedule = Schedule::parse(text, TimeZone::UTC).unwrap();
        assert_eq!(schedule.next_after(at("2026-01-01T00:00:00Z")), Some(at(first)), "{text}");
    }
}

#[test]
fn texts_that_are_not() {
    let long = "0 ".repeat(200);
    for (text, reason) in [
        ("", "empty"),
        ("   ", "empty"),
        ("hourly", "1 fields"),
        ("0 0 * * * *", "6 fields"),
        ("61 * * * *", "61"),
        ("* * * *", "4 fields"),
        ("@every", "neither a period"),
        ("@every 0s", "at least one second"),
        ("@every -1h", "at least one second"),
        ("@every 10ms", "at least one second"),
        ("@every 1500ms", "whole number"),
        ("@reboot", "@hourly"),
        ("@fortnightly", "@hourly"),
        ("CRON_TZ=Europe/Berlin 0 * * * *", "timezone"),
        (long.as_str(), "longer than"),
    ] {
        let e = Schedule::parse(text, TimeZone::UTC).unwrap_err().to_string();
        assert!(e.contains(reason), "{text:?}: {e}");
    }
}

#[test]
fn a_day_that_never_comes_has_no_next() {
    let s = Schedule::parse("0 0 31 2 *", TimeZone::UTC).unwrap();
    let now = at("2026-01-01T00:00:00Z");
    assert_eq!(s.next_after(now), None);
    assert_eq!(due(&s, None, at("2025-01-01T00:00:00Z"), now), Due { due: None, missed: 0, next: None });
}

#[test]
fn what_is_due() {
    let s = Schedule::parse("0 * * * *", TimeZone::UTC).unwrap();
    let start = "2026-01-01T00:30:00Z";
    // (last run, now, due, missed, next)
    let cases = [
        (None, "2026-01-01T00:59:59Z", None, 0, "2026-01-01T01:00:00Z"),
        (None, "2026-01-01T01:00:00Z", Some("2026-01-01T01:00:00Z"), 0, "2026-01-01T02:00:00Z"),
        (Some("2026-01-01T01:00:00Z"), "2026-01-01T01:00:00.5Z", None, 0, "2026-01-01T02:00:00Z"),
        // Down from one to seven: one run stands for six.
        (Some("2026-01-01T01:00:00Z"), "2026-01-01T07:10:00Z", Some("2026-01-01T07:00:00Z"), 5, "2026-01-01T08:00:00Z"),
        // Down before this start: the last run counts, not the start.
        (Some("2025-12-31T22:00:00Z"), "2026-01-01T00:31:00Z", Some("2026-01-01T00:00:00Z"), 1, "2026-01-01T01:00:00Z"),
        // The clock went back by two hours: what has run is not run again.
        (Some("2026-01-01T05:00:00Z"), "2026-01-01T03:30:00Z", None, 0, "2026-01-01T06:00:00Z"),
        // The clock was a year ahead when it recorded the last run.
        (Some("2027-01-01T05:00:00Z"), "2026-01-01T00:40:00Z", None, 0, "2026-01-01T01:00:00Z"),
        (Some("2027-01-01T05:00:00Z"), "2026-01-01T01:40:00Z", Some("2026-01-01T01:00:00Z"), 0, "2026-01-01T02:00:00Z"),
        // The clock jumps ahead by ten years: one run, and the count stays bounded.
        (
            Some("2026-01-01T01:00:00Z"),
            "2036-01-01T00:10:00Z",
            Some("2036-01-01T00:00:00Z"),
            1000,
            "2036-01-01T01:00:00Z",
        ),
    ];
    for (last, now, slot, missed, next) in cases {
        let got = due(&s, last.map(at), at(start), at(now));
        let expected = Due { due: slot.map(at), missed, next: Some(at(next)) };
        assert_eq!(got, expected, "last {last:?}, now {now}");
    }
}

#[test]
fn a_start_in_the_future_is_not_due() {
    let s = Schedule::parse("@hourly", TimeZone::UTC).unwrap();
    let got = due(&s, None, at("2026-01-01T05:30:00Z"), at("2026-01-01T01:30:00Z"));
    assert_eq!(got.due, None);
}

#[test]
fn jitter_is_exact_and_spread() {
    let max = Duration::from_secs(60);
    assert_eq!(jitter("cp1", "etcd-snapshot", max), Duration::from_millis(JITTER_CP1));
    assert_eq!(jitter("cp1", "etcd-snapshot", Duration::ZERO), Duration::ZERO);
    let mut buckets = [0u32; 6];
    for n in 0..600 {
        let j = jitter(&format!("node-{n}"), "etcd-snapshot", max);
        assert!(j < max);
        buckets[usize::try_from(j.as_secs() / 10).unwrap()] += 1;
    }
    assert!(buckets.iter().all(|n| (60..=140).contains(n)), "{buckets:?}");
}

/// Fixed for ever: a new version of this program must not move the runs of a host.
const JITTER_CP1: u64 = 59248;

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "Africa/Casablanca"];
const TEXTS: [&str; 8] = [
    "0 * * * *",
    "30 2 * * *",
    "*/7 1-3 * * *",
    "0 0 1 * *",
    "15 2 * * sun",
    "@every 7h",
    "@every 90s",
    "59 23 28-31 * 5",
];

fn any_schedule() -> impl Strategy<Value = Schedule> {
    (proptest::sample::select(&TEXTS[..]), proptest::sample::select(&ZONES[..]))
        .prop_map(|(text, tz)| Schedule::parse(text, zone(tz)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// next_after is strictly later, and nothing lies between: asking from any time in between gives the same slot.
    #[test]
    fn next_is_later_and_the_nearest(s in any_schedule(), t in 1_200_000_000i64..1_900_000_000, share in 0.0f64..1.0) {
        let t = Timestamp::from_second(t).unwrap();
        let next = s.next_after(t).unwrap();
        prop_assert!(next > t);
        let gap = (next.as_second() - t.as_second() - 1) as f64;
        let between = Timestamp::from_second(t.as_second() + (gap * share) as i64).unwrap();
        prop_assert_eq!(s.next_after(between), Some(next), "from {}", between);
    }

    /// Polled at any intervals, with restarts that keep only the last slot, each slot is run or counted as missed,
    /// once, in order.
    #[test]
    fn each_slot_is_run_or_counted_once(
        s in any_schedule(),
        start in 1_200_000_000i64..1_900_000_000,
        steps in proptest::collection::vec(1i64..200_000, 1..30),
    ) {
        let started = Timestamp::from_second(start).unwrap();
        let (mut now, mut last, mut accounted) = (started, None, 0usize);
        let mut runs = Vec::new();
        for step in steps {
            now = now.checked_add(SignedDuration::from_secs(step)).unwrap();
            let got = due(&s, last, started, now);
            if let Some(slot) = got.due {
                prop_assert!(slot <= now);
                prop_assume!(got.missed < MISSED_LIMIT);
                accounted += 1 + got.missed as usize;
                runs.push(slot);
                last = Some(slot);
            }
            prop_assert_eq!(due(&s, last, started, now).due, None, "fired twice at {}", now);
            prop_assert_eq!(got.next, s.next_after(now));
        }
        prop_assert!(runs.is_sorted_by(|a, b| a < b));
        let (mut slots, mut at) = (0usize, started);
        while let Some(slot) = s.next_after(at).filter(|s| *s <= now) {
            slots += 1;
            at = slot;
        }
        prop_assert_eq!(accounted, slots);
    }

    /// Whatever the clock does, the same slot is not run twice while it stays within a day of the last run.
    #[test]
    fn a_clock_that_wanders_runs_no_slot_again(
        s in any_schedule(),
        start in 1_200_000_000i64..1_900_000_000,
        steps in proptest::collection::vec(-40_000i64..80_000, 1..40),
    ) {
        let started = Timestamp::from_second(start).unwrap();
        let (mut now, mut last) = (started, None::<Timestamp>);
        for step in steps {
            now = now.checked_add(SignedDuration::from_secs(step)).unwrap();
            if let Some(l) = last {
                now = now.max(l.checked_sub(CLOCK_WAS_WRONG).unwrap());
            }
            if let Some(slot) = due(&s, last, started, now).due {
                prop_assert!(last.is_none_or(|l| slot > l), "{:?} after {:?}", slot, last);
                last = Some(slot);
            }
        }
    }

    /// Any text is answered, none panics.
    #[test]
    fn any_text_is_answered(text in "[ -~@*/,0-9a-zA-Z\u{e9}]{0,40}") {
        if let Ok(s) = Schedule::parse(&text, TimeZone::UTC) {
            let _ = s.next_after(Timestamp::from_second(1_700_000_000).unwrap());
        }
    }
}

#[test]
fn a_slot_is_taken_by_a_snapshot_of_its_schedule_that_began_no_earlier() {
    let slot: Timestamp = "2024-01-15T10:30:00Z".parse().unwrap();
    for (name, schedule, expected) in [
        ("daily-2024-01-15T10-30-00Z", "daily", true),
        ("daily-2024-01-15T10-30-07Z-2", "daily", true),
        ("daily-2025-01-01T00-00-00Z", "daily", true),
        ("daily-2024-01-15T10-29-59Z", "daily", false),
        ("hourly-2024-01-15T10-30-00Z", "daily", false),
        ("daily-9-2024-01-15T10-30-00Z", "daily", false),
        ("daily-9-2024-01-15T10-30-00Z", "daily-9", true),
        ("daily-survivor", "daily", false),
        ("daily", "daily", false),
    ] {
        let name = crate::core::model::SnapshotName::new(name).unwrap();
        assert_eq!(super::stands_for(&name, schedule, slot), expected, "{name} for {schedule}");
    }
}

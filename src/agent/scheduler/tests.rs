//! The loop with a clock that the test moves, and once with the real timers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::*;
use crate::sys::clock::SystemClock;

/// A wall clock that the test sets.
struct Hand(Mutex<Timestamp>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Wakes at the test's word, after telling it that the scheduler waits, and until when.
struct Bell {
    asked: Option<Timestamp>,
    waits: mpsc::UnboundedSender<Option<Timestamp>>,
    rings: mpsc::UnboundedReceiver<()>,
}

impl Wake for Bell {
    async fn arm(&mut self, at: Timestamp, _: Timestamp) {
        self.asked = Some(at);
    }

    async fn wait(&mut self) {
        self.waits.send(self.asked.take()).unwrap();
        self.rings.recv().await;
    }
}

fn at(text: &str) -> Timestamp {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

fn planned(name: &str, text: &str, jitter: u64) -> Planned {
    let schedule = Schedule::parse(text, TimeZone::UTC).unwrap();
    Planned { name: name.to_owned(), schedule, jitter: Duration::from_secs(jitter) }
}

fn show(run: &Run) -> String {
    format!("{} {} +{}", run.schedule, run.slot.strftime("%m-%d %H:%M:%S"), run.missed)
}

/// Starts at the first time, sets the clock to each of the others in turn, and returns what has run by each of them.
async fn play(schedules: Vec<Planned>, last: &[(&str, Timestamp)], times: &[Timestamp]) -> Vec<Vec<String>> {
    let last: HashMap<String, Timestamp> = last.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect();
    let clock = Arc::new(Hand(Mutex::new(times[0])));
    let board = Board::new(schedules, &last, times[0]);
    let (waits, mut waiting) = mpsc::unbounded_channel();
    let (ring, rings) = mpsc::unbounded_channel();
    let shutdown = CancellationToken::new();
    let runs = Arc::new(Mutex::new(Vec::new()));
    let task = tokio::spawn({
        let (clock, runs, shutdown) = (Arc::clone(&clock), Arc::clone(&runs), shutdown.clone());
        async move {
            let mut bell = Bell { asked: None, waits, rings };
            let on_due = |run: Run| {
                let runs = Arc::clone(&runs);
                async move { runs.lock().unwrap().push(show(&run)) }
            };
            drive(board, clock.as_ref(), &mut bell, on_due, &shutdown).await;
        }
    });
    let mut seen = Vec::new();
    for (n, _) in times.iter().enumerate() {
        waiting.recv().await.unwrap();
        seen.push(std::mem::take(&mut *runs.lock().unwrap()));
        if let Some(next) = times.get(n + 1) {
            *clock.0.lock().unwrap() = *next;
            ring.send(()).unwrap();
        }
    }
    shutdown.cancel();
    task.await.unwrap();
    seen
}

#[tokio::test]
async fn slots_run_once_whatever_the_clock_does() {
    let hourly = || vec![planned("h", "0 * * * *", 0)];
    let year = |t: &str| t.parse::<Timestamp>().unwrap();
    type Case<'a> = (&'a str, Vec<Planned>, Vec<(&'a str, Timestamp)>, Vec<Timestamp>, Vec<&'a [&'a str]>);
    let cases: Vec<Case<'_>> = vec![
        (
            "on time, woken twice, early",
            hourly(),
            vec![],
            vec![at("00:30:00"), at("00:59:59"), at("01:00:00"), at("01:00:01")],
            vec![&[], &[], &["h 01-01 01:00:00 +0"], &[]],
        ),
        (
            "a gap is caught up once",
            hourly(),
            vec![("h", at("01:00:00"))],
            vec![at("05:10:00"), at("05:11:00")],
            vec![&["h 01-01 05:00:00 +3"], &[]],
        ),
        (
            "two hours back, then on",
            hourly(),
            vec![],
            vec![at("02:30:00"), at("03:00:00"), at("01:00:00"), at("03:00:01"), at("04:00:00")],
            vec![&[], &["h 01-01 03:00:00 +0"], &[], &[], &["h 01-01 04:00:00 +0"]],
        ),
        (
            "a year ahead at the start",
            hourly(),
            vec![],
            vec![year("2027-01-01T00:30:00Z"), at("00:30:00"), at("01:00:00")],
            vec![&[], &[], &["h 01-01 01:00:00 +0"]],
        ),
        (
            "the last run was recorded a year ahead",
            hourly(),
            vec![("h", year("2027-01-01T00:00:00Z"))],
            vec![at("00:30:00"), at("01:00:00"), at("02:00:00")],
            vec![&[], &["h 01-01 01:00:00 +0"], &["h 01-01 02:00:00 +0"]],
        ),
        (
            "jitter moves the run, not the slot",
            vec![planned("h", "0 * * * *", 20)],
            vec![],
            vec![at("00:30:00"), at("01:00:19"), at("01:00:20")],
            vec![&[], &[], &["h 01-01 01:00:00 +0"]],
        ),
        (
            "the earliest slot first",
            vec![planned("a", "30 * * * *", 0), planned("b", "0 * * * *", 0)],
            vec![],
            vec![at("00:10:00"), at("01:40:00")],
            vec![&[], &["b 01-01 01:00:00 +0", "a 01-01 01:30:00 +1"]],
        ),
        ("none at all", vec![], vec![], vec![at("00:10:00"), at("01:40:00")], vec![&[], &[]]),
    ];
    for (name, schedules, last, times, expected) in cases {
        assert_eq!(play(schedules, &last, &times).await, expected, "{name}");
    }
}

#[test]
fn the_wait_ends_at_the_next_run() {
    let mut board =
        Board::new(vec![planned("h", "0 * * * *", 20), planned("n", "0 0 31 2 *", 0)], &HashMap::new(), at("00:30:00"));
    assert_eq!(board.next(at("00:30:00")), Next::Wait { until: Some(at("01:00:20")) });
    // The slot has passed, its jitter has not.
    assert_eq!(board.next(at("01:00:05")), Next::Wait { until: Some(at("01:00:20")) });
    let mut never = Board::new(vec![planned("n", "0 0 31 2 *", 0)], &HashMap::new(), at("00:30:00"));
    assert_eq!(never.next(at("12:00:00")), Next::Wait { until: None });
}

#[tokio::test]
async fn real_timers_run_one_at_a_time_and_a_panic_ends_nothing() {
    let shutdown = CancellationToken::new();
    let running = Arc::new(AtomicUsize::new(0));
    let (tell, mut told) = mpsc::unbounded_channel();
    let schedules = vec![planned("a", "@every 1s", 0), planned("b", "@every 1s", 0)];
    let task = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            let on_due = move |run: Run| {
                let (running, tell) = (Arc::clone(&running), tell.clone());
                async move {
                    let others = running.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    tell.send((run, others)).unwrap();
                    panic!("a run that fails badly");
                }
            };
            Scheduler::run(schedules, &HashMap::new(), Arc::new(SystemClock::new()), on_due, shutdown).await
        }
    });
    let mut runs = Vec::new();
    for _ in 0..3 {
        let (run, others) = told.recv().await.unwrap();
        assert_eq!(others, 0, "two runs at a time");
        runs.push((run.schedule, run.slot));
    }
    let mut once = runs.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), runs.len(), "a slot ran twice: {runs:?}");
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_cancels_the_run_and_waits_for_it() {
    let shutdown = CancellationToken::new();
    let wound_down = Arc::new(AtomicUsize::new(0));
    let (begun, mut beginning) = mpsc::unbounded_channel();
    let last = HashMap::from([("h".to_owned(), at("00:00:00"))]);
    let task = tokio::spawn({
        let (shutdown, wound_down) = (shutdown.clone(), Arc::clone(&wound_down));
        async move {
            let on_due = move |run: Run| {
                let (wound_down, begun) = (Arc::clone(&wound_down), begun.clone());
                async move {
                    begun.send(()).unwrap();
                    run.cancel.cancelled().await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    wound_down.fetch_add(1, Ordering::SeqCst);
                }
            };
            let clock = Arc::new(Hand(Mutex::new(at("05:00:00"))));
            Scheduler::run(vec![planned("h", "@hourly", 0)], &last, clock, on_due, shutdown).await
        }
    });
    beginning.recv().await.unwrap();
    shutdown.cancel();
    task.await.unwrap().unwrap();
    assert_eq!(wound_down.load(Ordering::SeqCst), 1);
}

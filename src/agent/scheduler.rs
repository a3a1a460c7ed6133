//! Runs schedules: one run at a time on this node, missed slots caught up by one run, nothing left at shutdown.
//!
//! It exists between the timers of `tokio-cron-scheduler`, which only wake it, and [`core::schedule`], which decides.
//! Woken early, late, twice or after a jump of the clock, it does the same. It may not know what a run does.
//!
//! [`core::schedule`]: crate::core::schedule

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::core::model::Timestamp;
use crate::core::schedule::{Schedule, due};
use crate::error::Result;
use crate::ports::Clock;

mod timers;

#[cfg(test)]
mod tests;

use timers::{Timers, Wake};

/// How long a run may take to end after it was told to. systemd's own limit is 90 s.
const GRACE: Duration = Duration::from_secs(60);

/// A schedule to be run on this node.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its name, unique.
    pub name: String,
    /// When it fires.
    pub schedule: Schedule,
    /// How long after each slot this node runs it; see [`crate::core::schedule::jitter`].
    pub jitter: Duration,
}

/// One run, handed to the callback.
#[derive(Debug, Clone)]
pub struct Run {
    /// Name of the schedule.
    pub schedule: String,
    /// The slot that is run; to be remembered as the schedule's last run, whether the run succeeds or not.
    pub slot: Timestamp,
    /// Earlier slots for which this run stands.
    pub missed: u32,
    /// Cancelled when the daemon stops: wind down within a minute.
    pub cancel: CancellationToken,
}

/// Runs schedules.
#[derive(Debug)]
pub struct Scheduler;

impl Scheduler {
    /// Runs `schedules` until `shutdown`. `last_runs` holds the last slot of each, as far as known; where that is
    /// earlier than the latest slot, a run starts at once. `on_due` is called for one run at a time, the earliest slot
    /// first; a run that panics is logged and ends. At shutdown a running one is cancelled and waited for, at most a
    /// minute, then dropped.
    ///
    /// # Errors
    /// When the timers cannot be started.
    pub async fn run<F, Fut>(
        schedules: Vec<Planned>,
        last_runs: &HashMap<String, Timestamp>,
        clock: Arc<dyn Clock>,
        on_due: F,
        shutdown: CancellationToken,
    ) -> Result<()>
    where
        F: Fn(Run) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut timers = Timers::start().await?;
        let board = Board::new(schedules, last_runs, clock.now());
        drive(board, clock.as_ref(), &mut timers, on_due, &shutdown).await;
        timers.stop().await;
        Ok(())
    }
}

async fn drive<F, Fut>(
    mut board: Board,
    clock: &dyn Clock,
    wake: &mut impl Wake,
    on_due: F,
    shutdown: &CancellationToken,
) where
    F: Fn(Run) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    while !shutdown.is_cancelled() {
        let now = clock.now();
        match board.next(now) {
            Next::Run { index, slot, missed } => {
                let Some(schedule) = board.ran(index, slot) else { return };
                let run = Run { schedule, slot, missed, cancel: shutdown.child_token() };
                finish(run, &on_due, shutdown).await;
            }
            Next::Wait { until } => {
                if let Some(until) = until {
                    wake.arm(until, now).await;
                }
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = wake.wait() => {}
                }
            }
        }
    }
}

/// Starts a run and waits for its end. The run is a task of its own, so that its panic ends nothing else; the set
/// aborts it when this future is dropped.
async fn finish<F, Fut>(run: Run, on_due: &F, shutdown: &CancellationToken)
where
    F: Fn(Run) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let name = run.schedule.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(on_due(run));
    let ended = tokio::select! {
        ended = tasks.join_next() => ended,
        () = shutdown.cancelled() => match tokio::time::timeout(GRACE, tasks.join_next()).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::error!(schedule = %name, "the run did not end within {} s of being told to; it is dropped", GRACE.as_secs());
                tasks.shutdown().await;
                None
            }
        },
    };
    if let Some(Err(e)) = ended {
        tracing::error!(schedule = %name, "the run ended in a defect of this program: {e}");
    }
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Run {
        index: usize,
        slot: Timestamp,
        missed: u32,
    },
    /// Until then, if any schedule fires again at all.
    Wait {
        until: Option<Timestamp>,
    },
}

/// The schedules with their last slots.
struct Board {
    lines: Vec<(Planned, Option<Timestamp>)>,
    started: Timestamp,
}

impl Board {
    fn new(schedules: Vec<Planned>, last_runs: &HashMap<String, Timestamp>, started: Timestamp) -> Self {
        let lines = schedules.into_iter().map(|p| {
            let last = last_runs.get(&p.name).copied();
            (p, last)
        });
        Board { lines: lines.collect(), started }
    }

    fn next(&mut self, now: Timestamp) -> Next {
        // A start recorded by a clock that was ahead would keep everything silent until then.
        self.started = self.started.min(now);
        let mut first: Option<Next> = None;
        let mut until: Option<Timestamp> = None;
        for (index, (planned, last)) in self.lines.iter().enumerate() {
            // A slot is run its jitter later: seen from there, now is that much earlier.
            let seen = now.checked_sub(planned.jitter).unwrap_or(Timestamp::MIN);
            let got = due(&planned.schedule, *last, self.started, seen);
            if let Some(slot) = got.due {
                let earlier = !matches!(&first, Some(Next::Run { slot: other, .. }) if *other <= slot);
                if earlier {
                    first = Some(Next::Run { index, slot, missed: got.missed });
                }
            }
            let next = got.next.and_then(|n| n.checked_add(planned.jitter).ok());
            until = [until, next].into_iter().flatten().min();
        }
        first.unwrap_or(Next::Wait { until })
    }

    /// Notes that a slot is taken; its name.
    fn ran(&mut self, index: usize, slot: Timestamp) -> Option<String> {
        let (planned, last) = self.lines.get_mut(index)?;
        *last = Some(slot);
        Some(planned.name.clone())
    }
}

//! The daemon: schedules, and what they start.
//!
//! It exists to keep the scheduled work of one node going for months. It may not decide what is due or how a snapshot is taken: `core` and `snapshot`
//! do. No failure in here ends the process: a store or an etcd that is away is waited for.

mod alive;
mod election;
mod last_runs;
mod leftover;
pub mod scheduler;
mod shipping;
mod sweep;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::catalog::snapshots::Snapshots;
use crate::config::RunOn;
use crate::core::model::{Compression, NodeName};
use crate::core::plan::Voter;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::ports::{Clock, Election, Etcd, Learners};
use crate::snapshot::effort::Effort;
use crate::snapshot::spool::Spool;
use crate::snapshot::verify::clean_scratch;
use crate::sys::notify::Notify;
use last_runs::LastRuns;
use leftover::Leftovers;
use scheduler::{Planned, Run, Scheduler};

/// How long work in progress may take to end at a stop.
const GRACE: Duration = Duration::from_secs(70);

/// A schedule with what its runs need.
#[derive(Debug, Clone)]
pub struct Job {
    /// When.
    pub planned: Planned,
    /// Who runs it.
    pub run_on: RunOn,
    /// How the payload is compressed.
    pub compression: Compression,
}

/// What the agent works with, made from one configuration.
#[derive(Clone)]
pub struct Parts {
    /// This node.
    pub node: NodeName,
    /// State of the agent.
    pub state_dir: PathBuf,
    /// What a snapshot may use.
    pub effort: Effort,
    /// The schedules.
    pub jobs: Vec<Job>,
    /// The configured members.
    pub members: Vec<Voter>,
    /// The only host that may write plans where the store ignores conditions.
    pub seed: Option<NodeName>,
    /// The member on this host.
    pub etcd: Arc<dyn Etcd>,
    /// Its elections.
    pub election: Arc<dyn Election>,
    /// Key prefix of the election of who takes the snapshots.
    pub election_prefix: String,
    /// Makes voters of learners.
    pub learners: Arc<dyn Learners>,
    /// The store.
    pub snapshots: Snapshots,
    /// The spool.
    pub spool: Spool,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
}

/// What ended a round of work.
enum End {
    Stop,
    Reload,
}

/// Runs until SIGTERM or SIGINT. SIGHUP loads the configuration again with `reload`; a bad one keeps the old one running.
///
/// # Errors
/// When it cannot start: signals, the spool.
pub async fn run(first: Parts, reload: impl Fn() -> Result<Parts>, notify: Notify) -> Result<()> {
    let notify = Arc::new(notify);
    let mut signals = Signals::new()?;
    let mut parts = first;
    let scratch = parts.state_dir.clone();
    if let Err(e) = clean_scratch(&scratch) {
        tracing::warn!("{}", e.one_line());
    }
    for removed in parts.spool.clean(parts.snapshots.records())? {
        tracing::info!(path = %removed.display(), "removed what a killed run had left: {}", removed.display());
    }
    notify.ready();
    loop {
        let stop = CancellationToken::new();
        let mut round = tokio::spawn(round(parts.clone(), stop.clone(), notify.clone()));
        let end = loop {
            let asked = tokio::select! {
                asked = signals.wait(&notify) => asked,
                // Nobody asked for its end: an agent that lives on and saves or ships nothing is worse than one that systemd starts again.
                ended = &mut round => {
                    ended.or_fail(Kind::Internal, || "the agent's work ended in a panic")??;
                    return Err(Error::new(Kind::Internal, "the agent's work ended by itself"));
                }
            };
            match asked {
                End::Stop => break End::Stop,
                End::Reload => {
                    notify.reloading();
                    match reload() {
                        Ok(new) => {
                            parts = new;
                            break End::Reload;
                        }
                        Err(e) => {
                            let hint = e.hint_text().map(|h| format!(" | hint: {h}")).unwrap_or_default();
                            tracing::error!(
                                kind = e.kind().label(),
                                "the new configuration is not used, the old one goes on: {}{hint}",
                                e.one_line()
                            );
                            notify.ready();
                            notify.status("the configuration on disk is wrong; the old one goes on");
                        }
                    }
                }
            }
        };
        if matches!(end, End::Stop) {
            notify.stopping();
            tracing::info!("stopping");
        }
        stop.cancel();
        match tokio::time::timeout(GRACE, round).await {
            Ok(joined) => joined.or_fail(Kind::Internal, || "the agent's work ended in a panic")??,
            Err(_) => tracing::warn!("work in progress did not end within {} s and is cut off", GRACE.as_secs()),
        }
        match end {
            End::Stop => {
                tracing::info!("stopped");
                return Ok(());
            }
            End::Reload => {
                tracing::info!("the configuration was loaded again");
                notify.ready();
            }
        }
    }
}

struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind, name: &str| signal(kind).or_fail(Kind::Internal, || format!("cannot listen for {name}"));
        Ok(Signals {
            term: listen(SignalKind::terminate(), "SIGTERM")?,
            int: listen(SignalKind::interrupt(), "SIGINT")?,
            hup: listen(SignalKind::hangup(), "SIGHUP")?,
        })
    }

    /// Waits for a signal, and meanwhile tells the watchdog that the runtime still turns.
    async fn wait(&mut self, notify: &Notify) -> End {
        let beat = notify.watchdog_interval().unwrap_or(Duration::from_secs(3600));
        loop {
            tokio::select! {
                _ = self.term.recv() => return End::Stop,
                _ = self.int.recv() => return End::Stop,
                _ = self.hup.recv() => return End::Reload,
                () = tokio::time::sleep(beat) => notify.watchdog(),
            }
        }
    }
}

/// All work of one configuration, until `stop`.
async fn round(parts: Parts, stop: CancellationToken, notify: Arc<Notify>) -> Result<()> {
    let names: Vec<&str> = parts.jobs.iter().map(|j| j.planned.name.as_str()).collect();
    let place = parts.snapshots.records().store().location();
    tracing::info!("schedules: {}; store: {place}; etcd: {}", names.join(", "), parts.etcd.endpoint());
    notify.status(&format!("waiting for the next of {} schedule(s)", names.len()));
    let last_runs = Arc::new(LastRuns::load(&parts.state_dir));
    let wake = Arc::new(tokio::sync::Notify::new());
    let state = Arc::new(tokio::sync::Mutex::new(work::RunState::default()));
    let roles = Arc::new(election::Roles::new());
    let alive = {
        let (parts, roles, stop) = (parts.clone(), roles.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::join!(election::run(&parts, &roles, &stop), alive::run(&parts, &roles, &stop));
        })
    };
    let shipping = {
        let (parts, wake, stop, notify) = (parts.clone(), wake.clone(), stop.clone(), notify.clone());
        let last_runs = last_runs.clone();
        tokio::spawn(async move {
            let status = move |text: String| notify.status(&text);
            shipping::run(&parts, &last_runs, &wake, &stop, &status).await;
        })
    };
    let leftovers = Arc::new(Leftovers::default());
    let watched = leftovers.clone();
    let on_due = {
        let (parts, wake, last_runs, roles) = (parts.clone(), wake.clone(), last_runs.clone(), roles.clone());
        move |run: Run| {
            let (parts, wake, last_runs, state) = (parts.clone(), wake.clone(), last_runs.clone(), state.clone());
            let (roles, leftovers) = (roles.clone(), leftovers.clone());
            async move {
                let Some(job) = parts.jobs.iter().find(|j| j.planned.name == run.schedule).cloned() else { return };
                let newer = leftovers.due(&run.schedule);
                let slot = work::run(&parts, &roles, &job, &run, &state).await;
                let saved = slot == work::Slot::Saved;
                // A run that a stop cut off is caught up at the next start.
                if !saved && run.cancel.is_cancelled() {
                    return;
                }
                if let Err(e) = last_runs.ran(&run.schedule, run.slot) {
                    tracing::warn!("{}", e.one_line());
                }
                if saved {
                    wake.notify_one();
                }
                if slot == work::Slot::Left {
                    // Ends with the next slot or the agent; the schedules go on meanwhile.
                    leftovers.watch(async move {
                        if leftover::is_ours_now(&parts, &roles, &job, &run, &newer).await {
                            tracing::warn!(
                                schedule = %run.schedule, slot = %run.slot,
                                "schedule {}: the store has no snapshot of this slot, so this host takes it", run.schedule
                            );
                            if work::take_slot(&parts, &roles, &job, &run, &state).await == work::Slot::Saved {
                                wake.notify_one();
                            }
                        }
                    });
                }
            }
        }
    };
    let planned = parts.jobs.iter().map(|j| j.planned.clone()).collect();
    let last_runs = last_runs.all();
    let schedules = Scheduler::run(planned, &last_runs, parts.clock.clone(), on_due, stop.clone());
    let ended = together(&stop, schedules, shipping, alive).await;
    watched.ended().await;
    // Uploads that were just cut off are being aborted, and nobody will finish one that waits for its shipping: without this their parts would
    // stay in the bucket, invisible and billed.
    parts.spool.give_up_upload();
    parts.snapshots.records().store().drain().await;
    ended
}

/// The parts of a round live and end together: the end of one, a panic too, ends the others, and is a failure unless it was asked for.
async fn together(
    stop: &CancellationToken,
    schedules: impl Future<Output = Result<()>>,
    mut shipping: tokio::task::JoinHandle<()>,
    mut alive: tokio::task::JoinHandle<()>,
) -> Result<()> {
    tokio::pin!(schedules);
    let panicked = |what: &str, e| Error::new(Kind::Internal, format!("the {what} ended in a panic")).caused_by(e);
    let (shipping_is, alive_is) = ("shipping", "watch over the cluster");
    enum First {
        Schedules(Result<()>),
        Shipping(std::result::Result<(), tokio::task::JoinError>),
        Alive(std::result::Result<(), tokio::task::JoinError>),
    }
    let first = tokio::select! {
        ended = &mut schedules => First::Schedules(ended),
        ended = &mut shipping => First::Shipping(ended),
        ended = &mut alive => First::Alive(ended),
    };
    let asked = stop.is_cancelled();
    stop.cancel();
    let what = match first {
        First::Schedules(scheduled) => {
            let (shipped, watched) = tokio::join!(shipping, alive);
            shipped.map_err(|e| panicked(shipping_is, e))?;
            watched.map_err(|e| panicked(alive_is, e))?;
            scheduled?;
            "schedules"
        }
        First::Shipping(shipped) => {
            let (scheduled, watched) = tokio::join!(schedules, alive);
            shipped.map_err(|e| panicked(shipping_is, e))?;
            watched.map_err(|e| panicked(alive_is, e))?;
            scheduled?;
            shipping_is
        }
        First::Alive(watched) => {
            let (scheduled, shipped) = tokio::join!(schedules, shipping);
            watched.map_err(|e| panicked(alive_is, e))?;
            shipped.map_err(|e| panicked(shipping_is, e))?;
            scheduled?;
            alive_is
        }
    };
    if asked { Ok(()) } else { Err(Error::new(Kind::Internal, format!("the {what} ended though nobody stopped it"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_parts_of_a_round_end_together() {
        let fails = || async { Err(Error::new(Kind::Internal, "no timers")) };
        for (story, asked, schedules_end, shipping, alive, expected) in [
            ("asked to", true, None, "waits", "waits", None),
            ("the schedules end", false, Some(Ok(())), "waits", "waits", Some("the schedules ended")),
            ("the schedules fail", false, Some(fails().await), "waits", "waits", Some("no timers")),
            ("the shipping ends", false, None, "ends", "waits", Some("the shipping ended")),
            ("the shipping panics", false, None, "panics", "waits", Some("panic")),
            ("the watch ends", false, None, "waits", "ends", Some("the watch over the cluster ended")),
            ("the watch panics", false, None, "waits", "panics", Some("panic")),
        ] {
            let stop = CancellationToken::new();
            let part = |does: &'static str| {
                let waits = stop.clone();
                tokio::spawn(async move {
                    match does {
                        "waits" => waits.cancelled().await,
                        "panics" => std::panic::resume_unwind(Box::new("a defect")),
                        _ => {}
                    }
                })
            };
            let (shipping, alive) = (part(shipping), part(alive));
            let waits = stop.clone();
            let schedules = async move {
                match schedules_end {
                    Some(end) => end,
                    None => {
                        waits.cancelled().await;
                        Ok(())
                    }
                }
            };
            if asked {
                stop.cancel();
            }
            let limit = Duration::from_secs(30);
            let ended = tokio::time::timeout(limit, together(&stop, schedules, shipping, alive)).await;
            let ended = ended.unwrap_or_else(|_| panic!("{story}: one went on without the other"));
            let text = ended.err().map(|e| e.one_line());
            match expected {
                None => assert_eq!(text, None, "{story}"),
                Some(part) => assert!(text.as_ref().is_some_and(|t| t.contains(part)), "{story}: {text:?}"),
            }
        }
    }
}

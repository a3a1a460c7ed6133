//! The loop of the gate: look, decide, step, until etcd may start, a person must choose, or the deadline has passed.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::apply::{Step, StepResult};
use super::gather::{Endpoint, PeerPort, Sources, gather};
use super::pause::{Pause, longest_pause};
use super::voice::Voice;
use super::{
    MemoryFile, Reach, RequestSources, Settings, StartSource, environment, events, history, joining, lock, mount,
    owner, staging,
};
use crate::catalog::snapshots::Snapshots;
use crate::core::decide::{Decision, Rule, Verdict, decide};
use crate::core::facts::{Attempts, DataDir, Facts};
use crate::core::plan::{Excluded, MarkUse, PlanCause};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::ports::Clock;

/// Steps in one run without an end in sight: more is a defect, not a history.
const MOST_STEPS: u32 = 200;

/// Asked between two looks: the gate of a configuration that has changed since.
pub type Reload<'a> = &'a mut (dyn FnMut() -> Option<Bootstrap> + Send);

/// How a run is to end.
#[derive(Default)]
pub struct RunOptions<'a> {
    /// A `Wait` ends as undecided after this time. It never becomes an init.
    pub deadline: Option<Duration>,
    /// In the unit a `Refuse` waits for a person too; by hand it ends the run.
    pub wait_on_refusal: bool,
    /// What a person mends while it waits counts at the next look.
    pub reload: Option<Reload<'a>>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// etcd may start now.
    Start,
    /// A person must choose.
    Refused,
    /// The deadline passed.
    Undecided,
}

/// The last look of a run, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// What was decided last.
    pub verdict: Verdict,
    /// On what grounds.
    pub facts: Facts,
    /// What was done on the way, in order.
    pub done: Vec<String>,
}

/// The gate of one host.
pub struct Bootstrap {
    /// Where things are, and what is allowed.
    pub settings: Settings,
    /// The store's snapshots, records beneath; patient, for the steps.
    pub snapshots: Snapshots,
    /// The same for a look around: a store that fails is told soon, and looked at again.
    pub quick: Snapshots,
    /// Client endpoints of the configured members.
    pub endpoints: Vec<Endpoint>,
    /// Peer ports of the other configured members, where they answer without quorum, too.
    pub peers: Vec<PeerPort>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// This host's memory.
    pub memory: MemoryFile,
    /// The one-shot requests.
    pub requests: RequestSources,
    /// How etcd is going to be started.
    pub start: StartSource,
    /// For members that only records name.
    pub reach: Reach,
    /// Told what happens, for people.
    pub voice: Arc<Voice>,
    /// Told how many of how many bytes a build has read.
    pub progress: Box<dyn Fn(u64, u64) + Send + Sync>,
}

impl Bootstrap {
    pub(super) async fn look(&self, waited_seconds: u64, attempts: Attempts, limit: Option<Duration>) -> Facts {
        let sources = Sources {
            settings: &self.settings,
            snapshots: &self.quick,
            endpoints: &self.endpoints,
            peers: &self.peers,
            memory: &self.memory,
            requests: &self.requests,
            start: &self.start,
            reach: &self.reach,
        };
        gather(&sources, Duration::from_secs(waited_seconds), attempts, limit).await
    }

    /// Looks and decides once; changes nothing.
    pub async fn dry_run(&self) -> (Facts, Verdict) {
        let facts = self.look(0, Attempts::default(), None).await;
        let verdict = decide(&facts, &self.settings.policy);
        (facts, verdict)
    }

    /// Runs until etcd may start, a person must choose, or the deadline has passed.
    ///
    /// # Errors
    /// When this host's own memory or files cannot be written.
    pub async fn run(&self, mut options: RunOptions<'_>) -> Result<Report> {
        let begun = self.clock.monotonic();
        let elapsed = || self.clock.monotonic().saturating_sub(begun);
        let mut attempts = Attempts::default();
        let mut done: Vec<String> = Vec::new();
        let mut pause = Pause::default();
        let mut steps = 0u32;
        let mut held = None;
        let mut waited = false;
        let mut newer: Option<Bootstrap> = None;
        self.settled().await;
        loop {
            let gate = newer.as_ref().unwrap_or(self);
            gate.finish_put_back().await?;
            gate.finish_reset().await?;
            // Steps are not cut at the deadline: a restore that is half way would begin again at the next run.
            let left = options.deadline.map(|deadline| deadline.saturating_sub(elapsed()));
            let facts = gate.look(elapsed().as_secs(), attempts.clone(), left).await;
            failpoint!("bootstrap.looked");
            let mut verdict = decide(&facts, &gate.settings.policy);
            // Others may count on it that this host has stopped.
            let promised = verdict.decision == Decision::Start && gate.has_promised(&facts);
            let outcome = match &verdict.decision {
                Decision::Start if !promised => Some(Outcome::Start),
                Decision::Refuse { .. } if !options.wait_on_refusal => Some(Outcome::Refused),
                _ => None,
            };
            if let Some(outcome) = outcome {
                return gate.end(outcome, verdict, facts, done, held.is_some());
            }
            gate.stand(&facts, &verdict).await;
            let step = if promised {
                let hint = "etcd may start as soon as the store has taken that back. If the store is gone for good, 'lifeboat setup --remove' takes the gate \
                            away: make sure first that no other host restores meanwhile";
                let withdrawn = gate.withdraw(&facts).await;
                let told = |e: Error| e.context("this host has told the others that its etcd stays down").hint(hint);
                Some(withdrawn.map(|()| Step::Done).map_err(|e| told(e).into()))
            } else if matches!(verdict.decision, Decision::Wait { .. } | Decision::Refuse { .. }) {
                None
            } else if held.is_none() {
                // Only a step needs the lock: a host that starts, waits or refuses changes nothing.
                held = lock::try_take(&gate.settings.state_dir)?;
                if held.is_some() {
                    // The other one may have changed everything since the look.
                    continue;
                }
                let e = lock::taken(&gate.settings.state_dir);
                if !options.wait_on_refusal {
                    return Err(e);
                }
                verdict.because = format!("{} [waiting: {}]", verdict.because, e.one_line());
                None
            } else {
                gate.tell("step", &verdict);
                Some(gate.step(&verdict, &facts).await)
            };
            match step {
                Some(Ok(Step::Done)) => {
                    done.push(format!("{}: {}", verdict.rule, verdict.because));
                    pause = Pause::default();
                    steps += 1;
                    if steps > MOST_STEPS {
                        return Err(Error::new(Kind::Internal, format!("{steps} steps did not lead to a start")));
                    }
                    continue;
                }
                Some(Ok(Step::Lost)) => {}
                Some(Ok(Step::MayStart)) => return gate.end(Outcome::Start, verdict, facts, done, true),
                Some(Err(failed)) => {
                    let e = failed.error;
                    if !failed.marked && blame(&mut attempts, &verdict, &facts, &e) {
                        let void = facts.data_dir.known().is_some_and(DataDir::is_void);
                        let then = if void { "" } else { "; going on without it" };
                        if gate.warn("without", &format!("{}{then}", e.one_line())) {
                            events::restore_error(&verdict, &e);
                        }
                        continue;
                    }
                    // A person must change something first; in the unit it waits for that.
                    if e.kind() == Kind::Refused && !options.wait_on_refusal {
                        return Err(e);
                    }
                    verdict = with_time(&verdict, elapsed());
                    gate.tell_failed(&mut verdict, &e);
                }
                None => {
                    gate.tell("verdict", &with_time(&verdict, elapsed()));
                    // A run that waits may never end by itself; what made it wait is written down at once.
                    if !std::mem::replace(&mut waited, true) {
                        gate.write_history(&facts, &verdict);
                    }
                }
            }
            if let Some(deadline) = options.deadline
                && elapsed().saturating_add(pause.next()) > deadline
            {
                return gate.end(Outcome::Undecided, verdict, facts, done, held.is_some());
            }
            // Who waits changes nothing: a person's own commands may.
            held = None;
            pause.wait(longest_pause(&verdict, elapsed())).await;
            // What a request needs may be there by now, and a host that waits has nothing better to go on with.
            attempts.request_failed = None;
            if let Some(new) = options.reload.as_mut().and_then(|reload| reload()) {
                new.settled().await;
                newer = Some(new);
                // What failed under the old one says nothing about the new one.
                attempts = Attempts::default();
                pause = Pause::default();
            }
        }
    }

    async fn settled(&self) {
        if let Err(e) = self.settle().await {
            self.warn(
                "settle",
                &format!("what an interrupted restore left behind could not be tidied up: {}", e.one_line()),
            );
        }
    }

    async fn step(&self, verdict: &Verdict, facts: &Facts) -> StepResult {
        match &verdict.decision {
            Decision::MakePlan(draft) => self.make_plan(draft, facts).await,
            Decision::Apply { generation } => self.apply(*generation, facts, &verdict.decision, MarkUse::Apply).await,
            Decision::Resume { generation } => self.resume(*generation).await,
            Decision::Quarantine if verdict.rule == Rule::F1 => {
                let newest = facts.store.known().and_then(|s| s.plan.as_ref());
                let Some(newest) = newest else { return Ok(Step::Lost) };
                self.make_room(newest.plan.generation, None)?;
                Ok(Step::Done)
            }
            Decision::Quarantine => Ok(self.quarantine_now()?),
            Decision::Join { how } => self.join(*how, facts).await,
            Decision::PutBack { generation } => self.put_back(*generation, facts).await,
            Decision::Start | Decision::Wait { .. } | Decision::Refuse { .. } => Ok(Step::Done),
        }
    }

    /// Takes away what an interrupted run left behind, once the store's word and healthy data say that nothing needs it. `alone`: this run has the
    /// lock of the host already.
    fn tidy(&self, facts: &Facts, alone: bool) -> Result<()> {
        let (Some(_), Some(DataDir::Healthy(_))) = (facts.store.known(), facts.data_dir.known()) else {
            return Ok(());
        };
        let held = if alone { None } else { lock::try_take(&self.settings.state_dir)? };
        // Another run may be building in there right now.
        if alone || held.is_some() { staging::clean(&self.settings) } else { Ok(()) }
    }

    fn end(
        &self,
        outcome: Outcome,
        verdict: Verdict,
        facts: Facts,
        mut done: Vec<String>,
        alone: bool,
    ) -> Result<Report> {
        if outcome == Outcome::Start {
            // Nothing that is written down here is worth a healthy member that stays down: a full or read-only disk is said, and it starts.
            let joins = matches!(verdict.decision, Decision::Join { .. });
            let kept = if verdict.rule == Rule::B0 { Ok(()) } else { self.before_start(&facts, joins) };
            for noted in [kept, self.tidy(&facts, alone)] {
                if let Err(e) = noted {
                    self.say(&format!("warning: etcd may start, and this could not be done: {}", e.one_line()));
                }
            }
        }
        // The reason of a wait was said when the wait began.
        if outcome != Outcome::Undecided {
            self.tell_now(&verdict);
        }
        done.push(format!("{}: {}", verdict.rule, verdict.because));
        self.write_history(&facts, &verdict);
        Ok(Report { outcome, verdict, facts, done })
    }
}

impl Bootstrap {
    fn write_history(&self, facts: &Facts, verdict: &Verdict) {
        let settings = &self.settings;
        if let Err(e) = history::write(&settings.state_dir, self.clock.now(), facts, &settings.policy, verdict) {
            self.say(&format!("warning: {}", e.one_line()));
        }
    }

    /// What a host that is about to run etcd keeps for later boots.
    fn before_start(&self, facts: &Facts, joins: bool) -> Result<()> {
        let settings = &self.settings;
        // Who joins has its own, for this start alone.
        if let Some(path) = settings.environment_file.as_ref().filter(|_| !joins) {
            environment::write(path, &settings.policy)?;
        }
        if facts.memory.known().is_none() {
            return Ok(());
        }
        self.memory.stopped(false)?;
        self.note_done_requests(facts)?;
        // It belongs to a cluster from now on.
        let newest = facts.store.known().and_then(|s| s.plan.as_ref()).map(|p| p.plan.generation);
        self.memory.saw(&settings.cluster, newest.unwrap_or_default())?;
        let Some(DataDir::Healthy(_)) = facts.data_dir.known() else { return Ok(()) };
        joining::done(&settings.state_dir)?;
        self.memory.mounted(mount::point_of(&settings.data_dir)?)?;
        self.memory
            .owned(owner::of(&settings.data_dir)?, settings.wal_dir.as_deref().map(owner::of).transpose()?.flatten())?;
        Ok(())
    }
}

impl Bootstrap {
    /// Requests that a plan has consumed are done here, too, whether or not this host's data is of that plan's life: left armed, they would keep this
    /// host down at the next boot with the store away.
    fn note_done_requests(&self, facts: &Facts) -> Result<()> {
        let planned = |id: &String| {
            facts.store.known().is_some_and(|s| s.lives.iter().any(|l| !l.cancelled && l.request.as_ref() == Some(id)))
        };
        let remembered = |id: &String| facts.memory.known().is_some_and(|m| m.consumed.contains(id));
        let open = facts.requests().map(|r| &r.id).filter(|id| planned(id) && !remembered(id));
        open.into_iter().try_for_each(|id| self.consume(id))
    }
}

/// What is said of a verdict that does not let etcd start: for how long that is so. Always in the same words, or each look would be news.
fn with_time(verdict: &Verdict, waited: Duration) -> Verdict {
    let mut told = verdict.clone();
    if verdict.rule != Rule::C2 {
        told.because.push_str(&format!(" (waiting since {} s)", waited.as_secs()));
    }
    told
}

/// Whether a failed step is the snapshot's own fault (so another may be taken) or a request's that must not keep the host down. A store that does
/// not answer or a full disk is neither: it is tried again.
fn blame(attempts: &mut Attempts, verdict: &Verdict, facts: &Facts, e: &Error) -> bool {
    let store = facts.store.known();
    let newest = store.and_then(|s| s.plan.as_ref()).map(|p| &p.plan);
    let (snapshot, forced) = match &verdict.decision {
        Decision::MakePlan(draft) => (draft.snapshot.clone(), draft.cause == PlanCause::Forced),
        Decision::Apply { .. } => (
            newest.and_then(|p| p.snapshot.as_ref()).map(|s| s.name.clone()),
            newest.is_some_and(|p| p.cause == PlanCause::Forced),
        ),
        _ => return false,
    };
    let broken = matches!(e.kind(), Kind::Verification | Kind::NotFound);
    let nothing_to_lose = facts.data_dir.known().is_some_and(DataDir::is_void);
    if forced && nothing_to_lose && !broken {
        // The host is down anyway, and the rules below would restore another snapshot than the one that was asked for.
        return false;
    }
    if forced {
        // Before the mark is written a request never keeps a healthy host down, whatever the cause.
        attempts.request_failed = Some(e.one_line());
        return true;
    }
    match snapshot {
        Some(name) if broken => {
            attempts.excluded.push(Excluded { name, why: e.one_line() });
            true
        }
        _ => false,
    }
}

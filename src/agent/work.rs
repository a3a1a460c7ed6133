//! One scheduled run: take the snapshot into the spool, and wake the shipping.

use std::collections::BTreeMap;
use std::time::Duration;

use super::election::{Role, Roles};
use super::scheduler::Run;
use super::{Job, Parts};
use crate::config::RunOn;
use crate::core::manifest::Origin;
use crate::core::model::{Compression, Generation, Revision};
use crate::error::{Error, Kind, Result};
use crate::event;
use crate::ports::EtcdErrorKind;
use crate::snapshot::adoption::{Adoption, adopted};
use crate::snapshot::life;
use crate::snapshot::save::{SaveRequest, Saved, save};

/// How often the server is asked for its own digest of the whole key space.
const HASH_EVERY: Duration = Duration::from_secs(24 * 3600);

/// A snapshot does not wait longer than this for the adoption of its cluster.
const ADOPTION_LIMIT: Duration = Duration::from_secs(20);

/// What the runs of one agent have in common.
#[derive(Debug, Default)]
pub(super) struct RunState {
    /// Monotonic time of the last snapshot with HashKV.
    hashed_at: Option<Duration>,
    newest: Option<(Generation, Revision)>,
}

/// A slot waits this long for the outcome of an election that has just begun.
const SETTLE: Duration = Duration::from_secs(20);

/// Whether this host runs the slot of a job.
async fn is_our_turn(parts: &Parts, roles: &Roles, job: &Job, run: &Run) -> bool {
    if job.run_on == RunOn::EveryMember {
        return true;
    }
    let role = tokio::select! {
        role = roles.settled(SETTLE) => role,
        () = run.cancel.cancelled() => return false,
    };
    let leaves = match role {
        // A member that does not answer fails with its cause; one without quorum gives an emergency snapshot.
        Role::Elected | Role::NotHeld | Role::NoQuorum | Role::Silent | Role::Unsettled => return true,
        Role::Follower => "another member takes it".to_owned(),
        Role::Unfit(why) => format!("left to the other members: {why}"),
    };
    // What the election knows may be seconds old, and in those the quorum may have gone.
    if quorum_is_gone(parts).await {
        return true;
    }
    tracing::info!(schedule = %run.schedule, slot = %run.slot, "schedule {} is due: {leaves}", run.schedule);
    false
}

async fn quorum_is_gone(parts: &Parts) -> bool {
    match parts.etcd.linearizable_read().await {
        Err(e) if matches!(e.kind, EtcdErrorKind::NoQuorum | EtcdErrorKind::Unreachable) => {
            parts.etcd.status().await.is_ok_and(|s| s.leader.is_none() && !s.is_learner)
        }
        _ => false,
    }
}

/// What became of a slot on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// A snapshot is in the spool.
    Saved,
    /// There is none; the log says why.
    Failed,
    /// Another member takes it.
    Left,
}

/// Runs one slot. Its outcome is in the log; a failed one is left to the others, and to the next slot.
pub(super) async fn run(
    parts: &Parts,
    roles: &Roles,
    job: &Job,
    run: &Run,
    state: &tokio::sync::Mutex<RunState>,
) -> Slot {
    if !is_our_turn(parts, roles, job, run).await {
        return Slot::Left;
    }
    take_slot(parts, roles, job, run, state).await
}

/// Runs one slot, whosever it is.
pub(super) async fn take_slot(
    parts: &Parts,
    roles: &Roles,
    job: &Job,
    run: &Run,
    state: &tokio::sync::Mutex<RunState>,
) -> Slot {
    event!(BackupStarted, schedule = %run.schedule, slot = %run.slot, missed = run.missed, "schedule {} is due", run.schedule);
    let mut state = state.lock().await;
    let outcome = tokio::select! {
        outcome = take(parts, job.compression, run, &mut state) => outcome,
        () = run.cancel.cancelled() => Err(Error::new(Kind::Refused, "the agent stops; the snapshot in progress is given up")),
    };
    match outcome {
        Ok(saved) => {
            for warning in &saved.warnings {
                tracing::warn!(snapshot = %saved.manifest.name, "{warning}");
            }
            event!(
                BackupUploading,
                snapshot = %saved.manifest.name,
                revision = saved.manifest.revision.0,
                size = saved.manifest.stored.size,
                "saved {} (revision {}) in {:.1} s; shipping it",
                saved.manifest.name,
                saved.manifest.revision,
                saved.took.as_secs_f64()
            );
            Slot::Saved
        }
        Err(e) => {
            let hint = e.hint_text().map(|h| format!(" | hint: {h}")).unwrap_or_default();
            event!(BackupError, schedule = %run.schedule, kind = e.kind().label(), "schedule {}: {}{hint}", run.schedule, e.one_line());
            if !run.cancel.is_cancelled() {
                roles.run_failed();
            }
            Slot::Failed
        }
    }
}

/// The life of the member's cluster. One that is in no plan is adopted first, where that needs nobody's word: later the store would hold a
/// snapshot, and nothing would tell that it is not another cluster's.
async fn generation(parts: &Parts) -> Result<Generation> {
    let labelled = life::of_member(parts.etcd.as_ref(), &parts.snapshots, &parts.state_dir).await?;
    if labelled > Generation(0) {
        return Ok(labelled);
    }
    match tokio::time::timeout(ADOPTION_LIMIT, parts.adopter().by_itself()).await {
        Ok(Ok(Adoption::Known(life))) => return Ok(life.generation),
        Ok(Ok(Adoption::Adopted(plan))) => {
            event!(PlanCreated, generation = plan.generation.0, "{}", adopted(&plan));
            return Ok(plan.generation);
        }
        // Said by the writer of the heartbeat.
        Ok(Ok(Adoption::Left(..))) => {}
        // The store or the quorum is away: a snapshot does not wait for that.
        Ok(Err(e)) => tracing::warn!("the cluster could not be adopted before its first snapshot: {}", e.one_line()),
        Err(_) => tracing::warn!("the cluster could not be adopted before its first snapshot: it took too long"),
    }
    Ok(labelled)
}

async fn take(parts: &Parts, compression: Compression, run: &Run, state: &mut RunState) -> Result<Saved> {
    let generation = generation(parts).await?;
    let now = parts.clock.monotonic();
    let hash_check = state.hashed_at.is_none_or(|at| now.saturating_sub(at) >= HASH_EVERY);
    let request = SaveRequest {
        prefix: run.schedule.clone(),
        origin: Origin::Scheduled,
        compression,
        ships: true,
        effort: parts.effort,
        generation,
        node: parts.node.clone(),
        tags: BTreeMap::new(),
        hash_check,
        newest_known: state.newest,
    };
    let saved =
        save(parts.etcd.as_ref(), parts.snapshots.records(), parts.clock.as_ref(), &parts.spool, &request).await?;
    if saved.manifest.hash_kv.is_some() {
        state.hashed_at = Some(now);
    }
    state.newest = Some((saved.manifest.generation, saved.manifest.revision));
    Ok(saved)
}

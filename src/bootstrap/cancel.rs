//! Taking a forced restore back after its plan was written: the marks that nobody has taken are taken away, then the plan is cancelled.
//!
//! Removing the request file alone is not enough: the plan is what hosts follow, and it waits in the store for their next boot.

use std::path::Path;
use std::time::Duration;

use super::lock;
use crate::catalog::plans::Plans;
use crate::catalog::records::Created;
use crate::core::model::{Generation, NodeName, Timestamp};
use crate::core::plan::{MarkUse, PersonsWord, PlanCause, StartedMark, Voter, majority};
use crate::error::Result;
use crate::sys::random;

/// A gate that is at work on this host looks at what was taken back before it writes a plan; what it had begun to write by then is through after this.
const AT_WORK: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Waits until no gate is at work on this host, and says whether that is so; at most for as long as a write can take.
///
/// # Errors
/// When the lock of the gates cannot be made or locked.
pub async fn gates_are_through(state_dir: &Path) -> Result<bool> {
    through_within(state_dir, AT_WORK).await
}

async fn through_within(state_dir: &Path, limit: Duration) -> Result<bool> {
    let free = async {
        loop {
            // A host that never had a gate has no lock either; looking must not leave one that is somebody else's.
            if !state_dir.is_dir() || lock::try_take(state_dir)?.is_some() {
                return Ok(true);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(limit, free).await.unwrap_or(Ok(false))
}

/// What became of the newest plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenBack {
    /// There is no forced plan that somebody could still follow.
    Nothing,
    /// It is cancelled; nobody follows it any more.
    Plan(Generation),
    /// So many hosts have started in it that its life may serve: it stays.
    TooLate(Generation),
}

/// Cancels the newest plan, if it is forced and too few have followed it for its life to serve.
///
/// # Errors
/// When the store does not answer, or what it holds cannot be trusted: then the plan may still be followed. It can be tried again.
pub async fn take_back(plans: &Plans, me: &NodeName, at: Timestamp) -> Result<TakenBack> {
    let (_, newest) = plans.history(Generation(0)).await?;
    let Some(newest) = newest.filter(|n| n.plan.cause == PlanCause::Forced && !n.cancelled) else {
        return Ok(TakenBack::Nothing);
    };
    let generation = newest.plan.generation;
    // A reset serves as soon as the seed has done it.
    let needed = if newest.plan.reset { 1 } else { majority(newest.plan.voters.len()) };
    let (reset, seed) = (newest.plan.reset, newest.plan.seed.clone());
    let counts = |m: &&StartedMark| m.purpose != MarkUse::Barred && (!reset || m.node == seed);
    let started = |marks: &[StartedMark]| marks.iter().filter(counts).count();
    let mut marks = newest.marks;
    let seed_first = |v: &&Voter| v.name != newest.plan.seed;
    let mut voters: Vec<&Voter> = newest.plan.voters.iter().collect();
    voters.sort_by_key(seed_first);
    for voter in voters {
        // Whoever was barred would never follow a life that serves all the same.
        if started(&marks) >= needed {
            return Ok(TakenBack::TooLate(generation));
        }
        if marks.iter().any(|m| m.node == voter.name) {
            continue;
        }
        let nonce = random::nonce()?;
        let bar =
            StartedMark { node: voter.name.clone(), generation, purpose: MarkUse::Barred, by: me.clone(), nonce, at };
        // Whoever comes first has it: a host that is restoring right now keeps its mark, and is counted.
        match plans.take_mark(&bar).await? {
            Created::Ours => marks.push(bar),
            Created::Taken => marks.extend(plans.mark(generation, &voter.name).await?),
        }
    }
    if started(&marks) >= needed {
        return Ok(TakenBack::TooLate(generation));
    }
    let reason = "lifeboat restore-once --cancel".to_owned();
    plans.cancel(&PersonsWord { generation, by: me.clone(), reason, at, nonce: random::nonce()? }).await?;
    Ok(TakenBack::Plan(generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_at_work_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let soon = Duration::from_millis(100);
        assert!(through_within(&dir.path().join("none"), soon).await.unwrap());
        assert!(through_within(dir.path(), soon).await.unwrap());
        let at_work = lock::try_take(dir.path()).unwrap().unwrap();
        assert!(!through_within(dir.path(), soon).await.unwrap());
        let later = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            drop(at_work);
        });
        assert!(through_within(dir.path(), Duration::from_secs(30)).await.unwrap());
        later.await.unwrap();
    }
}

//! Threads whose work gives way to everything else on the host, above all to etcd.
//!
//! SCHED_IDLE, by itself: a thread of that class leaves the processor at once when another wants it, and its reads and
//! writes have the idle I/O class. Niceness alone does not do it: two niced threads that compress on two cores were seen to
//! stall etcd for a second. Other threads of the process keep their class, so that leases and heartbeats are not starved.

use std::io;
use std::sync::OnceLock;
use std::thread::Builder;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result, ResultExt};

/// How the work on snapshots shares the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheduling {
    /// Only what nobody else wants (SCHED_IDLE).
    Idle,
    /// As other batch work (SCHED_BATCH).
    Batch,
    /// As everything else: also where nothing was chosen, as in the gate, which etcd waits for.
    #[default]
    Normal,
}

static CHOSEN: OnceLock<Scheduling> = OnceLock::new();

/// Sets the class of the threads that are started from now on. Only the first call counts.
pub fn choose(scheduling: Scheduling) {
    let _ = CHOSEN.set(scheduling);
}

/// Gives the calling thread, and the threads that it starts, the chosen class. Where the system forbids it the thread goes on as it is.
pub fn give_way() {
    let policy = match CHOSEN.get().copied().unwrap_or_default() {
        Scheduling::Idle => NormalThreadSchedulePolicy::Idle,
        Scheduling::Batch => NormalThreadSchedulePolicy::Batch,
        Scheduling::Normal => return,
    };
    let policy = ThreadSchedulePolicy::Normal(policy);
    if let Err(e) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy) {
        tracing::debug!("the scheduling class of a thread could not be set: {e}");
    }
}

/// Runs `work` on a thread of its own that gives way.
///
/// # Errors
/// Those of `work`; [`Kind::Internal`] when the thread cannot be started or panics.
pub async fn run<T: Send + 'static>(name: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    start(name, work)?.await.or_fail(Kind::Internal, || format!("thread {name} panicked"))?
}

/// As [`run`], without waiting: what it returns gives the outcome.
///
/// # Errors
/// When the thread cannot be started.
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<oneshot::Receiver<Result<T>>> {
    let (tell, told) = oneshot::channel();
    let started: io::Result<_> = Builder::new().name(name.to_owned()).spawn(move || {
        give_way();
        // Nobody waits any more: the outcome is of no use.
        let _ = tell.send(work());
    });
    started.map_err(|e| Error::new(Kind::Internal, format!("cannot start thread {name}")).caused_by(e))?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_in_the_background_is_idle_and_others_are_not() {
        choose(Scheduling::Idle);
        let policy = || thread_priority::thread_schedule_policy().unwrap();
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let before = policy();
        let (own, child) = run("work", move || {
            Ok((policy(), std::thread::spawn(policy).join().map_err(|_| Error::new(Kind::Internal, "child"))?))
        })
        .await
        .unwrap();
        assert_eq!((own, child), (idle, idle));
        assert_eq!(policy(), before);
        assert_ne!(before, idle);
    }

    #[tokio::test]
    async fn a_failure_and_a_panic_are_told() {
        let failed = run::<()>("fails", || Err(Error::new(Kind::Io, "why"))).await.unwrap_err();
        assert_eq!(failed.kind(), Kind::Io);
        let panicked = run::<()>("panics", || panic!("on purpose")).await.unwrap_err();
        assert_eq!(panicked.kind(), Kind::Internal);
    }
}

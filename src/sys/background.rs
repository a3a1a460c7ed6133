//! Threads whose work gives way to everything else on the host, above all to etcd.
//!
//! SCHED_IDLE, by itself: a thread of that class leaves the processor at once when another wants it, and its reads and
//! writes have the idle I/O class. Niceness alone does not do it: two niced threads that compress on two cores were seen to
//! stall etcd for a second. Other threads of the process keep their class, so that leases and heartbeats are not starved.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::Builder;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
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

impl Scheduling {
    fn of_work(self) -> Option<NormalThreadSchedulePolicy> {
        match self {
            Scheduling::Idle => Some(NormalThreadSchedulePolicy::Idle),
            Scheduling::Batch => Some(NormalThreadSchedulePolicy::Batch),
            Scheduling::Normal => None,
        }
    }

    /// Never idle: a file system's journal waits for what such a thread has begun to write, and etcd's fsync waits for the journal, while
    /// the idle I/O class waits for everybody.
    fn of_writing(self) -> Option<NormalThreadSchedulePolicy> {
        self.of_work().map(|_| NormalThreadSchedulePolicy::Batch)
    }
}

static CHOSEN: AtomicU8 = AtomicU8::new(Scheduling::Normal as u8);

/// Sets the class of the threads that are started from now on.
pub fn choose(scheduling: Scheduling) {
    CHOSEN.store(scheduling as u8, Ordering::Relaxed);
}

fn chosen() -> Scheduling {
    match CHOSEN.load(Ordering::Relaxed) {
        n if n == Scheduling::Idle as u8 => Scheduling::Idle,
        n if n == Scheduling::Batch as u8 => Scheduling::Batch,
        _ => Scheduling::Normal,
    }
}

/// Gives the calling thread, and the threads that it starts, the chosen class. Where the system forbids it the thread goes on as it is.
pub fn give_way() {
    become_one(chosen().of_work());
}

/// As [`give_way`], for a thread that writes to a disk which etcd uses.
pub fn give_way_but_write() {
    become_one(chosen().of_writing());
}

fn become_one(policy: Option<NormalThreadSchedulePolicy>) {
    let Some(policy) = policy else { return };
    let nice = match policy {
        // It knows no niceness.
        NormalThreadSchedulePolicy::Idle => ThreadPriority::Min,
        // Of 99, and this one is niceness 0.
        _ => ThreadPriorityValue::try_from(48u8).map_or(ThreadPriority::Min, ThreadPriority::Crossplatform),
    };
    if let Err(e) = set_thread_priority_and_policy(thread_native_id(), nice, ThreadSchedulePolicy::Normal(policy)) {
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

    #[test]
    fn work_is_idle_with_all_that_it_starts_and_what_writes_is_not() {
        use NormalThreadSchedulePolicy::{Batch, Idle, Other};
        for (scheduling, work, writing) in
            [(Scheduling::Idle, Idle, Batch), (Scheduling::Batch, Batch, Batch), (Scheduling::Normal, Other, Other)]
        {
            // Not through `choose`, which is one for the whole process.
            let policy = || thread_priority::thread_schedule_policy().unwrap();
            let worker = std::thread::spawn(move || {
                become_one(scheduling.of_work());
                let child = std::thread::spawn(policy).join().unwrap();
                let writer = std::thread::spawn(move || (become_one(scheduling.of_writing()), policy()).1);
                (policy(), child, writer.join().unwrap())
            });
            let normal = ThreadSchedulePolicy::Normal;
            assert_eq!(worker.join().unwrap(), (normal(work), normal(work), normal(writing)));
            assert_eq!(policy(), normal(Other), "who started it keeps its own");
        }
    }

    #[tokio::test]
    async fn a_failure_and_a_panic_are_told() {
        let failed = run::<()>("fails", || Err(Error::new(Kind::Io, "why"))).await.unwrap_err();
        assert_eq!(failed.kind(), Kind::Io);
        let panicked = run::<()>("panics", || panic!("on purpose")).await.unwrap_err();
        assert_eq!(panicked.kind(), Kind::Internal);
    }
}

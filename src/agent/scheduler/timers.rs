//! What wakes the scheduler: a one-shot timer at the next instant and a tick, both of `tokio-cron-scheduler`.
//!
//! It exists because that crate's timers follow the wall clock: after a clock goes back they are silent until the old
//! time comes again. So every wait also ends by the monotonic clock. It may not decide what a wake-up means.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::core::model::Timestamp;
use crate::error::{Error, Kind, Result};

/// The clocks are looked at this often: after a suspend or a jump a run is late by no more.
const TICK: Duration = Duration::from_secs(30);

/// Limit of each call to the crate, which answers through channels of its own.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Something that ends waits.
pub(super) trait Wake {
    /// Asks for a wake-up at `at`; it may come early, late or not at all.
    async fn arm(&mut self, at: Timestamp, now: Timestamp);

    /// Returns at a wake-up, or after a while.
    async fn wait(&mut self);
}

/// The timers of the daemon.
pub(super) struct Timers {
    carrier: JobScheduler,
    rung: Arc<Notify>,
    armed: Option<Timestamp>,
}

impl Timers {
    pub(super) async fn start() -> Result<Self> {
        let failed = |e: JobSchedulerError| Error::new(Kind::Internal, "cannot start the timers").caused_by(e);
        let carrier = JobScheduler::new().await.map_err(failed)?;
        let rung = Arc::new(Notify::new());
        let ring = Arc::clone(&rung);
        let tick = Job::new_repeated(TICK, move |_, _| ring.notify_one()).map_err(failed)?;
        limited(carrier.add(tick)).await.map_err(failed)?;
        limited(carrier.start()).await.map_err(failed)?;
        Ok(Timers { carrier, rung, armed: None })
    }

    pub(super) async fn stop(mut self) {
        if let Err(e) = limited(self.carrier.shutdown()).await {
            tracing::warn!("cannot stop the timers: {e}");
        }
    }
}

/// `CantGetTimeUntil` stands for "no answer": the crate has no kind for that.
async fn limited<T>(
    call: impl Future<Output = std::result::Result<T, JobSchedulerError>>,
) -> std::result::Result<T, JobSchedulerError> {
    tokio::time::timeout(CALL_LIMIT, call).await.unwrap_or(Err(JobSchedulerError::CantGetTimeUntil))
}

impl Wake for Timers {
    async fn arm(&mut self, at: Timestamp, now: Timestamp) {
        if self.armed == Some(at) {
            return;
        }
        // The crate counts whole seconds and cuts them off: one too late is better than one too early.
        let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default() + Duration::from_secs(1);
        let ring = Arc::clone(&self.rung);
        let added = match Job::new_one_shot(wait, move |_, _| ring.notify_one()) {
            Ok(job) => limited(self.carrier.add(job)).await.map(drop),
            Err(e) => Err(e),
        };
        match added {
            Ok(()) => self.armed = Some(at),
            Err(e) => tracing::warn!("cannot set the timer for {at}, the tick must do: {e}"),
        }
    }

    async fn wait(&mut self) {
        let _ = tokio::time::timeout(TICK, self.rung.notified()).await;
    }
}

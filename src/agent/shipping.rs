//! Ships the spool: at the start, after each snapshot, and again with backoff while the store is away.

use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::last_runs::LastRuns;
use super::sweep::Sweeper;
use crate::error::Error;
use crate::event;
use crate::snapshot::ship::ship_all;
use crate::sys::random;

/// First pause after a failed pass; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// A store that is back is noticed within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A pass without being asked, for what another command left in the spool.
const IDLE_PASS: Duration = Duration::from_secs(60);

/// Runs until `stop`. A pass that is cut off leaves the spool as it was, and the next one goes on from there.
pub(super) async fn run(
    parts: &Parts,
    last_runs: &LastRuns,
    wake: &Notify,
    stop: &CancellationToken,
    status: &(dyn Fn(String) + Send + Sync),
) {
    let mut pause = FIRST_PAUSE;
    let mut sweeper = Sweeper::default();
    loop {
        let work = async {
            let passed = pass(parts, status).await;
            if passed == Passed::Shipped {
                sweeper.when_due(parts, last_runs).await;
            }
            passed != Passed::Failed
        };
        let clean = tokio::select! {
            clean = work => clean,
            () = stop.cancelled() => return,
        };
        let wait = if clean {
            pause = FIRST_PAUSE;
            IDLE_PASS
        } else {
            let wait = pause.mul_f64(0.75 + 0.5 * random::fraction());
            pause = (pause * 2).min(LONGEST_PAUSE);
            wait
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // While the store fails, a new snapshot does not shorten the backoff.
            () = wake.notified(), if clean => {}
            () = stop.cancelled() => return,
        }
    }
}

#[derive(PartialEq, Eq)]
enum Passed {
    /// There was nothing to ship.
    Idle,
    Shipped,
    Failed,
}

async fn pass(parts: &Parts, status: &(dyn Fn(String) + Send + Sync)) -> Passed {
    let report = match ship_all(&parts.snapshots, &parts.spool, &|_, _| {}).await {
        Ok(report) => report,
        Err(e) => {
            failed("the spool", &e);
            return Passed::Failed;
        }
    };
    for problem in &report.problems {
        tracing::warn!("{problem}");
    }
    for m in &report.shipped {
        event!(
            BackupSuccessful,
            snapshot = %m.name,
            revision = m.revision.0,
            generation = m.generation.0,
            size = m.stored.size,
            "backed up revision {} as {}",
            m.revision,
            m.name
        );
        status(format!("last snapshot {} (revision {})", m.name, m.revision));
    }
    for (name, e) in &report.failed {
        failed(name.as_str(), e);
        status(format!("{name} waits in the spool: {}", e.one_line()));
    }
    match (report.failed.is_empty(), report.shipped.is_empty()) {
        (false, _) => Passed::Failed,
        (true, false) => Passed::Shipped,
        (true, true) => Passed::Idle,
    }
}

fn failed(what: &str, e: &Error) {
    let hint = e.hint_text().map(|h| format!(" | hint: {h}")).unwrap_or_default();
    event!(BackupError, snapshot = %what, kind = e.kind().label(), "{what} could not be shipped, and is kept: {}{hint}", e.one_line());
}

//! Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::render::{bytes, note};
use crate::ports::Clock;

const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress in bytes. Cheap to call often.
#[derive(Clone)]
pub(super) struct Progress {
    what: String,
    bar: Option<ProgressBar>,
    clock: Arc<dyn Clock>,
    /// Milliseconds of the last line.
    said: Arc<AtomicU64>,
}

impl Progress {
    pub(super) fn new(what: &str, clock: Arc<dyn Clock>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
            );
            let bar = ProgressBar::no_length().with_message(what.to_owned());
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let said = Arc::new(AtomicU64::new(millis(clock.monotonic())));
        Progress { what: what.to_owned(), bar, clock, said }
    }

    /// `done` of `total` bytes; a total of 0 is not known.
    pub(super) fn at(&self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            if total > 0 {
                bar.set_length(total);
            }
            bar.set_position(done);
            return;
        }
        let now = millis(self.clock.monotonic());
        let last = self.said.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= millis(LINE_EVERY);
        if due && self.said.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let of = if total > 0 { format!(" of {}", bytes(total)) } else { String::new() };
            note(&format!("{}: {}{of}", self.what, bytes(done)));
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

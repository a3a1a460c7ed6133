//! The gate as its unit runs it: it never fails. systemd would leave etcd down for good (`result 'dependency'`) after a gate that failed once.
//!
//! Whatever is wrong (configuration, secrets, disks, a defect of ours) is said, shown by `systemctl status`, and looked at again with the
//! configuration of then. It ends when etcd may start, or by a signal.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;

use super::args::BootstrapArgs;
use super::bootstrap::{stop_signal, summary};
use super::render::{self, Printer};
use super::wire::{Wire, start_logging};
use crate::bootstrap::{Bootstrap, LONGEST_PAUSE, Pause, Report, RunOptions, Voice, status_line};
use crate::config::Stamp;
use crate::error::{Error, Kind, Result};
use crate::ports::Clock;
use crate::sys::clock::SystemClock;
use crate::sys::notify::Notify;
use crate::telemetry;

/// What a changed configuration that cannot be used has to say, before everything else.
type Complaint = Arc<Mutex<Option<String>>>;

struct Gate<'a> {
    config: Option<&'a Path>,
    init_empty: bool,
    clock: SystemClock,
    voice: Arc<Voice>,
    notify: Notify,
    complaint: Complaint,
}

/// Waits until etcd may start.
pub(super) async fn run(config: Option<&Path>, args: &BootstrapArgs, printer: &Printer) -> ExitCode {
    let (notify, complaint) = (Notify::new(), Complaint::default());
    let complains = complaint.clone();
    let status = move |text: &str| match &*complains.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(complaint) => notify.status(&format!("{complaint} | the old one goes on: {text}")),
        None => notify.status(text),
    };
    // The journal gets each line from where it happens.
    let voice = Arc::new(Voice::new(|_| (), status));
    let gate = Gate { config, init_empty: args.init_empty, clock: SystemClock::new(), voice, notify, complaint };
    gate.start_logging();
    let stop = async {
        match stop_signal() {
            Ok(stop) => stop.await,
            // Then they end the process at once, as they do by themselves.
            Err(e) => {
                tracing::warn!("{}", e.one_line());
                std::future::pending().await
            }
        }
    };
    tokio::select! {
        report = gate.until_start() => {
            if let Err(e) = printer.report(&report, summary) {
                tracing::warn!("{}", e.one_line());
            }
            ExitCode::SUCCESS
        }
        () = stop => {
            // Every step is durable by itself: the next start goes on from here.
            tracing::warn!("stopped by a signal; etcd must not start, the next run goes on from here");
            ExitCode::from(Kind::Undecided.exit_code())
        }
    }
}

impl Gate<'_> {
    fn start_logging(&self) {
        let started = match Wire::new(self.config) {
            Ok(wire) => start_logging(&wire),
            Err(_) => telemetry::init(tracing::Level::INFO, telemetry::Format::Auto),
        };
        if let Err(e) = started {
            render::note(&format!("warning: {}", e.one_line()));
        }
    }

    async fn until_start(&self) -> Report {
        let mut pause = Pause::default();
        loop {
            let tried = AssertUnwindSafe(self.attempt()).catch_unwind().await;
            let e = match tried {
                Ok(Ok(report)) => return report,
                Ok(Err(e)) => e,
                Err(panic) => defect(panic.as_ref()),
            };
            self.complain(None);
            let (why, hint) = (plain(&e), e.advice());
            if self.voice.is_news("error", &why, self.clock.monotonic()) {
                let e = e.context("the gate cannot decide, and waits; etcd stays down until then");
                telemetry::log_error(&match &hint {
                    Some(hint) => e.hint(hint),
                    None => e,
                });
            }
            self.voice.status(&status_line("WAIT, the gate cannot decide", &why, hint.as_deref()));
            pause.wait(LONGEST_PAUSE).await;
        }
    }

    /// One configuration after the other, until etcd may start or something fails that the run itself does not wait for.
    async fn attempt(&self) -> Result<Report> {
        let mut stamp = Stamp::of(self.config);
        let bootstrap = self.load(&mut stamp)?;
        let mut reload = || self.reload(&mut stamp);
        bootstrap.run(RunOptions { deadline: None, wait_on_refusal: true, reload: Some(&mut reload) }).await
    }

    /// The gate of the configuration of now. What changes from here on, `stamp` tells.
    fn load(&self, stamp: &mut Stamp) -> Result<Bootstrap> {
        stamp.renew();
        let mut wire = Wire::new(self.config)?;
        stamp.names(wire.settings());
        // It looks again for ever; its own line says what it waits for.
        wire.limits.tell = Some(log_once);
        let notify = self.notify;
        let progress = move |done: u64, total: u64| {
            let of = if total > 0 { format!(" of {}", render::bytes(total)) } else { String::new() };
            notify.status(&format!("building the data dir: {}{of}", render::bytes(done)));
        };
        wire.bootstrap(self.init_empty, true, self.voice.clone(), Box::new(progress))
    }

    /// The gate of a configuration that has changed. One that cannot be used is said once, and the old one goes on.
    fn reload(&self, stamp: &mut Stamp) -> Option<Bootstrap> {
        if !stamp.renew() {
            return None;
        }
        match self.load(stamp) {
            Ok(new) => {
                tracing::info!("the configuration has changed and was loaded again");
                self.complain(None);
                Some(new)
            }
            Err(e) => {
                let (why, hint) = (plain(&e), e.advice());
                let head = "the changed configuration cannot be used, the old one goes on";
                tracing::error!(kind = e.kind().label(), "{}", status_line(head, &why, hint.as_deref()));
                self.complain(Some(status_line("the changed configuration cannot be used", &why, hint.as_deref())));
                None
            }
        }
    }

    fn complain(&self, of: Option<String>) {
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = of;
    }
}

/// On one line, without the lines that point at a place of a file.
fn plain(e: &Error) -> String {
    let number = |c: char| c.is_ascii_digit();
    let says = |line: &&str| !line.trim_start().trim_start_matches(number).trim_start().starts_with('|');
    let lines: Vec<&str> = e.message().lines().filter(says).map(str::trim).collect();
    let mut parts = vec![lines.join("; ")];
    parts.extend(e.causes());
    parts.join(": ")
}

fn defect(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no text");
    Error::new(Kind::Internal, format!("a defect of this program ended an attempt (a panic: {text})"))
        .hint("it tries again by itself; please report it with the output of: journalctl -b -u lifeboat-bootstrap")
}

/// A slow store is said once in the log; the verdict says it from then on.
fn log_once(text: &str) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        tracing::warn!("{text}");
    }
}

//! `lifeboat bootstrap`: the gate, its dry run, and the replay of recorded facts.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::args::BootstrapArgs;
use super::gate;
use super::progress::Progress;
use super::render::{self, Printer};
use super::wire::Wire;
use crate::bootstrap::{Outcome, Report, RunOptions, Voice};
use crate::core::decide::{Policy, Verdict, decide};
use crate::core::facts::{DataDir, Facts, Observed};
use crate::error::{Kind, Result, ResultExt};

/// What a history file holds, as far as a replay needs it.
#[derive(Deserialize)]
struct Recorded {
    facts: Facts,
    policy: Policy,
}

#[derive(Serialize)]
struct DryRun {
    facts: Facts,
    verdict: Verdict,
    steps: Vec<String>,
}

pub(super) async fn run(config: Option<&Path>, args: &BootstrapArgs, printer: &Printer) -> Result<ExitCode> {
    if let Some(file) = &args.facts {
        let text = std::fs::read(file)
            .or_fail(Kind::Usage, || format!("cannot read the recorded facts {}", file.display()))
            .map_err(|e| e.hint("the history folder under bootstrap.state_dir has such files"))?;
        let recorded: Recorded = serde_json::from_slice(&text)
            .or_fail(Kind::Usage, || format!("{} holds no recorded facts", file.display()))
            .map_err(|e| e.hint("the history folder under bootstrap.state_dir has such files"))?;
        let verdict = decide(&recorded.facts, &recorded.policy);
        return dry(recorded.facts, verdict, &recorded.policy, printer);
    }
    if args.started {
        crate::bootstrap::started(&Wire::by_hand(config)?.bootstrap_settings(false)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    // A deadline is a person's, who wants an answer then.
    if args.wait || (runs_in_unit() && args.deadline.is_none() && !args.dry_run) {
        return Ok(gate::run(config, args, printer).await);
    }
    let mut wire = if args.dry_run { Wire::by_hand(config)? } else { Wire::new(config)? };
    wire.limits.tell = Some(render::note);
    wire.limits.warn = Some(render::warn);
    if let Some(deadline) = args.deadline {
        // The cause must be known, and said, before the time is over.
        wire.limits.retry_for = wire.limits.retry_for.min(deadline / 2);
        wire.limits.connect = wire.limits.connect.min(deadline / 2);
    }
    let progress = Progress::new("building the data dir", wire.clock.clone());
    let (told, bar) = (progress.clone(), progress.clone());
    let line = move |text: &str| {
        bar.end();
        render::note(text);
    };
    let voice = Arc::new(Voice::new(line, |_| ()));
    let bootstrap = wire.bootstrap(args.init_empty, false, voice, Box::new(move |done, total| told.at(done, total)))?;
    if args.dry_run {
        let (facts, verdict) = bootstrap.dry_run().await;
        return dry(facts, verdict, &bootstrap.settings.policy, printer);
    }
    let stop = stop_signal()?;
    let report = tokio::select! {
        report = bootstrap.run(RunOptions { deadline: args.deadline, ..RunOptions::default() }) => report,
        () = stop => {
            // Every step is durable by itself: the next start goes on from here.
            render::note("stopped by a signal; etcd must not start, the next run goes on from here");
            return Ok(ExitCode::from(Kind::Undecided.exit_code()));
        }
    };
    progress.end();
    let report = report?;
    let outcome = report.outcome;
    printer.report(&report, summary)?;
    Ok(match outcome {
        Outcome::Start => ExitCode::SUCCESS,
        Outcome::Refused => ExitCode::from(Kind::Refused.exit_code()),
        Outcome::Undecided => ExitCode::from(Kind::Undecided.exit_code()),
    })
}

/// systemd starts units with an invocation id. It tells the process that it means by its pid (since 248), or is its parent; a shell inside of a unit
/// has neither.
fn runs_in_unit() -> bool {
    let meant = std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    std::env::var_os("INVOCATION_ID").is_some() && (meant || nix::unistd::getppid().as_raw() == 1)
}

/// Ends at SIGTERM or SIGINT, which no longer end the process by themselves.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).or_fail(Kind::Internal, || "cannot listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).or_fail(Kind::Internal, || "cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

pub(super) fn summary(report: &Report) -> String {
    match report.outcome {
        Outcome::Start => format!("etcd may start now (rule {})\n", report.verdict.rule),
        Outcome::Refused => {
            format!("refused by rule {}: a person must choose; etcd must not start\n", report.verdict.rule)
        }
        Outcome::Undecided => {
            format!("undecided at the deadline (rule {}); etcd must not start\n", report.verdict.rule)
        }
    }
}

/// The exit code of a dry run tells what the real run would end with right now.
fn dry(facts: Facts, verdict: Verdict, policy: &Policy, printer: &Printer) -> Result<ExitCode> {
    use crate::core::decide::Decision;
    let code = match &verdict.decision {
        Decision::Refuse { .. } => Kind::Refused.exit_code(),
        Decision::Wait { .. } => Kind::Undecided.exit_code(),
        _ => 0,
    };
    let steps = crate::core::steps::steps(&verdict, &facts, policy).iter().map(ToString::to_string).collect();
    printer.report(&DryRun { facts, verdict, steps }, people)?;
    Ok(ExitCode::from(code))
}

fn people(dry: &DryRun) -> String {
    let (facts, verdict) = (&dry.facts, &dry.verdict);
    let data = match &facts.data_dir {
        Observed::Unknown(cause) => format!("unknown: {}", cause.text),
        Observed::Known(DataDir::Absent) => "absent".into(),
        Observed::Known(DataDir::Empty) => "empty".into(),
        Observed::Known(DataDir::InUse) => "in use: an etcd runs".into(),
        Observed::Known(DataDir::Damaged { what, .. }) => format!("damaged: {what}"),
        Observed::Known(DataDir::Foreign { what }) => format!("foreign: {what}"),
        Observed::Known(DataDir::Healthy(m)) => format!("member {} of cluster {}", m.member_id, m.cluster_id),
    };
    let staging = match &facts.staging {
        Observed::Unknown(cause) => format!("unknown: {}", cause.text),
        Observed::Known(None) => "none".into(),
        Observed::Known(Some(s)) => {
            format!("generation {}, {}", s.generation, if s.complete { "complete" } else { "half built" })
        }
    };
    let memory = match &facts.memory {
        Observed::Unknown(cause) => format!("unknown: {}", cause.text),
        Observed::Known(m) if !m.remembers_cluster() => "no cluster".into(),
        Observed::Known(m) => format!("a cluster, generation {}", m.highest_generation),
    };
    let store = match &facts.store {
        Observed::Unknown(cause) => format!("unknown: {}", cause.text),
        Observed::Known(s) => {
            let plan = match &s.plan {
                None => "no plan".to_owned(),
                Some(p) => format!("plan {} ({})", p.plan.generation, p.plan.cause),
            };
            let standing: Vec<&str> = s.roll_call.iter().filter(|e| e.counts()).map(|e| e.node.as_str()).collect();
            let standing = if standing.is_empty() { "nobody else".to_owned() } else { standing.join(", ") };
            let heartbeat =
                s.heartbeat.as_ref().map(|b| format!(", heartbeat {} s old", b.age_seconds)).unwrap_or_default();
            format!("{plan}, {} snapshot(s){heartbeat}; in the roll call: {standing}", s.snapshots.len())
        }
    };
    let live = if facts.live.clusters.is_empty() {
        let why: Vec<&str> = facts.live.silent.iter().map(|s| s.cause.text.as_str()).collect();
        if why.is_empty() { "no member answers".to_owned() } else { format!("no member answers ({})", why.join("; ")) }
    } else {
        let cluster = |c: &crate::core::facts::LiveCluster| {
            format!("cluster {} answers, {}", c.cluster_id, if c.quorate { "quorate" } else { "WITHOUT quorum" })
        };
        facts.live.clusters.iter().map(cluster).collect::<Vec<_>>().join("; ")
    };
    let mut requests: Vec<String> =
        facts.requests().map(|r| format!("{} (id {}, in {})", r.snapshot, r.id, r.found_in)).collect();
    match &facts.request {
        Observed::Unknown(cause) => requests.insert(0, format!("unknown: {}", cause.text)),
        Observed::Known(None) => requests.insert(0, "none".into()),
        Observed::Known(Some(_)) => {}
    }
    let start = match &facts.start {
        Observed::Unknown(cause) => format!("unknown: {}", cause.text),
        Observed::Known(flags) => flags.read_from.clone(),
    };
    let mut rows = vec![
        ("data dir", data),
        ("staging", staging),
        ("memory", memory),
        ("live", live),
        ("store", store),
        ("etcd's flags", start),
        ("request", requests.join("; ")),
        ("rule", verdict.rule.to_string()),
        ("verdict", verdict.decision.to_string()),
        ("because", verdict.because.clone()),
    ];
    rows.extend(verdict.notes.iter().map(|n| ("note", n.clone())));
    rows.extend(verdict.hint.iter().map(|h| ("hint", h.clone())));
    let mut text = render::fields(&rows);
    if !dry.steps.is_empty() {
        text.push_str("it would:\n");
        for (i, step) in dry.steps.iter().enumerate() {
            text.push_str(&format!("  {}. {step}\n", i + 1));
        }
    }
    text.push_str("nothing was changed (dry run)\n");
    text
}

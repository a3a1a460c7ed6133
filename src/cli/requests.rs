//! A person's words: `lifeboat restore-once` and `lifeboat declare-lost`.

use std::process::ExitCode;

use serde::Serialize;

use super::args::{DeclareLostArgs, RestoreOnceArgs};
use super::render::{self, Printer};
use super::wire::Wire;
use crate::bootstrap::{self, MemoryFile, RequestSources, TakenBack};
use crate::catalog::plans::Plans;
use crate::catalog::records::Created;
use crate::core::facts::Request;
use crate::core::model::Generation;
use crate::core::plan::PersonsWord;
use crate::error::{Error, Kind, Result};
use crate::sys::random;

#[derive(Serialize)]
struct Armed {
    snapshot: Option<String>,
    id: Option<String>,
    file: String,
    armed: bool,
    /// The plan that was cancelled.
    cancelled: Option<Generation>,
    /// What was taken back, in words.
    taken_back: Vec<String>,
    /// What else asks for a restore: kernel command line, credential.
    also_armed: Vec<Request>,
}

pub(super) async fn restore_once(wire: &Wire, args: &RestoreOnceArgs, printer: &Printer) -> Result<ExitCode> {
    let requests = wire.requests();
    let path = requests.file.path().display().to_string();
    let Some(name) = &args.name else {
        return take_it_back(wire, &requests, path, printer).await;
    };
    // What cannot be restored is refused now, not at the next boot.
    let manifest = wire.snapshots()?.resolve(name).await?;
    let id = requests.file.arm(name).map_err(|e| e.context(format!("no restore is armed: cannot write {path}")))?;
    let memory = memory(wire).observe();
    let done = |r: &Request| memory.known().is_some_and(|m| m.consumed.contains(&r.id));
    let also = requests.armed().into_iter().filter(|r| r.id != id && !done(r)).collect();
    let report = Armed {
        snapshot: Some(name.clone()),
        id: Some(id),
        file: path,
        armed: true,
        cancelled: None,
        taken_back: Vec::new(),
        also_armed: also,
    };
    printer.report(&report, |r| {
        let mut text = format!(
            "armed in {}: at the next start of etcd this host restores {name} (now {}, revision {}), once.\n\
             The data of now is moved aside, not deleted. To take it back: lifeboat restore-once --cancel\n",
            r.file, manifest.name, manifest.revision
        );
        for other in &r.also_armed {
            text.push_str(&format!(
                "note: {} asks for a restore of {:?}, too (id {}); the file comes first, and that one then counts as done\n",
                other.found_in, other.snapshot, other.id
            ));
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

fn memory(wire: &Wire) -> MemoryFile {
    MemoryFile::new(&wire.settings().bootstrap.state_dir)
}

async fn take_it_back(wire: &Wire, requests: &RequestSources, path: String, printer: &Printer) -> Result<ExitCode> {
    let armed = requests.armed();
    // First what is armed here: it needs no store, and a host that waits for the store because of it goes on.
    let done = requests.take_back(&memory(wire))?;
    let plans = Plans::new(wire.records()?);
    let taken = bootstrap::take_back(&plans, &wire.settings().node.name, wire.clock.now()).await.map_err(|e| {
        e.context(format!(
            "nothing is armed on this host any more (not in {path} either), but whether the store holds a plan for that restore, which this host \
             would follow at a later start, could not be found out"
        ))
        .hint("type it again when the store answers: lifeboat restore-once --cancel")
    })?;
    let cancelled = match taken {
        TakenBack::Plan(generation) => Some(generation),
        TakenBack::TooLate(generation) => {
            let (request, behind) = behind(&plans, generation).await?;
            if !behind.is_empty() {
                return Err(Error::new(
                    Kind::Refused,
                    format!(
                        "too late: so many hosts have followed plan {generation} that its cluster may serve already; {} will follow at the next start of etcd",
                        behind.join(", ")
                    ),
                )
                .hint("to have the data of before again, restore a snapshot of it: 'lifeboat ls', then lifeboat restore-once NAME"));
            }
            if armed.iter().any(|r| Some(&r.id) == request.as_ref()) {
                return Err(Error::new(
                    Kind::Refused,
                    format!("too late: the restore has been done, or is being done, as plan {generation}"),
                )
                .hint("the data of before was moved aside: lifeboat quarantine ls"));
            }
            None
        }
        TakenBack::Nothing => None,
    };
    let report = Armed {
        snapshot: None,
        id: None,
        file: path,
        armed: false,
        cancelled,
        taken_back: done,
        also_armed: Vec::new(),
    };
    printer.report(&report, |r| {
        let mut parts: Vec<String> = r.cancelled.iter().map(|g| format!("plan {g} is cancelled")).collect();
        parts.extend(r.taken_back.iter().cloned());
        if parts.is_empty() {
            return format!("nothing was armed in {}, on the kernel command line or in a credential\n", r.file);
        }
        format!("taken back: {}. The next start of etcd restores nothing\n", parts.join("; "))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What a plan was asked for by, and which of its hosts have not followed it.
async fn behind(plans: &Plans, generation: Generation) -> Result<(Option<String>, Vec<String>)> {
    let Some(plan) = plans.plan(generation).await? else { return Ok((None, Vec::new())) };
    let mut behind = Vec::new();
    for voter in &plan.voters {
        if plans.mark(generation, &voter.name).await?.is_none() {
            behind.push(voter.name.to_string());
        }
    }
    Ok((plan.request, behind))
}

#[derive(Serialize)]
struct Lost {
    generation: Generation,
}

pub(super) async fn declare_lost(wire: &Wire, args: &DeclareLostArgs, printer: &Printer) -> Result<ExitCode> {
    let records = wire.records()?;
    let location = records.store().location();
    let plans = Plans::new(records);
    let (_, newest) = plans.history(Generation(0)).await?;
    let Some(newest) = newest else {
        let text = format!("{location} has no plan, so there is no life of the cluster to declare lost");
        return Err(Error::new(Kind::NotFound, text)
            .hint("check bucket and folder with: lifeboat config show; what a boot would do now: lifeboat bootstrap --dry-run"));
    };
    let generation = newest.plan.generation;
    let voters: Vec<String> = newest.plan.voters.iter().map(|v| v.name.to_string()).collect();
    render::ask(
        &format!(
            "Generation {generation} (voters {}) will count as gone for good: if one of these hosts still holds its data, what was written there is given up.",
            voters.join(", ")
        ),
        args.yes,
    )?;
    let word = PersonsWord {
        generation,
        by: wire.settings().node.name.clone(),
        reason: args.reason.clone(),
        at: wire.clock.now(),
        nonce: random::nonce()?,
    };
    let created = plans.declare_lost(&word).await?;
    printer.report(&Lost { generation }, |l| match created {
        Created::Ours => format!("generation {} is declared lost\n", l.generation),
        Created::Taken => format!("generation {} was declared lost before\n", l.generation),
    })?;
    Ok(ExitCode::SUCCESS)
}

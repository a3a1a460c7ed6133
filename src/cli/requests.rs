//! A person's words: `lifeboat restore-once` and `lifeboat declare-lost`.

use std::process::ExitCode;

use serde::Serialize;

use super::args::{DeclareLostArgs, RestoreOnceArgs};
use super::render::{self, Printer};
use super::wire::Wire;
use crate::bootstrap::{self, RequestFile, TakenBack};
use crate::catalog::plans::Plans;
use crate::catalog::records::Created;
use crate::core::facts::Observed;
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
}

pub(super) async fn restore_once(wire: &Wire, args: &RestoreOnceArgs, printer: &Printer) -> Result<ExitCode> {
    let file = RequestFile::new(&wire.settings().bootstrap.request_file);
    let path = file.path().display().to_string();
    let Some(name) = &args.name else {
        return take_it_back(wire, &file, path, printer).await;
    };
    // What cannot be restored is refused now, not at the next boot.
    let manifest = wire.snapshots()?.resolve(name).await?;
    let id = file.arm(name)?;
    let report = Armed { snapshot: Some(name.clone()), id: Some(id), file: path, armed: true, cancelled: None };
    printer.report(&report, |r| {
        format!(
            "armed in {}: at the next start of etcd this host restores {name} (now {}, revision {}), once.\n\
             The data of now is moved aside, not deleted. To take it back: lifeboat restore-once --cancel\n",
            r.file, manifest.name, manifest.revision
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn take_it_back(wire: &Wire, file: &RequestFile, path: String, printer: &Printer) -> Result<ExitCode> {
    let armed = file.observe();
    // The file first: it needs no store, and a host that waits for the store because of it goes on.
    file.remove()?;
    let plans = Plans::new(wire.records()?);
    let taken = bootstrap::take_back(&plans, &wire.settings().node.name, wire.clock.now()).await.map_err(|e| {
        e.context(format!(
            "{path} is gone, but whether the store holds a plan for that restore, which this host would follow at a later start, could not be found out"
        ))
        .hint("type it again when the store answers: lifeboat restore-once --cancel")
    })?;
    let there = !matches!(armed, Observed::Known(None));
    let cancelled = match taken {
        TakenBack::Plan(generation) => Some(generation),
        TakenBack::TooLate(generation) if there => {
            let plan = plans.plan(generation).await?;
            let same =
                matches!((&armed, plan), (Observed::Known(Some(r)), Some(p)) if p.request.as_ref() == Some(&r.id));
            if same {
                return Err(Error::new(
                    Kind::Refused,
                    format!("too late: the restore has been done, or is being done, as plan {generation}"),
                )
                .hint("the data of before was moved aside: lifeboat quarantine ls"));
            }
            None
        }
        TakenBack::TooLate(_) | TakenBack::Nothing => None,
    };
    let report = Armed { snapshot: None, id: None, file: path, armed: false, cancelled };
    printer.report(&report, |r| match (r.cancelled, there) {
        (Some(generation), _) => format!(
            "taken back: plan {generation} is cancelled, and nothing is armed in {}; the next start of etcd restores nothing\n",
            r.file
        ),
        (None, true) => format!("taken back: {} is removed; the next start of etcd restores nothing\n", r.file),
        (None, false) => format!("nothing was armed in {}\n", r.file),
    })?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Lost {
    generation: Generation,
}

pub(super) async fn declare_lost(wire: &Wire, args: &DeclareLostArgs, printer: &Printer) -> Result<ExitCode> {
    let plans = Plans::new(wire.records()?);
    let (_, newest) = plans.history(Generation(0)).await?;
    let Some(newest) = newest else {
        return Err(Error::new(Kind::NotFound, "the store has no plan, so there is no life to declare lost"));
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

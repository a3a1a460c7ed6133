//! A person's words: `lifeboat restore-once` and `lifeboat declare-lost`.

use std::process::ExitCode;

use serde::Serialize;

use super::args::{DeclareLostArgs, RestoreOnceArgs};
use super::render::{self, Printer};
use super::wire::Wire;
use crate::bootstrap::RequestFile;
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
}

pub(super) async fn restore_once(wire: &Wire, args: &RestoreOnceArgs, printer: &Printer) -> Result<ExitCode> {
    let file = RequestFile::new(&wire.settings().bootstrap.request_file);
    let path = file.path().display().to_string();
    let Some(name) = &args.name else {
        let there = !matches!(file.observe(), Observed::Known(None));
        file.remove()?;
        let report = Armed { snapshot: None, id: None, file: path, armed: false };
        printer.report(&report, |r| {
            if there {
                format!("taken back: {} is removed; the next start of etcd restores nothing\n", r.file)
            } else {
                format!("nothing was armed in {}\n", r.file)
            }
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    // What cannot be restored is refused now, not at the next boot.
    let manifest = wire.snapshots()?.resolve(name).await?;
    let id = file.arm(name).map_err(|e| e.context(format!("no restore is armed: cannot write {path}")))?;
    let report = Armed { snapshot: Some(name.clone()), id: Some(id), file: path, armed: true };
    printer.report(&report, |r| {
        format!(
            "armed in {}: at the next start of etcd this host restores {name} (now {}, revision {}), once.\n\
             The data of now is moved aside, not deleted. To take it back: lifeboat restore-once --cancel\n",
            r.file, manifest.name, manifest.revision
        )
    })?;
    Ok(ExitCode::SUCCESS)
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

//! `lifeboat quarantine add` and `ls`.

use std::process::ExitCode;

use serde::Serialize;

use super::args::QuarantineCommand;
use super::render::{self, Printer};
use super::wire::Wire;
use crate::bootstrap::quarantine;
use crate::error::{Error, Kind, Result};

#[derive(Serialize)]
struct Listed {
    path: String,
}

pub(super) async fn run(wire: &Wire, command: &QuarantineCommand, printer: &Printer) -> Result<ExitCode> {
    let settings = wire.bootstrap_settings(false)?;
    match command {
        QuarantineCommand::Ls => {
            let all: Vec<Listed> =
                quarantine::list(&settings)?.iter().map(|p| Listed { path: p.display().to_string() }).collect();
            printer.report(&all, |all| {
                if all.is_empty() {
                    format!("nothing is quarantined in {}\n", settings.data_dir.display())
                } else {
                    all.iter().map(|l| format!("{}\n", l.path)).collect()
                }
            })?;
        }
        QuarantineCommand::Add { yes } => {
            let member = settings.data_dir.join("member");
            render::ask(
                &format!("Move {} aside? The next bootstrap treats this host as empty.", member.display()),
                *yes,
            )?;
            let Some(aside) = quarantine::add(&settings, wire.clock.now()).await? else {
                return Err(Error::new(
                    Kind::NotFound,
                    format!("there is no {}, so nothing to move aside", member.display()),
                )
                .hint("check etcd.data_dir with: lifeboat config show"));
            };
            printer.report(&Listed { path: aside.display().to_string() }, |l| {
                format!("moved to {}; nothing was deleted\n", l.path)
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

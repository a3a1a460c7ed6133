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
            let wal = settings.wal_dir.as_ref().map(|wal| wal.display().to_string());
            let both =
                wal.iter().fold(member.display().to_string(), |both, wal| format!("{both} and the WAL in {wal}"));
            render::ask(&format!("Move {both} aside? The next bootstrap treats this host as empty."), *yes)?;
            let Some(aside) = quarantine::add(&settings, wire.clock.now()).await? else {
                return Err(Error::new(
                    Kind::NotFound,
                    format!(
                        "there is no {}{}, so nothing to move aside",
                        member.display(),
                        wal.map_or_else(String::new, |wal| format!(" and no WAL in {wal}"))
                    ),
                )
                .hint("check etcd.data_dir and etcd.wal_dir with: lifeboat config show"));
            };
            printer.report(&Listed { path: aside.display().to_string() }, |l| {
                format!("moved to {}; nothing was deleted\n", l.path)
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

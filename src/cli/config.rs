//! `lifeboat config show` and `config check`. Both work offline.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::args::ConfigCommand;
use super::render::{self, Printer};
use super::wire::Wire;
use crate::error::Result;
use crate::setup;

#[derive(Serialize)]
struct Value {
    key: String,
    value: String,
    origin: String,
}

#[derive(Serialize)]
struct Checked {
    files: Vec<String>,
    ok: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

pub(super) fn run(path: Option<&Path>, command: ConfigCommand, printer: &Printer) -> Result<ExitCode> {
    let wire = Wire::new(path)?;
    match command {
        ConfigCommand::Show => {
            let values: Vec<Value> = wire
                .loaded
                .explain()
                .into_iter()
                .map(|e| Value { key: e.key, value: e.value, origin: e.origin })
                .collect();
            printer.report(&values, |values| {
                render::table(
                    &["KEY", "VALUE", "FROM"],
                    values.iter().map(|v| vec![v.key.clone(), v.value.clone(), v.origin.clone()]),
                )
            })?;
        }
        ConfigCommand::Check => {
            wire.loaded.check()?;
            wire.bootstrap_settings(false)?;
            let files = wire.loaded.files.iter().map(|f| f.display().to_string()).collect();
            let warnings = setup::ungiven(wire.settings());
            printer.report(&Checked { files, ok: true, warnings }, |c| {
                let warnings = c.warnings.iter().map(|w| format!("warning: {w}\n"));
                format!("ok: {}\n{}", c.files.join(", "), warnings.collect::<String>())
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

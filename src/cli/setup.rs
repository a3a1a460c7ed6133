//! `lifeboat setup` and `setup --remove`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::SetupArgs;
use super::render::{self, Printer};
use super::wire::utf8;
use crate::bootstrap;
use crate::config::{self, DEFAULT_PATH, Loaded};
use crate::error::{Error, Kind, Result};
use crate::setup::{self, Note, Place, Report, State};

pub(super) async fn run(config: Option<&Path>, args: &SetupArgs, printer: &Printer) -> Result<ExitCode> {
    let root = args.root.as_deref().map(existing).transpose()?;
    let place = Place { root: root.as_deref(), dry_run: args.dry_run };
    if place.root.is_none() && !place.dry_run && !nix::unistd::geteuid().is_root() {
        return Err(Error::new(Kind::Refused, "only root may write below /etc/systemd/system; nothing was changed")
            .hint("sudo lifeboat setup (or --dry-run, to see what it would write)"));
    }
    let report = if args.remove { setup::remove(place).await? } else { apply(config, place).await? };
    printer.report(&report, people)?;
    Ok(ExitCode::SUCCESS)
}

fn existing(root: &Path) -> Result<PathBuf> {
    root.canonicalize()
        .ok()
        .filter(|r| r.is_dir())
        .ok_or_else(|| Error::new(Kind::Usage, format!("--root {}: there is no such directory", root.display())))
        .map_err(|e| e.hint("name the directory that will be / of the image"))
}

async fn apply(config: Option<&Path>, place: Place<'_>) -> Result<Report> {
    let default = Path::new(DEFAULT_PATH);
    let path = match (config, place.root) {
        (Some(path), _) => path.to_owned(),
        (None, Some(root)) => root.join(default.strip_prefix("/").unwrap_or(default)),
        (None, None) => default.to_owned(),
    };
    let env = std::env::vars_os().filter_map(utf8).filter(|(name, _)| name != "CREDENTIALS_DIRECTORY");
    let bare = ("CREDENTIALS_DIRECTORY".to_owned(), setup::BARE_NAMES.to_owned());
    let loaded = config::load(Some(&path), env.chain([bare]))?;
    let mut report = setup::apply(&loaded.settings, place).await?;
    if place.root.is_none() && !place.dry_run {
        bootstrap::remember_mount(&loaded.settings.bootstrap.state_dir, &loaded.settings.etcd.data_dir)?;
    }
    let mut notes = elsewhere(&loaded, &path, place);
    notes.append(&mut report.notes);
    report.notes = notes;
    Ok(report)
}

/// What this run has read and the units will not.
fn elsewhere(loaded: &Loaded, path: &Path, place: Place<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    let same = path.canonicalize().ok() == Path::new(DEFAULT_PATH).canonicalize().ok();
    if place.root.is_none() && !same {
        let text = format!("this was made from {}, but the units read {DEFAULT_PATH}", path.display());
        notes.push(Note { warning: true, text });
    }
    let mut variables: Vec<String> = loaded
        .origins()
        .into_values()
        .filter_map(|o| o.strip_prefix("environment variable ").map(str::to_owned))
        .collect();
    variables.sort();
    if !variables.is_empty() {
        let text =
            format!("the units do not see {} of this shell: write it into the configuration", variables.join(", "));
        notes.push(Note { warning: true, text });
    }
    notes
}

fn people(report: &Report) -> String {
    let mut out = String::new();
    let word = |state: State| match (state, report.dry_run) {
        (State::Written, false) => "written",
        (State::Written, true) => "would be written",
        (State::Unchanged, _) => "unchanged",
        (State::Removed, false) => "removed",
        (State::Removed, true) => "would be removed",
    };
    if report.files.is_empty() {
        out.push_str("nothing of 'lifeboat setup' is here\n");
    } else {
        let rows = report.files.iter().map(|f| vec![f.path.display().to_string(), word(f.state).to_owned()]);
        out.push_str(&render::table(&["FILE", "STATE"], rows));
    }
    for file in report.files.iter().filter(|f| f.state == State::Written) {
        let Some(content) = &file.content else { continue };
        out.push_str(&format!("\n{}:\n", file.path.display()));
        out.extend(content.lines().map(|line| format!("  {line}\n")));
    }
    for note in &report.notes {
        out.push_str(&format!("\n{}: {}\n", if note.warning { "warning" } else { "note" }, note.text));
    }
    if let Some(unit) = report.unit.as_ref().filter(|_| !report.dry_run) {
        out.push_str(&format!(
            "\n{unit} passes the gate at its next start; nothing was started, stopped or restarted.\n"
        ));
    }
    if !report.next.is_empty() {
        out.push_str("next:\n");
        out.extend(report.next.iter().map(|line| format!("  {line}\n")));
    }
    out
}

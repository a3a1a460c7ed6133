//! `lifeboat setup`: lets etcd's unit wait for the gate, and gives the units of the package what the configuration names.
//!
//! It exists so that a host has one source of truth: the unit files of the package are the same everywhere, and what
//! depends on `lifeboat.toml` is in drop-ins that can be written again, or removed, at any time. [`plan`] is pure: from
//! settings and what was observed to files and notes. It never starts, stops, restarts or enables a unit.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::Settings;
use crate::error::{Error, Kind, Result};

mod drop_ins;
mod etcd_version;
mod flags;
mod judge;
mod machine;
mod named_files;
mod plan;
mod show;
mod start;
mod syntax;
mod systemctl;
mod unit_files;
mod writable;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod units_tests;

pub use drop_ins::{remove, ungiven};
pub use etcd_version::etcd_version;
pub use flags::start_flags;
pub use named_files::BARE_NAMES;

use machine::Machine;
use plan::{Host, Plan, plan};

/// Name of everything that is written here.
pub const FILE_NAME: &str = "50-lifeboat-setup.conf";

/// First line of everything that is written here. A file without it is not ours to change.
pub const FIRST_LINE: &str = "# Written by 'lifeboat setup'; 'lifeboat setup --remove' removes it.";

/// The gate.
pub const GATE: &str = "lifeboat-bootstrap.service";
/// The agent.
pub const AGENT: &str = "lifeboat.service";
/// What restarts the agent when a file changes that it was given.
pub const WATCH: &str = "lifeboat-credentials.path";

/// What becomes of a drop-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is new, or said something else.
    Written,
    /// It says the same already.
    Unchanged,
    /// It no longer applies.
    Removed,
}

/// One drop-in.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// Where it is.
    pub path: PathBuf,
    /// What became of it; in a dry run, what would.
    pub state: State,
    /// What it says; only in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// What a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Something is wrong, or will be.
    pub warning: bool,
    /// What, and what to type.
    pub text: String,
}

impl Note {
    fn plain(text: impl Into<String>) -> Self {
        Note { warning: false, text: text.into() }
    }

    fn warning(text: impl Into<String>) -> Self {
        Note { warning: true, text: text.into() }
    }

    /// The gate was at work while its drop-in went.
    fn ended_gate(units: &[String]) -> Self {
        let units = units.join(" ");
        Note::warning(format!(
            "the gate was at work, and was ended, so that {units} does not start by itself on what the data dir holds now; to start it without the gate: systemctl start {units}"
        ))
    }
}

/// What was done, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Nothing was changed.
    pub dry_run: bool,
    /// The unit that waits for the gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Every drop-in of ours.
    pub files: Vec<Change>,
    /// Whether systemd has loaded them.
    pub reloaded: bool,
    /// What a person should know.
    pub notes: Vec<Note>,
    /// What to type next.
    pub next: Vec<String>,
}

/// Where to work.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Another root directory, where no systemd runs.
    pub root: Option<&'a Path>,
    /// Look and tell, change nothing.
    pub dry_run: bool,
}

impl Place<'_> {
    /// The folder of the drop-ins.
    fn units(&self) -> PathBuf {
        within(self.root, Path::new("/etc/systemd/system"))
    }
}

/// `path` below another root.
fn within(root: Option<&Path>, path: &Path) -> PathBuf {
    match root {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    }
}

/// Writes the drop-ins that `settings` call for, and removes those of ours that they do not.
///
/// # Errors
/// When the gate's unit is not installed, a secret is missing, etcd's unit contradicts the configuration, a file stands
/// in the way that is not ours, or writing fails. Everything is looked at before anything is written.
pub async fn apply(settings: &Settings, place: Place<'_>) -> Result<Report> {
    let units = match place.root {
        Some(root) => unit_files::observe(root, &settings.etcd.unit)?,
        None => {
            let mut units = systemctl::observe(&settings.etcd.unit).await?;
            // What counts at etcd's next start is what the files say, not what systemd has read of them.
            if units.needs_reload && !place.dry_run {
                systemctl::daemon_reload().await?;
                units = systemctl::observe(&settings.etcd.unit).await?;
            }
            units
        }
    };
    if !units.gate_installed {
        return Err(Error::new(
            Kind::NotFound,
            format!("{GATE} is not installed: an etcd that requires it would never start; nothing was written"),
        )
        .hint("install the package etcd-lifeboat (from a source tree: copy systemd/* to /etc/systemd/system), then type the same again"));
    }
    let machine = Machine { root: place.root };
    let start = machine.start(settings, units.etcd)?;
    let host = Host { image: place.root.is_some(), restarts_directly: units.restarts_directly };
    let Plan { files, mut notes } = plan(settings, start.as_ref(), &machine, host)?;
    notes.splice(0..0, units.notes);
    let released = drop_ins::released(&files, place)?;
    drop_ins::ours_or_none(&files, place)?;
    if units.gate_runs && !released.is_empty() && !place.dry_run {
        systemctl::end_gate().await?;
        notes.push(Note::ended_gate(&released));
    }
    let changes = drop_ins::replace(&files, place)?;
    let changed = |unit: &str| {
        changes
            .iter()
            .any(|c| c.state != State::Unchanged && c.path.parent().is_some_and(|d| d.ends_with(format!("{unit}.d"))))
    };
    let any = changes.iter().any(|c| c.state != State::Unchanged);
    let reloaded = place.root.is_none() && !place.dry_run && (any || units.needs_reload);
    if reloaded {
        systemctl::daemon_reload().await?;
    }
    let mut next = next_steps(settings, place, units.agent_runs.then(|| changed(AGENT) || changed(WATCH)));
    if units.gate_runs && released.is_empty() && changed(GATE) && !place.dry_run {
        // It works in the sandbox of its start.
        next.insert(0, format!("systemctl kill {GATE}; sleep 10; systemctl restart {}", settings.etcd.unit));
    }
    Ok(Report { dry_run: place.dry_run, unit: Some(settings.etcd.unit.clone()), files: changes, reloaded, notes, next })
}

/// What to type next. `restart`: the agent runs, and whether it lacks something new.
fn next_steps(settings: &Settings, place: Place<'_>, restart: Option<bool>) -> Vec<String> {
    if place.dry_run {
        return vec!["lifeboat setup".to_owned()];
    }
    if let Some(root) = place.root {
        return vec![format!("systemctl --root={} enable {AGENT}", root.display())];
    }
    let mut next = Vec::new();
    match restart {
        None => next.push("systemctl enable --now lifeboat".to_owned()),
        Some(true) => next.push("systemctl restart lifeboat".to_owned()),
        Some(false) => {}
    }
    next.push("lifeboat bootstrap --dry-run".to_owned());
    next.push(format!("systemctl status lifeboat lifeboat-bootstrap {}", settings.etcd.unit));
    next
}

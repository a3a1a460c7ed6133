//! The drop-ins on disk: which of them are ours, writing and removing them. The only part of setup that changes anything.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::Settings;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys;

use super::plan::DropIn;
use super::{
    AGENT, Change, FILE_NAME, FIRST_LINE, GATE, Note, Place, Report, State, WATCH, machine, named_files, systemctl,
    within,
};

/// A file of our name.
pub(super) struct Found {
    path: PathBuf,
    ours: bool,
}

impl Found {
    /// Whose it is.
    fn unit(&self) -> Option<String> {
        let dir = self.path.parent()?.file_name()?.to_str()?;
        dir.strip_suffix(".d").map(str::to_owned)
    }
}

fn in_unit(units: &Path, unit: &str) -> PathBuf {
    units.join(format!("{unit}.d")).join(FILE_NAME)
}

/// Its text, if there is one.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e).or_fail(Kind::Io, || format!("cannot read {}", path.display())),
    }
}

fn is_ours(text: &str) -> bool {
    text.lines().next() == Some(FIRST_LINE)
}

/// Every file of our name below the folder of the units, in order.
fn find(units: &Path) -> Result<Vec<Found>> {
    let failed = || format!("cannot read directory {}", units.display());
    let entries = match fs::read_dir(units) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.or_fail(Kind::Io, failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.or_fail(Kind::Io, failed)?.path().join(FILE_NAME);
        if let Some(text) = read(&path)? {
            found.push(Found { ours: is_ours(&text), path });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Environment files that our drop-in gives to a unit now.
pub(super) fn environment_files(units: &Path, unit: &str) -> Result<Vec<PathBuf>> {
    let text = read(&in_unit(units, unit))?.filter(|t| is_ours(t)).unwrap_or_default();
    let lines = text.lines().filter_map(|l| l.strip_prefix("EnvironmentFile=-"));
    Ok(lines.map(|path| PathBuf::from(path.replace("%%", "%"))).collect())
}

/// Units of etcd whose drop-in of ours goes when these are the ones that are wanted.
///
/// # Errors
/// When the folder of the units cannot be read.
pub(super) fn released(wanted: &[DropIn], place: Place<'_>) -> Result<Vec<String>> {
    let found = find(&place.units())?.into_iter().filter(|f| f.ours).filter_map(|f| f.unit());
    Ok(found.filter(|unit| !of_ours(unit) && !wanted.iter().any(|w| w.unit == *unit)).collect())
}

/// Whether it is a unit of the package.
fn of_ours(unit: &str) -> bool {
    [GATE, AGENT, WATCH].contains(&unit)
}

/// Every file of our name, when those that are to be written are ours, or not there yet.
///
/// # Errors
/// When one of them is somebody else's.
pub(super) fn ours_or_none(wanted: &[DropIn], place: Place<'_>) -> Result<Vec<Found>> {
    let units = place.units();
    let found = find(&units)?;
    let paths: Vec<PathBuf> = wanted.iter().map(|w| in_unit(&units, &w.unit)).collect();
    if let Some(foreign) = found.iter().find(|f| !f.ours && paths.contains(&f.path)) {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "{} is not a file of ours (its first line is another); nothing was written",
                foreign.path.display()
            ),
        )
        .hint("rename it if it is yours, or remove it, then type the same again"));
    }
    Ok(found)
}

/// Makes the files on disk be these, and no others of ours.
///
/// # Errors
/// When a file that is not ours has one of the names (nothing is changed then), or a file cannot be written or removed.
pub(super) fn replace(wanted: &[DropIn], place: Place<'_>) -> Result<Vec<Change>> {
    let units = place.units();
    let found = ours_or_none(wanted, place)?;
    let paths: Vec<PathBuf> = wanted.iter().map(|w| in_unit(&units, &w.unit)).collect();
    let mut changes = Vec::new();
    for (drop_in, path) in wanted.iter().zip(paths.iter()) {
        let same = read(path)?.is_some_and(|old| old == drop_in.content);
        if !same && !place.dry_run {
            sys::fs::create_dir_all(sys::fs::parent(path), 0o755)?;
            sys::fs::write_atomic(path, drop_in.content.as_bytes(), 0o644)?;
        }
        changes.push(Change {
            path: path.clone(),
            state: if same { State::Unchanged } else { State::Written },
            content: place.dry_run.then(|| drop_in.content.clone()),
        });
    }
    for old in found.into_iter().filter(|f| f.ours && !paths.contains(&f.path)) {
        if !place.dry_run {
            remove_one(&old.path)?;
        }
        changes.push(Change { path: old.path, state: State::Removed, content: None });
    }
    Ok(changes)
}

/// Removes a drop-in, what an interrupted write left beside it, and its directory if nothing else is in it.
fn remove_one(path: &Path) -> Result<()> {
    sys::fs::remove_file(path)?;
    let dir = sys::fs::parent(path);
    let unfinished = format!(".{FILE_NAME}.");
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&unfinished) && name.ends_with(".part") {
            sys::fs::remove_file(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Ok(()) => sys::fs::sync_dir(sys::fs::parent(dir)),
        Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => Ok(()),
        Err(e) => Err(e).or_fail(Kind::Io, || format!("cannot remove directory {}", dir.display())),
    }
}

/// Removes every drop-in of ours; needs no configuration, and no systemd.
///
/// # Errors
/// When a file cannot be removed, or systemd does not load what is left.
pub async fn remove(place: Place<'_>) -> Result<Report> {
    let live = place.root.is_none() && !place.dry_run && systemctl::is_running();
    let released = released(&[], place)?;
    let mut notes = Vec::new();
    if live && !released.is_empty() && systemctl::gate_runs().await? {
        systemctl::end_gate().await?;
        notes.push(Note::ended_gate(&released));
    }
    let mut found = find(&place.units())?;
    // Those of etcd's units go first: what waits for a gate that has lost its access waits for ever.
    found.sort_by_key(|f| f.unit().is_some_and(|unit| of_ours(&unit)));
    let mut files = Vec::new();
    for old in found {
        if !old.ours {
            let text = format!("{} is not a file of ours (its first line is another), so it stays", old.path.display());
            notes.push(Note::warning(text));
            continue;
        }
        if !place.dry_run {
            remove_one(&old.path)?;
        }
        files.push(Change { path: old.path, state: State::Removed, content: None });
    }
    // Also when nothing was left to remove: an earlier run may have been cut off before this.
    if live {
        // A start of etcd may have come in between: what holds it back ends with this.
        if !released.is_empty() && systemctl::gate_runs().await? {
            systemctl::end_gate().await?;
        }
        systemctl::daemon_reload().await?;
    }
    let next = match place.dry_run {
        true => vec!["lifeboat setup --remove".to_owned()],
        false => released.iter().filter(|_| live).map(|unit| format!("systemctl status {unit}")).collect(),
    };
    Ok(Report { dry_run: place.dry_run, unit: None, files, reloaded: live, notes, next })
}

/// One line for each file that the configuration names, and that the agent could neither read nor is given. Nothing
/// where no setup was made.
pub fn ungiven(settings: &Settings) -> Vec<String> {
    let units = within(None, Path::new("/etc/systemd/system"));
    match read(&in_unit(&units, AGENT)) {
        Ok(Some(text)) if is_ours(&text) => named_files::ungiven(settings, &text, machine::agent_may_read),
        _ => Vec::new(),
    }
}

//! `lifeboat save`, `ls`, `get`, `delete` and `verify` as functions that return what they found. Rendering is the command line's business.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::fetch::{self, Got};
use super::save::{self, SaveRequest};
use super::ship::{self, Progress};
use super::spool::Spool;
use super::verify::{self, VerifyReport};
use crate::catalog::snapshots::Snapshots;
use crate::core::manifest::{Manifest, Origin};
use crate::core::model::{Generation, NodeName, Revision, SnapshotName, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::ports::{Clock, Etcd};

/// What `save` did.
#[derive(Debug, Serialize)]
pub struct SaveReport {
    /// The snapshot, with the name that it has in the store, or in the spool when it is not there yet.
    pub manifest: Manifest,
    /// Whether it is in the store.
    pub shipped: bool,
    /// The local copy, where it was written.
    pub payload: PathBuf,
    /// Why it is not in the store; it will be shipped later.
    pub not_shipped: Option<String>,
    /// What to read, though the snapshot is good.
    pub warnings: Vec<String>,
    /// Seconds for the snapshot itself, without shipping.
    pub seconds: f64,
    /// The failure behind `not_shipped`, for the exit code.
    #[serde(skip)]
    pub ship_error: Option<Error>,
}

/// Takes a snapshot and ships the spool, oldest first. A store that fails is no failure of the snapshot: see [`SaveReport::shipped`].
///
/// # Errors
/// When there is no snapshot.
pub async fn save(
    etcd: &dyn Etcd,
    snapshots: &Snapshots,
    clock: &dyn Clock,
    spool: &Spool,
    request: &SaveRequest,
    progress: Progress<'_>,
) -> Result<SaveReport> {
    let mut report = match save_only(etcd, snapshots, clock, spool, request).await {
        Ok(report) => report,
        Err(e) => {
            // An upload that began with the snapshot is being aborted.
            snapshots.records().store().drain().await;
            return Err(e);
        }
    };
    match ship::ship_all(snapshots, spool, progress).await {
        Ok(pass) => {
            report.warnings.extend(pass.problems);
            let ours = |m: &Manifest| m.raw == report.manifest.raw && m.started == report.manifest.started;
            if let Some(shipped) = pass.shipped.into_iter().find(ours) {
                report.payload = spool.dir().join(shipped.payload_file());
                report.manifest = shipped;
                report.shipped = true;
            } else if let Some((_, e)) = pass.failed.into_iter().next_back() {
                report.ship_error = Some(e);
            }
        }
        Err(e) => report.ship_error = Some(e),
    }
    // Also when it was shipped: under another name, or by another process, its upload was not what did it.
    spool.give_up_upload();
    snapshots.records().store().drain().await;
    // Another process of ours may have shipped it a moment before.
    if !report.shipped {
        let listed = spool.list(snapshots.records())?;
        report.shipped = listed.entries.iter().any(|e| e.shipped && e.manifest.name == report.manifest.name);
    }
    if !report.shipped {
        let why = report.ship_error.as_ref().map_or_else(|| "it waits in the spool".to_owned(), Error::one_line);
        report.not_shipped = Some(why);
    }
    Ok(report)
}

/// Takes a snapshot and leaves it in the spool; the agent, or the next `save`, ships it.
///
/// # Errors
/// When there is no snapshot.
pub async fn save_only(
    etcd: &dyn Etcd,
    snapshots: &Snapshots,
    clock: &dyn Clock,
    spool: &Spool,
    request: &SaveRequest,
) -> Result<SaveReport> {
    let saved = save::save(etcd, snapshots.records(), clock, spool, request).await?;
    Ok(SaveReport {
        shipped: false,
        payload: saved.payload,
        not_shipped: None,
        warnings: saved.warnings,
        seconds: saved.took.as_secs_f64(),
        ship_error: None,
        manifest: saved.manifest,
    })
}

/// Where a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the store only.
    Store,
    /// In the spool of this host only: it waits to be shipped.
    Spool,
    /// In both.
    Both,
}

/// One line of `ls`.
#[derive(Debug, Clone, Serialize)]
pub struct LsRow {
    /// Name.
    pub name: SnapshotName,
    /// Where it is.
    pub place: Place,
    /// `ok`, `verified`, or what is wrong.
    pub status: String,
    /// Whether a restore may use it by itself.
    pub usable: bool,
    /// Whether a person holds it.
    pub held: bool,
    /// The rest, when its manifest can be trusted.
    #[serde(flatten)]
    pub facts: Option<LsFacts>,
}

/// What a trusted manifest says, as far as `ls` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct LsFacts {
    /// Who asked for it.
    pub origin: Origin,
    /// The cluster's life.
    pub generation: Generation,
    /// Last revision in it.
    pub revision: Revision,
    /// Host that took it.
    pub node: NodeName,
    /// When.
    pub started: Timestamp,
    /// Bytes in the store.
    pub stored_size: u64,
    /// Bytes of the plain file.
    pub raw_size: u64,
    /// etcd's version.
    pub etcd_version: String,
    /// Whether the cluster was quorate.
    pub quorum: bool,
}

/// What `ls` found.
#[derive(Debug, Default, Serialize)]
pub struct LsReport {
    /// Snapshots, oldest first.
    pub rows: Vec<LsRow>,
    /// Payloads in the store without a manifest: uploads in progress or broken off.
    pub uncommitted: usize,
    /// Objects under `snapshots/` that are not ours.
    pub foreign: u64,
    /// Files in the spool that cannot be followed.
    pub problems: Vec<String>,
    /// What to change, where something that is listed cannot be used.
    pub hints: Vec<String>,
}

fn facts(m: &Manifest) -> LsFacts {
    LsFacts {
        origin: m.origin,
        generation: m.generation,
        revision: m.revision,
        node: m.node.clone(),
        started: m.started,
        stored_size: m.stored.size,
        raw_size: m.raw.size,
        etcd_version: m.etcd_version.clone(),
        quorum: m.quorum,
    }
}

/// Lists the store (`remote`) and the spool (`local`); either may be left out.
///
/// # Errors
/// When one of them cannot be listed in full.
pub async fn ls(snapshots: &Snapshots, local: Option<&Spool>, remote: bool) -> Result<LsReport> {
    let mut report = LsReport::default();
    if remote {
        let listing = snapshots.list().await?;
        report.uncommitted = listing.uncommitted.len();
        report.foreign = listing.foreign;
        for entry in listing.entries {
            let (status, usable, held, facts) = match entry.state {
                Err(problem) => {
                    let hint = problem.hint().map(str::to_owned);
                    report.hints.extend(hint.filter(|h| !report.hints.contains(h)));
                    (problem.to_string(), false, false, None)
                }
                Ok(c) => {
                    let damage = c.damage();
                    let usable = damage.is_none() && c.manifest.quorum;
                    let status = match damage {
                        Some(what) => format!("damaged: {what}"),
                        None if !c.manifest.quorum => "emergency, restored only by name".to_owned(),
                        None if c.verified.is_some() => "verified".to_owned(),
                        None => "ok".to_owned(),
                    };
                    (status, usable, c.held, Some(facts(&c.manifest)))
                }
            };
            report.rows.push(LsRow { name: entry.name, place: Place::Store, status, usable, held, facts });
        }
    }
    if let Some(spool) = local {
        let listing = spool.list(snapshots.records())?;
        report.problems = listing.problems.iter().map(|(path, why)| format!("{}: {why}", path.display())).collect();
        for entry in listing.entries {
            let name = &entry.manifest.name;
            if let Some(row) = report.rows.iter_mut().find(|r| &r.name == name) {
                row.place = Place::Both;
                continue;
            }
            let status = match (entry.shipped, remote) {
                (false, _) => "waits to be shipped",
                (true, false) => "shipped",
                (true, true) => "shipped before, and no longer in the store",
            };
            report.rows.push(LsRow {
                name: name.clone(),
                place: Place::Spool,
                status: status.to_owned(),
                usable: false,
                held: false,
                facts: Some(facts(&entry.manifest)),
            });
        }
    }
    Ok(report)
}

/// Fetches `name` (or `latest`) into `file`, or into `<name>.db` in the working directory.
///
/// # Errors
/// As [`fetch::get_to_file`].
pub async fn get(
    snapshots: &Snapshots,
    name: &str,
    file: Option<&Path>,
    progress: impl Fn(u64) + Send + 'static,
) -> Result<Got> {
    let manifest = snapshots.resolve(name).await?;
    let file = file.map_or_else(|| PathBuf::from(format!("{}.db", manifest.name)), Path::to_path_buf);
    fetch::get_to_file(snapshots, &manifest, &file, progress).await
}

/// What `delete` did with one name.
#[derive(Debug, Serialize)]
pub struct Deleted {
    /// Which snapshot.
    pub name: SnapshotName,
    /// The objects that are gone.
    pub objects: Vec<String>,
}

/// Deletes one snapshot from the store. `latest` is no name here: a person must say which one.
///
/// # Errors
/// As [`Snapshots::delete`].
pub async fn delete(snapshots: &Snapshots, name: &str, force: bool) -> Result<Deleted> {
    let parsed = SnapshotName::new(name);
    let name = match parsed {
        Ok(name) if name.as_str() != "latest" => name,
        Ok(_) => {
            return Err(Error::new(Kind::Usage, "latest is not deleted: it means another snapshot each hour")
                .hint("give its name; see it with: lifeboat ls"));
        }
        Err(e) => {
            let hint = "give names as they stand in: lifeboat ls";
            return Err(Error::new(Kind::Usage, format!("cannot delete {name}")).caused_by(e).hint(hint));
        }
    };
    let objects = snapshots.delete(&name, force).await?;
    Ok(Deleted { name, objects })
}

/// Verifies `name` (or `latest`) with scratch space under `scratch`.
///
/// # Errors
/// When the question could not be answered. A damaged snapshot is a report with `ok = false`.
pub async fn verify(
    snapshots: &Snapshots,
    name: &str,
    scratch: &Path,
    node: &NodeName,
    clock: &dyn Clock,
) -> Result<VerifyReport> {
    let manifest = snapshots.resolve(name).await?;
    verify::verify(snapshots, &manifest, scratch, node, clock).await
}

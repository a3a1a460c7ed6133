//! From the spool to the store, oldest first. Every step may be broken off and done again; the manifest goes last.

use crate::catalog::keys;
use crate::catalog::records::Created;
use crate::catalog::snapshots::Snapshots;
use crate::core::manifest::Manifest;
use crate::core::model::SnapshotName;
use crate::core::record::{MAX_RECORD_BYTES, RecordKind};
use crate::error::{Error, Kind, Result};
use crate::ports::{PutMode, StoreErrorKind, StoreResult};

use super::spool::{Spool, SpoolEntry, suffixed};

/// Other hosts may use the same name in the same second; a hundred of them do not.
const MOST_SUFFIXES: u32 = 100;

/// Called with the name of a snapshot and the number of bytes sent so far.
pub type Progress<'a> = &'a (dyn Fn(&SnapshotName, u64) + Send + Sync);

/// What one pass over the spool did.
#[derive(Debug, Default)]
pub struct ShipReport {
    /// Snapshots that are in the store now, with the names that they have there.
    pub shipped: Vec<Manifest>,
    /// Snapshots that stay in the spool, with the reason. The caller tries again later.
    pub failed: Vec<(SnapshotName, Error)>,
    /// Shipped local copies that were removed.
    pub trimmed: Vec<SnapshotName>,
    /// Files in the spool that cannot be followed; they are left alone.
    pub problems: Vec<String>,
}

/// Ships everything that waits in the spool. A store that does not answer ends the pass; a single broken entry does not.
///
/// # Errors
/// When the spool itself cannot be read or cleaned up. Failures of single snapshots are in the report.
pub async fn ship_all(snapshots: &Snapshots, spool: &Spool, progress: Progress<'_>) -> Result<ShipReport> {
    let uploading = spool.uploading();
    let listing = spool.list(snapshots.records())?;
    // Another process of ours has shipped that one.
    let waits = |key: &str| listing.entries.iter().any(|e| !e.shipped && e.manifest.payload_key() == key);
    if let Some(key) = uploading.filter(|key| !waits(key)) {
        spool.give_up_upload_of(&key);
    }
    let mut report = ShipReport {
        problems: listing.problems.iter().map(|(path, why)| format!("{}: {why}", path.display())).collect(),
        ..ShipReport::default()
    };
    for entry in listing.entries.into_iter().filter(|e| !e.shipped) {
        let name = entry.manifest.name.clone();
        match ship_one(snapshots, spool, entry, progress).await {
            Ok(manifest) => report.shipped.push(manifest),
            Err(e) => {
                let only_this_one = matches!(e.kind(), Kind::Verification | Kind::Io);
                report.failed.push((name, e));
                if !only_this_one {
                    break;
                }
            }
        }
    }
    report.trimmed = spool.trim(snapshots.records())?;
    crate::failpoint!("ship.after_trim");
    Ok(report)
}

/// Ships one entry; gives the manifest as it is in the store (its name may have got a suffix).
///
/// # Errors
/// When the store fails or the local file is not what its manifest says. The entry stays in the spool.
pub async fn ship_one(
    snapshots: &Snapshots,
    spool: &Spool,
    entry: SpoolEntry,
    progress: Progress<'_>,
) -> Result<Manifest> {
    let wanted = entry.manifest.name.clone();
    let mut entry = entry;
    for n in 2..=MOST_SUFFIXES {
        match attempt(snapshots, spool, &entry, progress).await? {
            Attempt::Committed => {
                crate::failpoint!("ship.after_manifest");
                spool.mark_shipped(&entry.manifest.name)?;
                crate::failpoint!("ship.after_mark");
                return Ok(entry.manifest);
            }
            Attempt::NameTaken => entry = rename(snapshots, spool, &entry, &suffixed(&wanted, n)?)?,
        }
    }
    Err(Error::new(
        Kind::Store,
        format!("{} holds a hundred snapshots named {wanted}", snapshots.records().store().location()),
    )
    .hint("give each host's schedule its own name"))
}

enum Attempt {
    Committed,
    /// Another snapshot has this name in the store.
    NameTaken,
}

async fn attempt(snapshots: &Snapshots, spool: &Spool, entry: &SpoolEntry, progress: Progress<'_>) -> Result<Attempt> {
    let manifest = &entry.manifest;
    crate::failpoint!("ship.before_payload");
    if let Some(ours) = committed(snapshots, entry).await? {
        // Its payload is there already, or will get another key.
        spool.give_up_upload_of(&manifest.payload_key());
        return Ok(if ours { Attempt::Committed } else { Attempt::NameTaken });
    }
    if spool.finish_upload(manifest).await {
        return settle(snapshots, entry).await;
    }
    let sent = snapshots
        .records()
        .store()
        .put_file(&manifest.payload_key(), &entry.payload, &manifest.stored.sha256, PutMode::CreateOnly, &|bytes| {
            progress(&manifest.name, bytes)
        })
        .await;
    match sent {
        Ok(_) => {}
        Err(e) if matches!(e.kind, StoreErrorKind::AlreadyExists | StoreErrorKind::Unclear) => {
            // An earlier try of ours, or another host: only the content tells.
            match snapshots.payload_is(manifest).await {
                Ok(true) => {}
                Ok(false) => return Ok(Attempt::NameTaken),
                Err(missing) if missing.kind == StoreErrorKind::NotFound => return Err(e.into()),
                Err(other) => return Err(other.into()),
            }
        }
        Err(e) => return Err(e.into()),
    }
    settle(snapshots, entry).await
}

/// The payload is in the store.
async fn settle(snapshots: &Snapshots, entry: &SpoolEntry) -> Result<Attempt> {
    let manifest = &entry.manifest;
    crate::failpoint!("ship.after_payload");
    match snapshots.commit(manifest, entry.sealed.clone()).await? {
        Created::Ours => Ok(Attempt::Committed),
        Created::Taken => {
            // Nobody's manifest names our payload under this key, unless it has the same key.
            let theirs = snapshots.read_manifest(&manifest.name).await;
            if theirs.is_ok_and(|m| m.is_some_and(|m| m.payload_key() != manifest.payload_key())) {
                snapshots.records().store().delete(&manifest.payload_key()).await?;
            }
            Ok(Attempt::NameTaken)
        }
    }
}

/// Whether the store has a manifest under this name, and whether it is the very one of this entry.
async fn committed(snapshots: &Snapshots, entry: &SpoolEntry) -> StoreResult<Option<bool>> {
    let key = keys::manifest(&entry.manifest.name);
    match snapshots.records().store().get(&key, MAX_RECORD_BYTES).await {
        Ok(found) => Ok(Some(found.body == entry.sealed)),
        Err(e) if e.kind == StoreErrorKind::NotFound => Ok(None),
        Err(e) if e.kind == StoreErrorKind::Corrupt => Ok(Some(false)),
        Err(e) => Err(e),
    }
}

/// The name is part of what is signed, so the manifest is made anew.
fn rename(snapshots: &Snapshots, spool: &Spool, entry: &SpoolEntry, wanted: &SnapshotName) -> Result<SpoolEntry> {
    let mut manifest = entry.manifest.clone();
    manifest.name = spool.free_name(wanted)?;
    tracing::info!(snapshot = %entry.manifest.name, renamed = %manifest.name, "another snapshot has this name in the store");
    let sealed = snapshots.records().seal(
        RecordKind::Manifest,
        &keys::manifest(&manifest.name),
        manifest.generation,
        &manifest,
    )?;
    crate::failpoint!("ship.before_rename");
    spool.rename_entry(entry, &manifest, &sealed)
}

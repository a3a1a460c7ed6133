//! Fetch, verify, build: a complete, fsynced and sealed staging directory, made before anything else is touched.

use std::path::Path;
use std::time::Duration;

use super::Settings;
use super::owner::Owners;
use super::staging::{self, Seal};
use crate::catalog::snapshots::Snapshots;
use crate::core::manifest::Manifest;
use crate::core::model::{Generation, Nonce, Sha256, SnapshotName};
use crate::core::plan::Voter;
use crate::datadir::inspect_dir::{DirState, inspect_dir};
use crate::datadir::restore::{self, Built, Expected, InitialMember, RestoreSpec};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::failpoint;
use crate::snapshot::fetch;
use crate::snapshot::watched::Watched;
use crate::sys::fs;

/// A new WAL is preallocated to 64 MB; some room for the .snap and the directories.
const ROOM_BESIDE_THE_DB: u64 = 70_000_000;

/// What to build.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub generation: Generation,
    pub snapshot: Option<SnapshotName>,
    pub voters: Vec<Voter>,
    pub token: String,
    pub plan_nonce: Nonce,
    pub mark_nonce: Nonce,
    pub bump_revision: Option<u64>,
    pub request: Option<String>,
    /// Requests that were armed beside it.
    pub superseded: Vec<String>,
    /// Digest of the raw snapshot that the plan names: a manifest that speaks of other content is not the planned snapshot.
    pub raw_sha256: Option<Sha256>,
}

impl Order {
    fn spec(&self, settings: &Settings) -> RestoreSpec {
        RestoreSpec {
            members: self
                .voters
                .iter()
                .map(|v| InitialMember { name: v.name.to_string(), peer_urls: v.peer_urls.clone() })
                .collect(),
            me: settings.policy.node.to_string(),
            advertised: None,
            token: self.token.clone(),
            bump_revision: self.bump_revision,
            mark_compacted: self.bump_revision.is_some(),
            drop_alarms: true,
            wal_dir: settings.wal_dir.clone(),
        }
    }
}

/// Builds the staging directory of `order`, from the store's snapshot or empty, and seals it. What stood in its place before, half built, is removed.
///
/// # Errors
/// [`Kind::Verification`] when the snapshot is not what its manifest says; otherwise what failed. Nothing outside of the staging directory has changed,
/// and that one is gone: half a database beside etcd's could fill its disk.
pub(super) async fn build(
    settings: &Settings,
    snapshots: &Snapshots,
    order: &Order,
    owners: &Owners,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Built> {
    let built = build_and_seal(settings, snapshots, order, owners, progress).await;
    if built.is_err()
        && let Err(e) = staging::clean(settings)
    {
        tracing::warn!("{}", e.one_line());
    }
    built
}

async fn build_and_seal(
    settings: &Settings,
    snapshots: &Snapshots,
    order: &Order,
    owners: &Owners,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Built> {
    owners.make_dirs(settings)?;
    staging::clean(settings)?;
    let staging = staging::path(&settings.data_dir, order.generation);
    let spec = order.spec(settings);
    let built = match &order.snapshot {
        Some(name) => {
            let manifest = snapshots.resolve(name.as_str()).await?;
            if order.raw_sha256.is_some_and(|planned| planned != manifest.raw.sha256) {
                return Err(Error::new(
                    Kind::Verification,
                    format!("plan {} names other content for snapshot {name} than its manifest does", order.generation),
                ));
            }
            from_snapshot(settings, snapshots, &manifest, &staging, spec, progress).await?
        }
        None => {
            let staging = staging.clone();
            blocking(move || restore::build_empty(&staging, &spec)).await?
        }
    };
    failpoint!("bootstrap.built");
    owners.hand_over_data(settings, &staging)?;
    fs::sync_tree(&staging)?;
    if let (Some(tree), Some(wal)) = (&built.staged_wal, &settings.wal_dir) {
        owners.hand_over_wal(settings, wal, tree)?;
        fs::sync_tree(tree)?;
    }
    inspect(&staging, &built).await?;
    failpoint!("bootstrap.synced");
    let seal = Seal {
        generation: order.generation,
        plan_nonce: order.plan_nonce,
        mark_nonce: order.mark_nonce,
        cluster_id: built.cluster_id,
        token: order.token.clone(),
        request: order.request.clone(),
        superseded: order.superseded.clone(),
    };
    staging::seal(&staging, &seal)?;
    failpoint!("bootstrap.sealed");
    Ok(built)
}

async fn from_snapshot(
    settings: &Settings,
    snapshots: &Snapshots,
    manifest: &Manifest,
    staging: &Path,
    spec: RestoreSpec,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Built> {
    let name = &manifest.name;
    let free = fs::free_space(&settings.data_dir)?;
    let needed = manifest.raw.size.saturating_add(ROOM_BESIDE_THE_DB);
    if free < needed {
        return Err(Error::new(
            Kind::Io,
            format!("{} has {free} bytes free, and a restore of {name} needs {needed}", settings.data_dir.display()),
        )
        .hint(format!("make room on the file system of {}", settings.data_dir.display())));
    }
    let total = manifest.raw.size;
    let expected = Expected::from(manifest);
    let (mut reader, watch) = Watched::new(fetch::open_raw(snapshots, manifest).await?.ahead()?);
    let target = staging.to_path_buf();
    let mut work = tokio::task::spawn_blocking(move || restore::build(&mut reader, &expected, false, &target, &spec));
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let built = loop {
        tokio::select! {
            built = &mut work => break built.or_fail(Kind::Internal, || "the restore was interrupted")?,
            _ = tick.tick() => progress(watch.done(), total),
        }
    };
    let built = built.map_err(|e| watch.explain(e))?;
    progress(total, total);
    if built.snapshot_revision != manifest.revision {
        return Err(Error::new(
            Kind::Verification,
            format!(
                "snapshot {name} holds revision {}, and its manifest says {}",
                built.snapshot_revision, manifest.revision
            ),
        ));
    }
    for alarm in &built.dropped_alarms {
        tracing::warn!("an alarm ({alarm}) had travelled inside {name}; it was dropped from the restored data");
    }
    Ok(built)
}

/// Looks at what was built as the next boot would, before anything relies on it.
async fn inspect(staging: &Path, built: &Built) -> Result<()> {
    let (dir, wal) = (staging.to_path_buf(), built.staged_wal.clone());
    let state = blocking(move || inspect_dir(&dir, wal.as_deref())).await?;
    match state {
        DirState::Healthy(member) if (member.cluster_id, member.member_id) == (built.cluster_id, built.member_id) => {
            Ok(())
        }
        other => Err(Error::new(
            Kind::Internal,
            format!(
                "what was built in {} is not a healthy member of cluster {}: {}",
                staging.display(),
                built.cluster_id,
                describe(&other)
            ),
        )),
    }
}

fn describe(state: &DirState) -> String {
    match state {
        DirState::Absent => "it is absent".into(),
        DirState::Empty => "it is empty".into(),
        DirState::InUse => "an etcd runs on it".into(),
        DirState::Damaged { what } => what.clone(),
        DirState::Healthy(m) => format!("it holds member {} of cluster {}", m.member_id, m.cluster_id),
    }
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.or_fail(Kind::Internal, || "a task was interrupted")?
}

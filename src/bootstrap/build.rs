//! Fetch, verify, build: a complete, fsynced and sealed staging directory, made before anything else is touched.

use std::path::PathBuf;

use super::staging::{self, Seal};
use super::{Settings, data_dir};
use crate::catalog::snapshots::Snapshots;
use crate::core::model::{ClusterId, Generation, Nonce, Revision, SnapshotName};
use crate::core::plan::Voter;
use crate::datadir::restore::{self, Expected, InitialMember, RestoreSpec};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::failpoint;
use crate::snapshot::fetch;
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
}

/// What was built.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub cluster_id: ClusterId,
    pub revision: Option<Revision>,
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
            token: self.token.clone(),
            bump_revision: self.bump_revision,
            mark_compacted: self.bump_revision.is_some(),
            drop_nospace_alarms: true,
        }
    }
}

/// Builds the staging directory of `order`, from the store's snapshot or empty, and seals it. What stood in its place before, half built, is removed.
///
/// # Errors
/// [`Kind::Verification`] when the snapshot is not what its manifest says; otherwise what failed. Nothing outside of the staging directory has changed.
pub(super) async fn build(
    settings: &Settings,
    snapshots: &Snapshots,
    order: &Order,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Ready> {
    data_dir::create(settings)?;
    let staging = staging::path(&settings.data_dir, order.generation);
    staging::clean(&settings.data_dir, None)?;
    let spec = order.spec(settings);
    let ready = match &order.snapshot {
        Some(name) => from_snapshot(settings, snapshots, name, &staging, spec, progress).await?,
        None => {
            fs::create_dir(&staging, 0o700)?;
            let built = blocking({
                let staging = staging.clone();
                move || restore::build_empty(&staging, &spec)
            })
            .await?;
            Ready { cluster_id: built.cluster_id, revision: None }
        }
    };
    failpoint!("bootstrap.built");
    data_dir::take_over_ownership(settings, &staging)?;
    inspect(&staging, ready.cluster_id).await?;
    fs::sync_tree(&staging)?;
    failpoint!("bootstrap.synced");
    staging::seal(
        &staging,
        &Seal {
            generation: order.generation,
            plan_nonce: order.plan_nonce,
            mark_nonce: order.mark_nonce,
            cluster_id: ready.cluster_id,
            token: order.token.clone(),
        },
    )?;
    failpoint!("bootstrap.sealed");
    Ok(ready)
}

async fn from_snapshot(
    settings: &Settings,
    snapshots: &Snapshots,
    name: &SnapshotName,
    staging: &std::path::Path,
    spec: RestoreSpec,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Ready> {
    let manifest = snapshots.resolve(name.as_str()).await?;
    let free = fs::free_space(&settings.data_dir)?;
    let needed = manifest.raw.size.saturating_add(ROOM_BESIDE_THE_DB);
    if free < needed {
        return Err(Error::new(
            Kind::Io,
            format!("{} has {free} bytes free, and a restore of {name} needs {needed}", settings.data_dir.display()),
        )
        .hint(format!("make room on the file system of {}", settings.data_dir.display())));
    }
    fs::create_dir(staging, 0o700)?;
    let total = manifest.raw.size;
    let expected = Expected { size: Some(manifest.raw.size), sha256: Some(manifest.raw.sha256) };
    let reader = fetch::open_raw(snapshots, &manifest).await?;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Counted { inner: reader, done: done.clone() };
    let target = staging.to_path_buf();
    let mut work = tokio::task::spawn_blocking(move || restore::build(counted, &expected, false, &target, &spec));
    let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
    let built = loop {
        tokio::select! {
            built = &mut work => break built.or_fail(Kind::Internal, || "the restore was interrupted")??,
            _ = tick.tick() => progress(done.load(std::sync::atomic::Ordering::Relaxed), total),
        }
    };
    progress(total, total);
    if built.revision != manifest.revision {
        return Err(Error::new(
            Kind::Verification,
            format!("snapshot {name} holds revision {}, and its manifest says {}", built.revision, manifest.revision),
        ));
    }
    Ok(Ready { cluster_id: built.cluster_id, revision: Some(built.revision) })
}

struct Counted<R> {
    inner: R,
    done: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl<R: std::io::Read> std::io::Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.done.fetch_add(n as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(n)
    }
}

/// Looks at what was built as the next boot would, before anything relies on it.
async fn inspect(staging: &std::path::Path, expected: ClusterId) -> Result<()> {
    let (dir, wal): (PathBuf, PathBuf) = (staging.to_path_buf(), staging.join("member/wal"));
    let state = blocking(move || crate::datadir::inspect_dir::inspect_dir(&dir, Some(&wal))).await?;
    match state {
        crate::datadir::inspect_dir::DirState::Healthy(member) if member.cluster_id == expected => Ok(()),
        other => Err(Error::new(
            Kind::Internal,
            format!("what was built in {} is not a healthy member of cluster {expected}: {other:?}", staging.display()),
        )),
    }
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.or_fail(Kind::Internal, || "a task was interrupted")?
}

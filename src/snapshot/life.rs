//! Which life a member is in: its cluster id, looked up in the plans; by what was seen last when the store is away.
//!
//! It only labels a snapshot. What is restored is chosen by cluster id through the plans themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::catalog::keys::{self, SnapshotObject};
use crate::catalog::plans::Plans;
use crate::catalog::records::ReadError;
use crate::catalog::snapshots::Snapshots;
use crate::core::model::{ClusterId, Generation};
use crate::core::record::RecordProblem;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::ports::Etcd;
use crate::sys::fs;

const FILE: &str = "lives.json";
/// A snapshot does not wait longer than this for a label.
const STORE_LIMIT: Duration = Duration::from_secs(10);

type Lives = BTreeMap<String, Generation>;

/// The generation of the member's cluster; 0 when no plan names it.
///
/// # Errors
/// When the member does not answer, or when plans or snapshots in the store were signed with another cluster token: what is
/// saved with ours would be worth nothing to the gate that has theirs.
pub async fn of_member(etcd: &dyn Etcd, snapshots: &Snapshots, state_dir: &Path) -> Result<Generation> {
    let cluster = etcd.status().await?.cluster_id;
    let plans = Plans::new(snapshots.records().clone());
    let looks = async { tokio::join!(plans.history(Generation(0)), one_manifest(snapshots)) };
    let lives = match tokio::time::timeout(STORE_LIMIT, looks).await {
        Ok((Err(e), _)) if is_other_token(&e) => return Err(not_with_this_token(e)),
        // A plan that ours has signed says that ours is the right one: then that manifest was copied from elsewhere, and stops nothing.
        Ok((Ok((lives, _)), Err(e))) if is_other_token(&e) && lives.is_empty() => return Err(not_with_this_token(e)),
        Ok((Ok((lives, _)), _)) => {
            let lives: Lives = lives.iter().map(|l| (l.cluster_id.to_string(), l.generation)).collect();
            if let Err(e) = remember(state_dir, &lives) {
                tracing::warn!("{}", e.one_line());
            }
            lives
        }
        Ok((Err(e), _)) => {
            tracing::warn!(
                "the plans cannot be read, the generation is the one seen last: {}",
                Error::from(e).one_line()
            );
            recall(state_dir)
        }
        Err(_) => {
            tracing::warn!("the store did not give the plans in time, the generation is the one seen last");
            recall(state_dir)
        }
    };
    Ok(generation(&lives, cluster))
}

fn not_with_this_token(e: ReadError) -> Error {
    Error::from(e).context("no snapshot is taken with this cluster token")
}

fn is_other_token(e: &ReadError) -> bool {
    matches!(e, ReadError::Problem { problem: RecordProblem::OtherToken { .. }, .. })
}

/// Reads one manifest, any: all of a folder are signed with one token.
async fn one_manifest(snapshots: &Snapshots) -> std::result::Result<(), ReadError> {
    let page = snapshots.records().store().list_page(keys::SNAPSHOT_FOLDER, None).await?;
    let name = page.objects.iter().rev().find_map(|o| match keys::classify(&o.key) {
        SnapshotObject::Manifest(name) => Some(name),
        _ => None,
    });
    match name {
        Some(name) => snapshots.read_manifest(&name).await.map(drop),
        None => Ok(()),
    }
}

fn generation(lives: &Lives, cluster: ClusterId) -> Generation {
    lives.get(&cluster.to_string()).copied().unwrap_or_default()
}

fn remember(state_dir: &Path, lives: &Lives) -> Result<()> {
    let text = serde_json::to_vec(lives).or_fail(Kind::Internal, || "cannot write down the generations")?;
    let path = state_dir.join(FILE);
    if std::fs::read(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::create_dir_all(state_dir, 0o700)?;
    fs::write_atomic(&path, &text, 0o600)
}

/// The highest generation that was ever seen on this host by what runs as its agent; 0 for none.
pub(super) fn highest_seen(state_dir: &Path) -> Generation {
    recall(state_dir).values().copied().max().unwrap_or_default()
}

fn recall(state_dir: &Path) -> Lives {
    std::fs::read(state_dir.join(FILE)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

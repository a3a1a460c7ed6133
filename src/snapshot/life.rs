//! Which life a member is in: its cluster id, looked up in the plans; by what was seen last when the store is away.
//!
//! It only labels a snapshot. What is restored is chosen by cluster id through the plans themselves.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::catalog::keys::{self, SnapshotObject};
use crate::catalog::plans::Plans;
use crate::catalog::records::ReadError;
use crate::catalog::snapshots::Snapshots;
use crate::core::facts::Life;
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
            saw(state_dir, &lives);
            by_cluster(&lives)
        }
        Ok((Err(e), _)) => {
            tracing::warn!(
                "the plans cannot be read, the generation is the one seen last: {}",
                Error::from(e).one_line()
            );
            recall(state_dir).unwrap_or_default()
        }
        Err(_) => {
            tracing::warn!("the store did not give the plans in time, the generation is the one seen last");
            recall(state_dir).unwrap_or_default()
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

fn by_cluster(lives: &[Life]) -> Lives {
    lives.iter().map(|l| (l.cluster_id.to_string(), l.generation)).collect()
}

/// Notes the lives that a store has shown beside those that were seen before: a store that shows fewer was wiped, or is the wrong one, and that must be
/// seen the next time, too.
pub(super) fn saw(state_dir: &Path, lives: &[Life]) {
    if let Err(e) = remember(state_dir, by_cluster(lives)) {
        tracing::warn!("{}", e.one_line());
    }
}

fn remember(state_dir: &Path, lives: Lives) -> Result<()> {
    let old = recall(state_dir)?;
    let mut all = old.clone();
    all.extend(lives);
    if all == old {
        return Ok(());
    }
    let text = serde_json::to_vec(&all).or_fail(Kind::Internal, || "cannot write down the generations")?;
    let path = state_dir.join(FILE);
    fs::create_dir_all(state_dir, 0o700)?;
    fs::write_atomic(&path, &text, 0o600)?;
    hand_over(state_dir, &path).or_fail(Kind::Io, || format!("cannot hand {} to the agent", path.display()))
}

/// A `sudo lifeboat save` must not leave a file that the agent, who runs as nobody's root, cannot read.
fn hand_over(state_dir: &Path, file: &Path) -> std::io::Result<()> {
    let (dir, own) = (std::fs::metadata(state_dir)?, std::fs::metadata(file)?);
    if dir.uid() == own.uid() || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    std::os::unix::fs::chown(file, Some(dir.uid()), Some(dir.gid()))
}

/// The highest generation that was ever seen on this host by what runs as its agent; 0 for none.
///
/// # Errors
/// When that cannot be read or understood.
pub(super) fn highest_seen(state_dir: &Path) -> Result<Generation> {
    Ok(recall(state_dir)?.values().copied().max().unwrap_or_default())
}

fn recall(state_dir: &Path) -> Result<Lives> {
    let path = state_dir.join(FILE);
    let what = || format!("what this host has seen of its cluster, in {}, cannot be read", path.display());
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .or_fail(Kind::Io, what)
            .map_err(|e| e.hint(format!("remove {} if this host was never part of another cluster", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Lives::new()),
        Err(e) => Err(e)
            .or_fail(Kind::Io, what)
            .map_err(|e| e.hint(format!("{} must belong to the user that the agent runs as", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::PlanCause;

    fn life(generation: u64) -> Life {
        Life {
            generation: Generation(generation),
            cluster_id: ClusterId(generation * 0x10),
            cause: PlanCause::Init,
            cancelled: false,
            request: None,
            may_live: vec![],
        }
    }

    #[test]
    fn what_was_seen_is_never_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert_eq!(highest_seen(&state).unwrap(), Generation(0));
        saw(&state, &[]);
        assert!(!state.exists(), "nothing was seen, nothing is written");
        saw(&state, &[life(4), life(5)]);
        assert_eq!(highest_seen(&state).unwrap(), Generation(5));
        // The bucket was wiped, mistyped or rolled back.
        saw(&state, &[]);
        saw(&state, &[life(1)]);
        assert_eq!(highest_seen(&state).unwrap(), Generation(5));
        // "Could not find out" is not "nothing", and is not replaced either.
        std::fs::write(state.join(FILE), "{").unwrap();
        saw(&state, &[life(1)]);
        assert!(highest_seen(&state).is_err());
        assert_eq!(std::fs::read(state.join(FILE)).unwrap(), b"{");
    }
}

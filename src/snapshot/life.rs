//! Which life a member is in: its cluster id, looked up in the plans; by what was seen last when the store is away.
//!
//! It only labels a snapshot. What is restored is chosen by cluster id through the plans themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::catalog::plans::Plans;
use crate::core::model::{ClusterId, Generation};
use crate::error::{Kind, Result, ResultExt};
use crate::ports::Etcd;
use crate::sys::fs;

const FILE: &str = "lives.json";
/// A snapshot does not wait longer than this for a label.
const STORE_LIMIT: Duration = Duration::from_secs(10);

type Lives = BTreeMap<String, Generation>;

/// The generation of the member's cluster; 0 when no plan names it.
///
/// # Errors
/// When the member does not answer.
pub async fn of_member(etcd: &dyn Etcd, plans: &Plans, state_dir: &Path) -> Result<Generation> {
    let cluster = etcd.status().await?.cluster_id;
    let lives = match tokio::time::timeout(STORE_LIMIT, plans.history(Generation(0))).await {
        Ok(Ok((lives, _))) => {
            let lives: Lives = lives.iter().map(|l| (l.cluster_id.to_string(), l.generation)).collect();
            if let Err(e) = remember(state_dir, &lives) {
                tracing::warn!("{}", e.one_line());
            }
            lives
        }
        Ok(Err(e)) => {
            tracing::warn!(
                "the plans cannot be read, the generation is the one seen last: {}",
                crate::error::Error::from(e).one_line()
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

fn recall(state_dir: &Path) -> Lives {
    std::fs::read(state_dir.join(FILE)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

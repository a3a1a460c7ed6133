//! Signs of life in the store: the heartbeat of a live cluster, and the roll call of nodes that wait without data.
//!
//! Ages are measured by the store's clock alone: its answer's date minus the object's date.

use serde::{Deserialize, Serialize};

use super::keys;
use super::records::{ReadError, Record, Records};
use crate::core::facts::{HeartbeatFact, RollEntry, RollState};
use crate::core::model::{ClusterId, Generation, NodeName, Nonce, Revision};
use crate::core::record::{RecordKind, RecordProblem};

/// The content of the heartbeat, put right after its writer's own linearizable read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The life that beats.
    pub generation: Generation,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Who wrote it.
    pub by: NodeName,
    /// Revision of the read.
    pub revision: Revision,
    /// Tells one beat from the next.
    pub nonce: Nonce,
}

/// The content of a roll-call entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Presence {
    /// Who waits.
    pub node: NodeName,
    /// Its peer URLs.
    pub peer_urls: Vec<String>,
    /// What it waits as.
    pub state: RollState,
    /// Highest generation that it remembers.
    pub remembers: Generation,
    /// Whether it remembers a cluster at all.
    pub remembers_cluster: bool,
    /// Seconds since its first entry of this wait, by the store's clock.
    pub waiting_seconds: u64,
    /// Tells one entry from the next.
    pub nonce: Nonce,
}

fn age_seconds<T>(record: &Record<T>) -> Option<u64> {
    let (written, now) = (record.modified?, record.store_time?);
    Some(u64::try_from(now.duration_since(written).as_secs()).unwrap_or(0))
}

/// The heartbeat, if there is one.
///
/// # Errors
/// When the store fails, the record cannot be trusted, or the store tells no time.
pub async fn heartbeat(records: &Records) -> Result<Option<HeartbeatFact>, ReadError> {
    let Some(read) = records.read::<Heartbeat>(RecordKind::Heartbeat, keys::HEARTBEAT).await? else { return Ok(None) };
    let age_seconds = age_seconds(&read).ok_or_else(|| no_time(records, keys::HEARTBEAT))?;
    Ok(Some(HeartbeatFact { generation: read.body.generation, age_seconds }))
}

fn no_time(records: &Records, key: &str) -> ReadError {
    let why = "the store gives no Date or Last-Modified, so its age is not known".to_owned();
    ReadError::Problem {
        location: records.store().location(),
        key: key.to_owned(),
        problem: RecordProblem::BadBody(why),
    }
}

/// All entries of the roll call but this node's own.
///
/// # Errors
/// As [`heartbeat`].
pub async fn roll_call(records: &Records, me: &NodeName) -> Result<Vec<RollEntry>, ReadError> {
    let mut all = Vec::new();
    for object in records.store().list(keys::ROLL_CALL_FOLDER).await? {
        let name = object.key.strip_prefix(keys::ROLL_CALL_FOLDER).and_then(|f| f.strip_suffix(".json"));
        let Some(Ok(node)) = name.map(NodeName::new) else { continue };
        if node == *me {
            continue;
        }
        let key = keys::roll_call(&node);
        let Some(read) = records.read::<Presence>(RecordKind::RollCall, &key).await? else { continue };
        let age_seconds = age_seconds(&read).ok_or_else(|| no_time(records, &key))?;
        all.push(RollEntry {
            node: read.body.node,
            peer_urls: read.body.peer_urls,
            state: read.body.state,
            remembers: read.body.remembers,
            remembers_cluster: read.body.remembers_cluster,
            age_seconds,
            waiting_seconds: read.body.waiting_seconds.saturating_add(age_seconds),
        });
    }
    Ok(all)
}

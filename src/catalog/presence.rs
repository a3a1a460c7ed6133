//! Signs of life in the store: the heartbeat of a live cluster, and the roll call of nodes that wait without data.
//!
//! Ages are measured by the store's clock alone: its answer's date minus the object's date.

use futures::StreamExt;
use futures::stream;
use serde::{Deserialize, Serialize};

use super::keys;
use super::records::{AT_ONCE, ReadError, Record, Records};
use crate::core::facts::ROLL_CALL_TTL_SECONDS;
use crate::core::facts::{HeartbeatFact, RollEntry, RollState};
use crate::core::model::{ClusterId, Generation, NodeName, Nonce, Revision};
use crate::core::record::{RecordKind, RecordProblem};
use crate::ports::{StoreError, StoreErrorKind};

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

/// All entries of the roll call: this node's own, and those of the others.
///
/// # Errors
/// As [`heartbeat`].
pub async fn roll_call(records: &Records, me: &NodeName) -> Result<(Option<RollEntry>, Vec<RollEntry>), ReadError> {
    let objects = records.store().list(keys::ROLL_CALL_FOLDER).await?;
    let nodes = objects.into_iter().filter_map(|object| {
        let name = object.key.strip_prefix(keys::ROLL_CALL_FOLDER).and_then(|f| f.strip_suffix(".json"));
        NodeName::new(name?).ok()
    });
    let mut entries = stream::iter(nodes)
        .map(|node| async move {
            let found = entry(records, &node).await;
            (node, found)
        })
        .buffered(AT_ONCE);
    let mut all = Vec::new();
    let mut own = None;
    while let Some((node, found)) = entries.next().await {
        match found {
            // Whatever stands there, this node overwrites it; it holds nobody up.
            Err(ReadError::Problem { .. }) if node == *me => {}
            Err(e) => return Err(e),
            Ok(None) => {}
            Ok(Some(found)) if node == *me => own = Some(found),
            Ok(Some(found)) => all.push(found),
        }
    }
    Ok((own, all))
}

async fn entry(records: &Records, node: &NodeName) -> Result<Option<RollEntry>, ReadError> {
    let key = keys::roll_call(node);
    let Some(read) = records.read::<Presence>(RecordKind::RollCall, &key).await? else { return Ok(None) };
    if read.body.node != *node {
        let why = format!("it is the entry of {}", read.body.node);
        let location = records.store().location();
        return Err(ReadError::Problem { location, key, problem: RecordProblem::BadBody(why) });
    }
    let age_seconds = age_seconds(&read).ok_or_else(|| no_time(records, &key))?;
    Ok(Some(RollEntry {
        node: read.body.node,
        peer_urls: read.body.peer_urls,
        state: read.body.state,
        remembers: read.body.remembers,
        remembers_cluster: read.body.remembers_cluster,
        age_seconds,
        waiting_seconds: read.body.waiting_seconds.saturating_add(age_seconds),
    }))
}

/// Writes or renews this node's own entry. How long it has waited follows from `before`, its entry as it was read last: a pause that is longer
/// than entries live begins a new wait.
///
/// # Errors
/// When the store fails.
pub async fn stand(records: &Records, before: Option<&RollEntry>, mut now: Presence) -> Result<(), StoreError> {
    let same_wait = |b: &&RollEntry| b.age_seconds < ROLL_CALL_TTL_SECONDS && b.state != RollState::Withdrawn;
    now.waiting_seconds = before.filter(same_wait).map_or(0, |b| b.waiting_seconds);
    records.renew(RecordKind::RollCall, &keys::roll_call(&now.node), now.remembers, &now).await
}

/// Overwrites this node's entry, if there is one, and reads that back: from here on nobody counts it as waiting without data.
/// `promised`: also where there is none, because one may be on its way.
///
/// # Errors
/// When the store fails, or shows another entry than the one that was just written.
pub async fn withdraw(records: &Records, gone: &Presence, promised: bool) -> Result<(), ReadError> {
    let key = keys::roll_call(&gone.node);
    match records.read::<Presence>(RecordKind::RollCall, &key).await {
        Ok(None) if !promised => return Ok(()),
        Ok(Some(found)) if found.body.state == RollState::Withdrawn => return Ok(()),
        Ok(_) | Err(ReadError::Problem { .. }) => {}
        Err(e) => return Err(e),
    }
    let gone = Presence { state: RollState::Withdrawn, ..gone.clone() };
    records.renew(RecordKind::RollCall, &key, gone.remembers, &gone).await?;
    match records.read::<Presence>(RecordKind::RollCall, &key).await? {
        Some(read) if read.body.nonce == gone.nonce && read.body.state == RollState::Withdrawn => Ok(()),
        // An older write of ours that was under way is late, or the store does not read its own writes.
        _ => Err(StoreError::new(
            StoreErrorKind::Unclear,
            format!("{key} in {} does not yet show that this host has withdrawn", records.store().location()),
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::memory::MemoryStore;
    use crate::catalog::snapshots_tests::records;

    fn presence(node: &str, nonce: u8) -> Presence {
        Presence {
            node: NodeName::new(node).unwrap(),
            peer_urls: vec![format!("http://{node}:2380")],
            state: RollState::Empty,
            remembers: Generation(2),
            remembers_cluster: true,
            waiting_seconds: 0,
            nonce: Nonce([nonce; 16]),
        }
    }

    #[tokio::test]
    async fn an_entry_is_renewed_withdrawn_and_never_mistaken_for_another_node() {
        let store = MemoryStore::new();
        let records = records(store.clone(), "0123456789abcdef", "prod");
        let me = NodeName::new("cp1").unwrap();
        // Nothing to withdraw is no write.
        withdraw(&records, &presence("cp1", 1), false).await.unwrap();
        assert!(store.keys().is_empty());
        stand(&records, None, presence("cp1", 1)).await.unwrap();
        stand(&records, None, presence("cp2", 2)).await.unwrap();
        let before = RollEntry {
            node: me.clone(),
            peer_urls: vec![],
            state: RollState::Empty,
            remembers: Generation(2),
            remembers_cluster: true,
            age_seconds: 7,
            waiting_seconds: 40,
        };
        for (before, waited) in [
            (Some(before.clone()), 40),
            (Some(RollEntry { age_seconds: ROLL_CALL_TTL_SECONDS, ..before.clone() }), 0),
            (Some(RollEntry { state: RollState::Withdrawn, ..before }), 0),
            (None, 0),
        ] {
            stand(&records, before.as_ref(), presence("cp1", 3)).await.unwrap();
            let read = records.read::<Presence>(RecordKind::RollCall, &keys::roll_call(&me)).await.unwrap().unwrap();
            assert_eq!(read.body.waiting_seconds, waited, "{before:?}");
        }
        withdraw(&records, &presence("cp1", 4), false).await.unwrap();
        let read = records.read::<Presence>(RecordKind::RollCall, &keys::roll_call(&me)).await.unwrap().unwrap();
        assert_eq!((read.body.state, read.body.nonce), (RollState::Withdrawn, Nonce([4; 16])));
        // A signed entry under another node's key is refused by its key already.
        store.set(&keys::roll_call(&me), store.body("cluster/rollcall/cp2.json").unwrap());
        assert!(records.read::<Presence>(RecordKind::RollCall, &keys::roll_call(&me)).await.is_err());
    }
}

//! Lives of hosts that come and go leave hundreds of records: they are read several at once, in their order.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::keys;
use super::memory::MemoryStore;
use super::plans::Plans;
use super::presence::{self, Presence};
use super::records::{AT_ONCE, Records};
use super::voters;
use crate::core::facts::RollState;
use crate::core::model::{Generation, NodeName, Nonce, Sha256};
use crate::core::plan::tests::sample_plan;
use crate::core::plan::{MarkUse, Plan, PlanCause, StartedMark, Voter, VotersRecord};
use crate::core::record::RecordKind;
use crate::ports::{Fetched, ObjectMeta, ObjectStore, Opened, Page, PutMode, StoreResult};

/// A store that takes its time over a GET, and counts how many it has in hand.
struct Distant {
    near: Arc<MemoryStore>,
    now: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl ObjectStore for Distant {
    fn location(&self) -> String {
        self.near.location()
    }

    async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> StoreResult<ObjectMeta> {
        self.near.put(key, body, mode).await
    }

    async fn put_file(
        &self,
        key: &str,
        file: &Path,
        sha256: &Sha256,
        mode: PutMode,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> StoreResult<ObjectMeta> {
        self.near.put_file(key, file, sha256, mode, progress).await
    }

    async fn get(&self, key: &str, limit: u64) -> StoreResult<Fetched> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        // The later ones of a batch are there first.
        tokio::time::sleep(Duration::from_millis(5 + 4 * (AT_ONCE.saturating_sub(now)) as u64 / 4)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.near.get(key, limit).await
    }

    async fn open(&self, key: &str, offset: u64) -> StoreResult<Opened> {
        self.near.open(key, offset).await
    }

    async fn head(&self, key: &str) -> StoreResult<ObjectMeta> {
        self.near.head(key).await
    }

    async fn list_page(&self, prefix: &str, token: Option<&str>) -> StoreResult<Page> {
        self.near.list_page(prefix, token).await
    }

    async fn delete(&self, key: &str) -> StoreResult<()> {
        self.near.delete(key).await
    }
}

const MANY: u64 = 150;

fn node(n: u64) -> NodeName {
    NodeName::new(&format!("host-{n:04}")).unwrap()
}

fn plan(generation: u64) -> Plan {
    sample_plan(generation, PlanCause::Restore, vec![Voter { name: node(0), peer_urls: vec![] }])
}

/// All records that a long history leaves.
async fn history(store: &Arc<MemoryStore>) -> Records {
    let records = super::snapshots_tests::records(store.clone(), "0123456789abcdef", "prod");
    let plans = Plans::new(records.clone());
    for generation in 1..=20 {
        plans.create(&plan(generation)).await.unwrap();
    }
    for n in 0..MANY {
        let mark = StartedMark {
            node: node(n),
            generation: Generation(20),
            purpose: MarkUse::Join,
            by: node(n),
            nonce: Nonce([2; 16]),
            at: "2024-01-15T10:30:00Z".parse().unwrap(),
        };
        plans.take_mark(&mark).await.unwrap();
        let record = VotersRecord {
            number: n + 1,
            voters: vec![Voter { name: node(n), peer_urls: vec![] }],
            confirmed: n % 2 == 1,
            cluster_id: None,
            by: node(n),
            nonce: Nonce([3; 16]),
        };
        plans.record_voters(Generation(20), &record).await.unwrap();
        let entry = Presence {
            node: node(n),
            peer_urls: vec![],
            state: RollState::Empty,
            remembers: Generation(0),
            remembers_cluster: false,
            waiting_seconds: 0,
            nonce: Nonce([4; 16]),
        };
        presence::stand(&records, None, entry).await.unwrap();
    }
    records
}

#[tokio::test]
async fn a_long_history_is_read_several_at_once_and_in_order() {
    let near = MemoryStore::new();
    history(&near).await;
    let distant = Arc::new(Distant { near: near.clone(), now: AtomicUsize::new(0), most: AtomicUsize::new(0) });
    let store: Arc<dyn ObjectStore> = distant.clone();
    let records = super::snapshots_tests::records_over(store, "0123456789abcdef", "prod");
    let several = |what: &str| {
        let most = distant.most.swap(0, Ordering::SeqCst);
        assert!((AT_ONCE / 2..=AT_ONCE).contains(&most), "{what}: {most} at once");
    };
    let (own, others) = presence::roll_call(&records, &node(7)).await.unwrap();
    several("the roll call");
    assert_eq!(own.map(|e| e.node), Some(node(7)));
    let expected: Vec<NodeName> = (0..MANY).filter(|n| *n != 7).map(node).collect();
    assert_eq!(others.into_iter().map(|e| e.node).collect::<Vec<_>>(), expected);

    let (lives, newest) = Plans::new(records.clone()).history(Generation(0)).await.unwrap();
    several("the history");
    let newest = newest.unwrap();
    assert_eq!(lives.iter().map(|l| l.generation.0).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    assert_eq!(
        newest.marks.iter().map(|m| m.node.clone()).collect::<Vec<_>>(),
        (0..MANY).map(node).collect::<Vec<_>>()
    );
    assert_eq!(newest.voters.iter().map(|r| r.number).collect::<Vec<_>>(), (1..=MANY).collect::<Vec<_>>());

    // A reader goes on from where it has come; what lies behind the first missing number counts for nothing, even if it is rubbish.
    let mut known = newest.voters[..3].to_vec();
    near.remove(&keys::voters(Generation(20), 100));
    near.set(&keys::voters(Generation(20), 101), "rubbish");
    voters::read_on(&records, Generation(20), &mut known).await.unwrap();
    several("the voters");
    assert_eq!(known.iter().map(|r| r.number).collect::<Vec<_>>(), (1..100).collect::<Vec<_>>());
    // One that is there and cannot be trusted makes all of it unknown.
    near.set(&keys::voters(Generation(20), 50), "rubbish");
    assert!(voters::read_all(&records, Generation(20)).await.is_err());
    near.set(&keys::started(Generation(20), &node(9)), "rubbish");
    assert!(Plans::new(records.clone()).history(Generation(0)).await.is_err());
    assert!(records.read::<Plan>(RecordKind::Plan, &keys::plan(Generation(20))).await.unwrap().is_some());
}

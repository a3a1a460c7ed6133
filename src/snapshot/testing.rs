//! A member, a store and a spool for the tests of this folder.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::save::SaveRequest;
use super::spool::Spool;
use crate::catalog::memory::MemoryStore;
use crate::catalog::records::Records;
use crate::catalog::snapshots::Snapshots;
use crate::catalog::snapshots_tests::records;
use crate::core::manifest::Origin;
use crate::core::model::{ClusterId, Compression, Generation, MemberId, NodeName, Revision, Timestamp};
use crate::ports::{Clock, Etcd, EtcdError, EtcdErrorKind, EtcdResult, Member, MemberStatus, SnapshotStream};

/// A snapshot that etcd 3.5.30 made of 30 puts and a deletion, with what that etcd said of it.
const FIXTURE: &[u8] = include_bytes!("../../tests/fixtures/snapshot/etcd-3.5.30-revision-32.db.gz");
pub(super) const REVISION: Revision = Revision(32);
pub(super) const LIVE_KEYS: u64 = 29;
pub(super) const HASH_KV: (u32, Revision) = (1_389_353_200, Revision(-1));

pub(super) fn fixture() -> Vec<u8> {
    let mut raw = Vec::new();
    flate2::read::GzDecoder::new(FIXTURE).read_to_end(&mut raw).unwrap();
    raw
}

/// A clock that stands still until it is told otherwise.
pub(super) struct FakeClock(pub(super) Mutex<Timestamp>);

impl FakeClock {
    pub(super) fn new() -> Self {
        FakeClock(Mutex::new("2024-01-15T10:30:00Z".parse().unwrap()))
    }

    pub(super) fn advance(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now = Timestamp::from_second(now.as_second() + seconds).unwrap();
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// What a member answers.
pub(super) struct FakeEtcd {
    pub(super) status: MemberStatus,
    pub(super) read: Result<Revision, EtcdErrorKind>,
    pub(super) hash: Result<(u32, Revision), EtcdErrorKind>,
    pub(super) stream: Vec<Bytes>,
    /// What the first message announces.
    pub(super) announced: Option<u64>,
    /// How the stream ends: well, or so.
    pub(super) ends_with: Option<EtcdErrorKind>,
    /// Whether its end never comes.
    pub(super) hangs: bool,
}

fn failed(kind: EtcdErrorKind) -> EtcdError {
    EtcdError { kind, text: format!("etcd fake: {kind:?}"), hint: None }
}

impl FakeEtcd {
    pub(super) fn healthy() -> Self {
        let raw = fixture();
        let announced = Some(raw.len() as u64);
        FakeEtcd {
            status: MemberStatus {
                cluster_id: ClusterId(0xc1),
                member_id: MemberId(0xa1),
                version: "3.5.30".into(),
                storage_version: None,
                revision: REVISION,
                db_size: 24_576,
                raft_term: 2,
                raft_index: 35,
                leader: Some(MemberId(0xa1)),
                is_learner: false,
                errors: vec![],
            },
            read: Ok(REVISION),
            hash: Ok(HASH_KV),
            stream: raw.chunks(1000).map(Bytes::copy_from_slice).collect(),
            announced,
            ends_with: None,
            hangs: false,
        }
    }

    /// The same member with another stream.
    pub(super) fn sending(raw: &[u8]) -> Self {
        FakeEtcd {
            stream: raw.chunks(777).map(Bytes::copy_from_slice).collect(),
            announced: Some(raw.len() as u64),
            ..FakeEtcd::healthy()
        }
    }
}

struct FakeStream {
    left: VecDeque<Bytes>,
    announced: Option<u64>,
    ends_with: Option<EtcdErrorKind>,
    hangs: bool,
}

#[async_trait]
impl SnapshotStream for FakeStream {
    async fn next(&mut self) -> EtcdResult<Option<Bytes>> {
        tokio::task::yield_now().await;
        match (self.left.pop_front(), self.ends_with) {
            (Some(piece), _) => Ok(Some(piece)),
            (None, _) if self.hangs => std::future::pending().await,
            (None, Some(kind)) => Err(failed(kind)),
            (None, None) => Ok(None),
        }
    }

    fn announced(&self) -> Option<u64> {
        self.announced
    }
}

#[async_trait]
impl Etcd for FakeEtcd {
    fn endpoint(&self) -> &str {
        "http://fake:2379"
    }

    async fn status(&self) -> EtcdResult<MemberStatus> {
        Ok(self.status.clone())
    }

    async fn linearizable_read(&self) -> EtcdResult<Revision> {
        self.read.map_err(failed)
    }

    async fn members(&self) -> EtcdResult<Vec<Member>> {
        let member = |id, is_learner| Member {
            id: MemberId(id),
            name: format!("m{id}"),
            peer_urls: vec![format!("http://m{id}:2380")],
            client_urls: vec![],
            is_learner,
        };
        Ok(vec![member(1, false), member(2, true)])
    }

    async fn snapshot(&self) -> EtcdResult<Box<dyn SnapshotStream>> {
        Ok(Box::new(FakeStream {
            left: self.stream.clone().into(),
            announced: self.announced,
            ends_with: self.ends_with,
            hangs: self.hangs,
        }))
    }

    async fn hash_kv(&self, _: Revision) -> EtcdResult<(u32, Revision)> {
        self.hash.map_err(failed)
    }
}

/// One host: a spool, a clock and the way to a store.
pub(super) struct Host {
    pub(super) dir: tempfile::TempDir,
    pub(super) spool: Spool,
    pub(super) clock: FakeClock,
    pub(super) store: Arc<MemoryStore>,
    pub(super) snapshots: Snapshots,
}

impl Host {
    pub(super) fn new() -> Self {
        Host::beside(&MemoryStore::new())
    }

    /// Another host on the same store.
    pub(super) fn beside(store: &Arc<MemoryStore>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(&dir.path().join("spool"), 2, 0).unwrap();
        let snapshots = Snapshots::new(records(store.clone(), "0123456789abcdef", "prod"));
        Host { dir, spool, clock: FakeClock::new(), store: store.clone(), snapshots }
    }

    pub(super) fn records(&self) -> &Records {
        self.snapshots.records()
    }

    /// Names of the files in the spool, the lock left aside.
    pub(super) fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.spool.dir())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n != "save.lock")
            .collect();
        names.sort();
        names
    }
}

pub(super) fn request() -> SaveRequest {
    SaveRequest {
        prefix: "etcd-snapshot".into(),
        origin: Origin::Scheduled,
        compression: Compression::Gzip,
        ships: false,
        effort: crate::snapshot::effort::Effort::default(),
        generation: Generation(1),
        node: NodeName::new("cp1").unwrap(),
        tags: BTreeMap::new(),
        hash_check: false,
        newest_known: None,
    }
}

pub(super) fn quiet(_: &crate::core::model::SnapshotName, _: u64) {}

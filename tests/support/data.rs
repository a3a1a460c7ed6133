//! Data sets: fills an etcd with everything that a snapshot can hold, and reads every key back.

use std::collections::{BTreeMap, BTreeSet};

use etcd_client::{Client, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp};

use super::etcd::EtcdProcess;

/// All that etcd says of one key.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub value: Vec<u8>,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Entry { value, create_revision, mod_revision, version, lease } = self;
        let head = hex::encode(value.get(..value.len().min(16)).unwrap_or_default());
        let n = value.len();
        write!(
            f,
            "{n} bytes {head} created {create_revision} modified {mod_revision} version {version} lease {lease:x}"
        )
    }
}

/// Every key of an etcd at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// The revision at which all of it was read.
    pub revision: i64,
    pub entries: BTreeMap<Vec<u8>, Entry>,
}

impl Dump {
    /// Panics with the first differences when the keys, or anything that etcd says of them, differ.
    #[track_caller]
    pub fn assert_same_keys(&self, other: &Dump) {
        let keys: BTreeSet<_> = self.entries.keys().chain(other.entries.keys()).collect();
        let differs = |key: &&&Vec<u8>| self.entries.get(**key) != other.entries.get(**key);
        let wrong: Vec<_> = keys.iter().filter(differs).collect();
        let shown: Vec<_> = wrong
            .iter()
            .take(5)
            .map(|key| format!("{}: {:?} / {:?}", hex::encode(key), self.entries.get(**key), other.entries.get(**key)))
            .collect();
        assert!(wrong.is_empty(), "{} of {} keys differ:\n{}", wrong.len(), keys.len(), shown.join("\n"));
    }
}

/// Reads every key, in pages, all at the revision of the first page.
pub async fn dump(etcd: &EtcdProcess) -> Dump {
    const PAGE: i64 = 200;
    let mut kv = etcd.client().await.kv_client().max_decoding_message_size(1 << 30);
    let mut entries = BTreeMap::new();
    let (mut from, mut revision) = (vec![0u8], 0);
    loop {
        let options = GetOptions::new()
            .with_from_key()
            .with_limit(PAGE)
            .with_revision(revision)
            .with_sort(SortTarget::Key, SortOrder::Ascend);
        let mut page = kv.get(from.clone(), Some(options)).await.expect("read a page of keys");
        if revision == 0 {
            revision = page.header().expect("a header").revision();
        }
        let more = page.more();
        for kv in page.take_kvs() {
            // The smallest key behind this one.
            from = [kv.key(), &[0]].concat();
            let entry = Entry {
                value: kv.value().to_vec(),
                create_revision: kv.create_revision(),
                mod_revision: kv.mod_revision(),
                version: kv.version(),
                lease: kv.lease(),
            };
            entries.insert(kv.key().to_vec(), entry);
        }
        if !more {
            return Dump { revision, entries };
        }
    }
}

/// What to write. The same fill writes the same, in the same order.
#[derive(Debug, Clone)]
pub struct Fill {
    /// Live keys at the end.
    pub keys: usize,
    /// Of them so many with values of 1 MiB.
    pub large: usize,
    /// Compact half of the history at the end.
    pub compact: bool,
    pub seed: u64,
}

impl Default for Fill {
    /// 10,000 keys, four of them with 1 MiB.
    fn default() -> Self {
        Fill { keys: 10_000, large: 4, compact: false, seed: 1 }
    }
}

impl Fill {
    pub fn small(keys: usize) -> Fill {
        Fill { keys, large: 0, ..Fill::default() }
    }

    /// Writes binary keys and values, leases, new versions, deletions, and transactions that do several of it at once.
    pub async fn run(&self, etcd: &EtcdProcess) {
        let mut client = etcd.client().await;
        let mut random = Random(self.seed);
        let mut leases = Vec::new();
        for _ in 0..5 {
            // A day: none may end during a test.
            leases.push(client.lease_grant(86_400, None).await.expect("a lease").id());
        }
        // Some keys are written to be deleted again.
        let doomed = (self.keys / 10).max(1);
        let all: Vec<Vec<u8>> = (0..self.keys + doomed).map(|i| random.key(i)).collect();
        let (kept, gone) = all.split_at(self.keys);

        let puts = all.iter().map(|key| random.put(key, &leases)).collect::<Vec<_>>();
        // etcd takes at most 128 operations in a transaction.
        for batch in puts.chunks(100) {
            txn(&mut client, batch.to_vec()).await;
        }
        for key in kept.iter().take(self.large) {
            client.put(key.clone(), random.bytes(1 << 20), None).await.expect("put a large value");
        }
        // New versions beside deletions, in one revision each; the last deletion stands alone.
        let mut again = kept.iter().skip(self.large).step_by(7);
        for batch in gone.chunks(20) {
            let mut ops: Vec<TxnOp> = batch.iter().map(|key| TxnOp::delete(key.clone(), None)).collect();
            ops.extend(again.by_ref().take(30).map(|key| random.put(key, &leases)));
            txn(&mut client, ops).await;
        }
        let last = random.key(usize::MAX);
        client.put(last.clone(), "to be deleted", None).await.expect("put");
        client.delete(last, None).await.expect("delete");
        if self.compact {
            let revision = client.get("\0", None).await.expect("a revision").header().expect("a header").revision();
            client.compact(revision / 2, None).await.expect("compact");
        }
    }
}

async fn txn(client: &mut Client, ops: Vec<TxnOp>) {
    let done = client.txn(Txn::new().and_then(ops)).await.expect("a transaction");
    assert!(done.succeeded(), "a transaction without conditions was refused");
}

/// SplitMix64: good enough for test data, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(n + 8);
        while out.len() < n {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(n);
        out
    }

    /// A third of the keys looks like Kubernetes', a third is binary, a third has the bytes that break text handling.
    fn key(&mut self, i: usize) -> Vec<u8> {
        let unique = (i as u64).to_be_bytes();
        match i % 3 {
            0 => format!("/registry/pods/namespace-{}/pod-{i}", i % 40).into_bytes(),
            1 => {
                let n = usize::try_from(self.below(60)).unwrap_or_default();
                [&self.bytes(n)[..], &unique].concat()
            }
            _ => [&[0u8, 0xff, b'/', b'\n'][..], &unique, &[0u8, 0xff]].concat(),
        }
    }

    fn put(&mut self, key: &[u8], leases: &[i64]) -> TxnOp {
        let size = match self.below(20) {
            0 => 0,
            1 => 4096 + self.below(8192),
            _ => self.below(600),
        };
        let value = self.bytes(usize::try_from(size).unwrap_or_default());
        let lease = usize::try_from(self.below(100)).ok().and_then(|i| leases.get(i));
        TxnOp::put(key, value, lease.map(|id| PutOptions::new().with_lease(*id)))
    }
}

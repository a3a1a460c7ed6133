//! What every snapshot store promises, as cases over any backend.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use etcd_lifeboat::core::model::Sha256;
use etcd_lifeboat::ports::{ObjectStore, PutMode, StoreErrorKind};
use futures::{StreamExt, future::BoxFuture, stream};
use sha2::Digest;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

/// Size of the parts of an upload; the least that S3 allows.
pub const PART: u64 = 5 << 20;

/// A backend under test.
pub trait Place: Send + Sync {
    /// The store in a folder, listing in pages of `page` objects.
    fn store(&self, folder: &str, page: u32) -> Arc<dyn ObjectStore>;
    /// A store whose bucket does not exist.
    fn missing(&self) -> Arc<dyn ObjectStore>;
    /// Whether a write to a missing bucket is refused; some servers make the bucket.
    fn refuses_writes_to_missing(&self) -> bool;
    /// Unfinished uploads and temporary files.
    fn leftovers(&self) -> BoxFuture<'_, Vec<String>>;
}

pub async fn run(place: &dyn Place) {
    create_only(place).await;
    race(place).await;
    run_without_conditions(place).await;
}

/// All but what needs create-only writes to be honoured.
pub async fn run_without_conditions(place: &dyn Place) {
    overwrite(place).await;
    files(place).await;
    limits(place).await;
    absence(place).await;
    listings(place).await;
    odd_keys(place).await;
    ranges(place).await;
    deletion(place).await;
    wrong_digest(place).await;
    cancelled(place).await;
    folders(place).await;
    assert_eq!(place.leftovers().await, Vec::<String>::new(), "something was left behind");
}

pub fn digest(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// Bytes that do not repeat with the size of a part.
pub fn content(size: u64) -> Vec<u8> {
    let mut x = size | 1;
    let mut bytes = Vec::with_capacity(size as usize + 8);
    while (bytes.len() as u64) < size {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes.extend_from_slice(&x.to_le_bytes());
    }
    bytes.truncate(size as usize);
    bytes
}

pub fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf, Sha256) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("payload");
    std::fs::write(&path, bytes).expect("a file");
    (dir, path, digest(bytes))
}

pub fn kind<T>(result: Result<T, etcd_lifeboat::ports::StoreError>) -> Option<StoreErrorKind> {
    result.err().map(|e| e.kind)
}

pub async fn read_all(store: &dyn ObjectStore, key: &str, offset: u64) -> Vec<u8> {
    let mut opened = store.open(key, offset).await.expect("open");
    let mut body = Vec::new();
    opened.body.read_to_end(&mut body).await.expect("read");
    assert_eq!(opened.meta.size, offset + body.len() as u64, "the size is that of the whole object");
    body
}

async fn create_only(place: &dyn Place) {
    let store = place.store("create-only", 1000);
    let first = store.put("a/b.json", Bytes::from_static(b"one"), PutMode::CreateOnly).await.expect("put");
    assert_eq!((first.key.as_str(), first.size), ("a/b.json", 3));
    let second = store.put("a/b.json", Bytes::from_static(b"two"), PutMode::CreateOnly).await;
    assert_eq!(kind(second), Some(StoreErrorKind::AlreadyExists));
    // The same bytes again are taken all the same: only a write without an answer is settled by comparison.
    let again = store.put("a/b.json", Bytes::from_static(b"one"), PutMode::CreateOnly).await;
    assert_eq!(kind(again), Some(StoreErrorKind::AlreadyExists));
    let fetched = store.get("a/b.json", 100).await.expect("get");
    assert_eq!(&fetched.body[..], b"one");
    assert!(fetched.store_time.is_some(), "the store's clock is needed");
    assert_eq!(fetched.meta.etag, first.etag);
    for size in [10, PART + 10] {
        let (_dir, path, sha256) = file(&content(size));
        let taken = store.put_file("a/b.json", &path, &sha256, PutMode::CreateOnly, &|_| ()).await;
        assert_eq!(kind(taken), Some(StoreErrorKind::AlreadyExists), "a file of {size} bytes");
    }
    assert_eq!(&store.get("a/b.json", 100).await.expect("get").body[..], b"one");
}

async fn race(place: &dyn Place) {
    let store = place.store("race", 1000);
    for round in 0..50 {
        let key = format!("race-{round}");
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..3 {
            let (store, key) = (store.clone(), key.clone());
            let body = Bytes::from(format!("round {round} writer {writer}"));
            writers.spawn(async move { (body.clone(), store.put(&key, body, PutMode::CreateOnly).await) });
        }
        let mut winners = Vec::new();
        for (body, result) in writers.join_all().await {
            match result {
                Ok(_) => winners.push(body),
                Err(e) => assert_eq!(e.kind, StoreErrorKind::AlreadyExists, "{e}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?} won");
        assert_eq!(store.get(&key, 100).await.expect("get").body, winners[0], "round {round}");
    }
}

async fn overwrite(place: &dyn Place) {
    let store = place.store("overwrite", 1000);
    let mut etags = BTreeSet::new();
    for body in [&b"one"[..], b"", b"three"] {
        let put = store.put("k", Bytes::copy_from_slice(body), PutMode::Overwrite).await.expect("put");
        let fetched = store.get("k", 5).await.expect("get");
        assert_eq!(&fetched.body[..], body);
        assert_eq!(store.head("k").await.expect("head").size, body.len() as u64);
        assert_eq!(put.etag, fetched.meta.etag);
        assert!(etags.insert(fetched.meta.etag), "another content has another etag");
    }
}

async fn files(place: &dyn Place) {
    let store = place.store("files", 1000);
    for size in [0, 1, PART - 1, PART, PART + 1, 20 << 20] {
        let bytes = content(size);
        let (_dir, path, sha256) = file(&bytes);
        let key = format!("snapshots/file-{size}.db.gz");
        for mode in [PutMode::CreateOnly, PutMode::Overwrite] {
            let seen = AtomicU64::new(0);
            let progress = |n: u64| {
                let before = seen.swap(n, Ordering::SeqCst);
                assert!(before <= n, "progress went back");
            };
            let meta = store.put_file(&key, &path, &sha256, mode, &progress).await.expect("put_file");
            assert_eq!((meta.key.as_str(), meta.size), (key.as_str(), size));
            assert_eq!(seen.load(Ordering::SeqCst), size, "progress of {size} bytes");
        }
        let stored = read_all(&*store, &key, 0).await;
        assert!(stored == bytes, "{size} bytes came back otherwise");
        let head = store.head(&key).await.expect("head");
        assert_eq!(head.size, size);
        assert!(head.etag.is_some() && head.modified.is_some());
    }
}

async fn limits(place: &dyn Place) {
    let store = place.store("limits", 1000);
    store.put("k", Bytes::from_static(b"12345"), PutMode::CreateOnly).await.expect("put");
    assert_eq!(&store.get("k", 5).await.expect("get").body[..], b"12345");
    assert_eq!(kind(store.get("k", 4).await), Some(StoreErrorKind::Corrupt));
    assert_eq!(kind(store.get("k", 0).await), Some(StoreErrorKind::Corrupt));
}

async fn absence(place: &dyn Place) {
    let store = place.store("absence", 1000);
    store.put("there/k", Bytes::from_static(b"x"), PutMode::CreateOnly).await.expect("put");
    for key in ["nothing", "there", "there/nothing", "there/k/below"] {
        assert_eq!(kind(store.get(key, 10).await), Some(StoreErrorKind::NotFound), "get {key}");
        assert_eq!(kind(store.head(key).await), Some(StoreErrorKind::NotFound), "head {key}");
        assert_eq!(kind(store.open(key, 0).await), Some(StoreErrorKind::NotFound), "open {key}");
    }
    let (_dir, path, _) = file(b"");
    for key in ["", "/", "/k", "k/", "a//b", "..", "../k", "a/../../k", "./k", "k\0", "k\n", "a\\b"] {
        assert_eq!(kind(store.get(key, 10).await), Some(StoreErrorKind::Rejected), "get {key:?}");
        assert_eq!(kind(store.head(key).await), Some(StoreErrorKind::Rejected), "head {key:?}");
        assert_eq!(kind(store.delete(key).await), Some(StoreErrorKind::Rejected), "delete {key:?}");
        let put = store.put(key, Bytes::new(), PutMode::Overwrite).await;
        assert_eq!(kind(put), Some(StoreErrorKind::Rejected), "put {key:?}");
        let put = store.put_file(key, &path, &digest(b""), PutMode::Overwrite, &|_| ()).await;
        assert_eq!(kind(put), Some(StoreErrorKind::Rejected), "put_file {key:?}");
    }
    let gone = path.with_file_name("gone");
    let put = store.put_file("k", &gone, &digest(b""), PutMode::Overwrite, &|_| ()).await;
    assert_eq!(kind(put), Some(StoreErrorKind::LocalIo));
    let missing = place.missing();
    assert_eq!(kind(missing.get("k", 10).await), Some(StoreErrorKind::NoSuchBucket));
    assert_eq!(kind(missing.head("k").await), Some(StoreErrorKind::NoSuchBucket));
    assert_eq!(kind(missing.open("k", 0).await), Some(StoreErrorKind::NoSuchBucket));
    assert_eq!(kind(missing.list("").await), Some(StoreErrorKind::NoSuchBucket));
    assert_eq!(kind(missing.delete("k").await), Some(StoreErrorKind::NoSuchBucket));
    if !place.refuses_writes_to_missing() {
        return;
    }
    for mode in [PutMode::CreateOnly, PutMode::Overwrite] {
        assert_eq!(kind(missing.put("k", Bytes::new(), mode).await), Some(StoreErrorKind::NoSuchBucket));
        let put = missing.put_file("k", &path, &digest(b""), mode, &|_| ()).await;
        assert_eq!(kind(put), Some(StoreErrorKind::NoSuchBucket));
    }
}

async fn listings(place: &dyn Place) {
    let store = place.store("listings", 1000);
    let small = place.store("listings", 7);
    let mut expected: Vec<String> = Vec::new();
    for count in [0usize, 1, 999, 1000, 1001] {
        let new: Vec<String> = (expected.len()..count)
            .map(|n| if n % 3 == 0 { format!("s/a{n:04}/x.json") } else { format!("s/a{n:04}.json") })
            .collect();
        expected.extend(new.iter().cloned());
        expected.sort();
        let puts = stream::iter(new).map(|key| {
            let store = store.clone();
            async move { store.put(&key, Bytes::from(key.clone()), PutMode::CreateOnly).await.map(drop) }
        });
        puts.buffer_unordered(8).for_each(|put| async { put.expect("put") }).await;
        let listed = store.list("s/").await.expect("list");
        let keys: Vec<&str> = listed.iter().map(|m| m.key.as_str()).collect();
        assert_eq!(keys, expected, "{count} objects");
        assert!(listed.iter().all(|m| m.size == m.key.len() as u64 && m.modified.is_some()));
    }
    let paged = small.list("s/").await.expect("list");
    assert_eq!(paged.iter().map(|m| m.key.as_str()).collect::<Vec<_>>(), expected, "in small pages");
    for prefix in ["", "s", "s/a00", "s/a0003/", "s/a0003/x", "s/a0004.json", "t", "s/a0004.json/"] {
        let wanted: Vec<&str> = expected.iter().map(String::as_str).filter(|k| k.starts_with(prefix)).collect();
        for store in [&store, &small] {
            let listed = store.list(prefix).await.expect("list");
            assert_eq!(listed.iter().map(|m| m.key.as_str()).collect::<Vec<_>>(), wanted, "prefix {prefix:?}");
        }
    }
    let page = store.list_page("s/", None).await.expect("page");
    assert!(page.store_time.is_some(), "the store's clock is needed");
    assert_eq!(page.objects.len(), 1000);
    assert_eq!(kind(store.list("../").await), Some(StoreErrorKind::Rejected));
}

async fn odd_keys(place: &dyn Place) {
    let store = place.store("odd keys", 2);
    let mut keys = vec![
        "a b",
        "a+b",
        "a%2Bb",
        "a%20b",
        "é",
        "日本/ü.db",
        "a&b=c",
        "a?b#c",
        "q'\"q",
        "<x>",
        "(a)[b]{c}",
        "~._-",
        "a;b,c:d@e$f!g*h",
        ".hidden/x",
        "..x/y..",
        "x^y`z|",
    ];
    for key in &keys {
        let body = Bytes::from(key.as_bytes().to_vec());
        store.put(key, body.clone(), PutMode::CreateOnly).await.unwrap_or_else(|e| panic!("put {key:?}: {e}"));
        assert_eq!(store.get(key, 100).await.unwrap_or_else(|e| panic!("get {key:?}: {e}")).body, body, "{key:?}");
        let listed = store.list(key).await.expect("list");
        assert_eq!(listed.iter().map(|m| m.key.as_str()).collect::<Vec<_>>(), [*key], "listed by {key:?}");
    }
    keys.sort_unstable();
    let mut listed: Vec<String> = store.list("").await.expect("list").into_iter().map(|m| m.key).collect();
    listed.sort();
    assert_eq!(listed, keys);
    for key in keys {
        store.delete(key).await.unwrap_or_else(|e| panic!("delete {key:?}: {e}"));
    }
    assert!(store.list("").await.expect("list").is_empty());
}

async fn ranges(place: &dyn Place) {
    let store = place.store("ranges", 1000);
    let bytes = content(100_000);
    let (_dir, path, sha256) = file(&bytes);
    store.put_file("k", &path, &sha256, PutMode::CreateOnly, &|_| ()).await.expect("put_file");
    for offset in [0u64, 1, 4096, 99_999, 100_000] {
        assert!(read_all(&*store, "k", offset).await == bytes[offset as usize..], "from {offset} on");
    }
    assert_eq!(kind(store.open("k", 100_001).await), Some(StoreErrorKind::Rejected));
    store.put("empty", Bytes::new(), PutMode::CreateOnly).await.expect("put");
    assert!(read_all(&*store, "empty", 0).await.is_empty());
}

async fn deletion(place: &dyn Place) {
    let store = place.store("deletion", 1000);
    store.put("k", Bytes::from_static(b"x"), PutMode::CreateOnly).await.expect("put");
    store.delete("k").await.expect("delete");
    assert_eq!(kind(store.get("k", 10).await), Some(StoreErrorKind::NotFound));
    store.delete("k").await.expect("delete again");
    store.put("k", Bytes::from_static(b"y"), PutMode::CreateOnly).await.expect("put after delete");
    store.delete("k").await.expect("delete");
    assert!(store.list("").await.expect("list").is_empty());
}

async fn wrong_digest(place: &dyn Place) {
    let store = place.store("wrong digest", 1000);
    for size in [0, 100, 2 * PART + 1] {
        let (_dir, path, _) = file(&content(size));
        for mode in [PutMode::CreateOnly, PutMode::Overwrite] {
            let put = store.put_file("k", &path, &digest(b"something else"), mode, &|_| ()).await;
            let e = put.expect_err("a wrong digest was accepted");
            assert_eq!(e.kind, StoreErrorKind::Corrupt, "{e}");
        }
    }
    assert!(store.list("").await.expect("list").is_empty());
    assert_eq!(place.leftovers().await, Vec::<String>::new());
}

async fn cancelled(place: &dyn Place) {
    let store = place.store("cancelled", 1000);
    let (_dir, path, sha256) = file(&content(40 << 20));
    let begun = Arc::new(Notify::new());
    for _ in 0..3 {
        let tell = begun.clone();
        let progress = move |_| tell.notify_one();
        tokio::select! {
            done = store.put_file("k", &path, &sha256, PutMode::CreateOnly, &progress) => panic!("not cancelled in time: {done:?}"),
            () = begun.notified() => {}
        }
        store.drain().await;
        assert_eq!(kind(store.head("k").await), Some(StoreErrorKind::NotFound), "a cancelled upload left an object");
        // A directory's blocking copy ends within one chunk.
        for _ in 0..200 {
            if place.leftovers().await.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(place.leftovers().await, Vec::<String>::new(), "a cancelled upload left parts");
    }
    assert!(store.list("").await.expect("list").is_empty());
}

async fn folders(place: &dyn Place) {
    let (a, b, below) = (place.store("folder", 1000), place.store("folder2", 1000), place.store("folder/x", 1000));
    a.put("k", Bytes::from_static(b"a"), PutMode::CreateOnly).await.expect("put");
    b.put("k", Bytes::from_static(b"b"), PutMode::CreateOnly).await.expect("put");
    below.put("k", Bytes::from_static(b"c"), PutMode::CreateOnly).await.expect("put");
    let keys = |list: Vec<etcd_lifeboat::ports::ObjectMeta>| list.into_iter().map(|m| m.key).collect::<Vec<_>>();
    assert_eq!(keys(a.list("").await.expect("list")), ["k", "x/k"]);
    assert_eq!(keys(b.list("").await.expect("list")), ["k"]);
    assert_eq!(keys(below.list("").await.expect("list")), ["k"]);
    assert_eq!(&a.get("k", 1).await.expect("get").body[..], b"a");
    b.delete("k").await.expect("delete");
    assert_eq!(&a.get("k", 1).await.expect("get").body[..], b"a");
}

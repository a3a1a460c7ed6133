//! Files that are sent while they are still being written: nothing of them is seen before they are whole, and nothing is left of those that never are.

use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use etcd_lifeboat::core::model::Sha256;
use etcd_lifeboat::ports::{GrowingFile, ObjectStore, PutMode, StoreErrorKind};
use tokio::sync::watch;

use super::faults::quick;
use super::places::InProcess;
use super::suite::{PART, content, digest, file, read_all};
use super::support::{self, Fault, Op};

const KEY: &str = "snapshots/early.db.gz";

/// A file that grows piece by piece.
struct Growing {
    _dir: tempfile::TempDir,
    path: PathBuf,
    file: std::fs::File,
    tell: Option<watch::Sender<u64>>,
    written: watch::Receiver<u64>,
}

impl Growing {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("payload.part");
        let file = std::fs::File::create_new(&path).expect("a file");
        let (tell, written) = watch::channel(0);
        Growing { _dir: dir, path, file, tell: Some(tell), written }
    }

    fn port(&self) -> GrowingFile {
        GrowingFile { path: self.path.clone(), written: self.written.clone() }
    }

    async fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(700_001) {
            self.file.write_all(piece).expect("write");
            self.tell.as_ref().expect("open").send_modify(|n| *n += piece.len() as u64);
            tokio::task::yield_now().await;
        }
    }

    /// Whole, and with its last name.
    fn end(&mut self) {
        self.tell = None;
        std::fs::rename(&self.path, Path::new(&self.path).with_extension("done")).expect("rename");
    }

    /// The same, of a file whose upload must have begun: one that is whole and has its last name before that is sent in the usual way.
    async fn end_while_sent(&mut self, place: &InProcess) {
        while place.server.faults().count(Op::CreateUpload, "") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.end();
    }
}

async fn settled(place: &InProcess, store: &dyn ObjectStore) -> usize {
    store.drain().await;
    place.server.uploads_in_progress().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_while_it_grows_and_seen_when_it_is_whole() {
    for parts in [2.5, 4.0, 1.2] {
        let place = InProcess::start(support::S3Options::default()).await;
        let store = place.s3.connect(quick(place.s3.options("f")));
        let raw = content((PART as f64 * parts) as u64);
        let mut growing = Growing::new();
        let upload = store.send_early(KEY, growing.port()).expect("begin").expect("S3 gains by it");
        growing.write(&raw).await;
        assert_eq!(store.head(KEY).await.unwrap_err().kind, StoreErrorKind::NotFound);
        growing.end_while_sent(&place).await;
        let meta = upload.finish(&digest(&raw), PutMode::CreateOnly).await.expect("finish").expect("it was sent");
        assert_eq!(meta.size, raw.len() as u64);
        assert!(read_all(&*store, KEY, 0).await == raw, "{parts} parts");
        assert_eq!(settled(&place, &*store).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_into_one_request_is_left_to_the_usual_way() {
    let place = InProcess::start(support::S3Options::default()).await;
    let store = place.s3.connect(quick(place.s3.options("f")));
    let mut growing = Growing::new();
    let upload = store.send_early(KEY, growing.port()).expect("begin").expect("an upload");
    growing.write(&[7; 100_000]).await;
    growing.end();
    assert!(upload.finish(&digest(&[7; 100_000]), PutMode::CreateOnly).await.expect("finish").is_none());
    assert_eq!(place.server.uploads_in_progress().len(), 0);
    assert_eq!(store.head(KEY).await.unwrap_err().kind, StoreErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_given_up_leaves_nothing() {
    // The snapshot fails; nobody ships it; the name is taken; the file is not what it was.
    for case in ["dropped while it grows", "dropped when whole", "taken", "another digest"] {
        let place = InProcess::start(support::S3Options::default()).await;
        let store = place.s3.connect(quick(place.s3.options("f")));
        let raw = content(PART * 3);
        let mut growing = Growing::new();
        let upload = store.send_early(KEY, growing.port()).expect("begin").expect("an upload");
        growing.write(&raw).await;
        if case == "taken" {
            store.put(KEY, "first".into(), PutMode::CreateOnly).await.expect("put");
        }
        if case != "dropped while it grows" {
            growing.end_while_sent(&place).await;
        }
        let failed = match case {
            "taken" => Some(upload.finish(&digest(&raw), PutMode::CreateOnly).await),
            "another digest" => Some(upload.finish(&Sha256([9; 32]), PutMode::CreateOnly).await),
            _ => {
                drop(upload);
                None
            }
        };
        let kind = failed.map(|f| f.expect_err(case).kind);
        let wanted = match case {
            "taken" => Some(StoreErrorKind::AlreadyExists),
            "another digest" => Some(StoreErrorKind::Corrupt),
            _ => None,
        };
        assert_eq!(kind, wanted, "{case}");
        assert_eq!(settled(&place, &*store).await, 0, "{case}");
        if case == "taken" {
            assert_eq!(store.get(KEY, 10).await.expect("get").body, "first");
        } else {
            assert_eq!(store.head(KEY).await.unwrap_err().kind, StoreErrorKind::NotFound, "{case}");
        }
    }
}

/// The agent stops while the rest is sent: that is not sent first, and who drains the store waits for the abort.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_nobody_waits_for_any_more_is_aborted() {
    for (op, key) in [(Op::CreateUpload, ""), (Op::UploadPart, ""), (Op::CompleteUpload, ""), (Op::Head, KEY)] {
        let place = InProcess::start(support::S3Options::default()).await;
        let mut options = quick(place.s3.options("f"));
        options.limits.parts_in_flight = 1;
        let store = place.s3.connect(options);
        let raw = content(PART * 6);
        place.server.faults().always(op, key, Fault::Delay(Duration::from_millis(700)));
        let mut growing = Growing::new();
        let upload = store.send_early(KEY, growing.port()).expect("begin").expect("an upload");
        growing.write(&raw).await;
        growing.end_while_sent(&place).await;
        let whole = digest(&raw);
        let finish = upload.finish(&whole, PutMode::CreateOnly);
        let asked = async {
            while place.server.faults().count(op, key) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            done = finish => panic!("{op:?}: it ended with {done:?}"),
            () = asked => {}
        }
        assert_eq!(settled(&place, &*store).await, 0, "{op:?}");
        // A completion, or the look at what it made, was on its way.
        if matches!(op, Op::CreateUpload | Op::UploadPart) {
            assert_eq!(store.head(KEY).await.unwrap_err().kind, StoreErrorKind::NotFound, "{op:?}: it went on");
            assert!(place.server.faults().count(Op::UploadPart, "") < 3, "{op:?}: parts were sent for nobody");
        }
        place.server.faults().clear();
        let parts = place.server.faults().count(Op::UploadPart, "");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(place.server.uploads_in_progress().len(), 0, "{op:?}: not all was waited for");
        assert_eq!(place.server.faults().count(Op::UploadPart, ""), parts, "{op:?}: not all was waited for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_not_used_faster_than_its_limit() {
    let place = InProcess::start(support::S3Options::default()).await;
    let mut options = quick(place.s3.options("f"));
    options.limits.rate = NonZeroU64::new(8 << 20);
    let store = place.s3.connect(options);
    let raw = content(PART * 4);
    let (_dir, path, sha256) = file(&raw);
    let begun = Instant::now();
    store.put_file(KEY, &path, &sha256, PutMode::CreateOnly, &|_| ()).await.expect("put");
    // Its first part does not wait for itself.
    let sent = begun.elapsed().as_secs_f64();
    assert!(sent >= (PART * 4) as f64 / f64::from(8 << 20) - 0.1, "20 MiB at 8 MiB/s took {sent} s");
    let begun = Instant::now();
    assert!(read_all(&*store, KEY, 0).await == raw);
    let read = begun.elapsed().as_secs_f64();
    assert!(read >= (PART * 4) as f64 / f64::from(8 << 20) - 1.1, "20 MiB at 8 MiB/s took {read} s");
    let begun = Instant::now();
    for n in 0..4 {
        let (_dir, path, sha256) = file(&content(PART));
        store.put_file(&format!("small-{n}"), &path, &sha256, PutMode::CreateOnly, &|_| ()).await.expect("put");
    }
    let sent = begun.elapsed().as_secs_f64();
    assert!(sent >= (PART * 4) as f64 / f64::from(8 << 20) - 1.1, "four small files took {sent} s");
}

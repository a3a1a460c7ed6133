//! Refused signatures: a wrong clock and keys that have expired are ridden out by signing again, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use etcd_lifeboat::core::model::Timestamp;
use etcd_lifeboat::ports::{Clock, ObjectStore, PutMode, StoreErrorKind};
use etcd_lifeboat::store::s3::S3Store;
use tokio::io::AsyncReadExt;

use super::faults::quick;
use super::places::{InProcess, S3};
use super::suite::{PART, content, file, kind, read_all};
use super::support::proxy::{End, Fault};
use super::support::{self, FaultProxy, Op};

/// A host whose clock is wrong by so many seconds.
#[derive(Default)]
struct Wrong(AtomicI64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        let now = jiff::Timestamp::now().as_second() + self.0.load(Ordering::SeqCst);
        Timestamp::from_second(now).expect("a time")
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(jiff::Timestamp::now().as_millisecond().unsigned_abs())
    }
}

/// Every kind of request, with a clock that is wrong from the start, goes wrong in the middle, and is corrected.
async fn works_with_a_wrong_clock(s3: &S3) {
    let clock = Arc::new(Wrong::default());
    let store = S3Store::connect(quick(s3.options("f")), clock.clone()).expect("connect");
    let bytes = content(2 * PART + 3);
    let (_dir, path, sha256) = file(&bytes);
    for seconds in [0, 3600, -3600, 86_400 * 400, 1200, 0] {
        clock.0.store(seconds, Ordering::SeqCst);
        let what = format!("the clock is off by {seconds} s");
        store.put("k", Bytes::from_static(b"x"), PutMode::CreateOnly).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        store
            .put_file("big", &path, &sha256, PutMode::Overwrite, &|_| ())
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(read_all(&store, "big", 1).await == bytes[1..], "{what}");
        assert_eq!(store.list("").await.unwrap_or_else(|e| panic!("{what}: {e}")).len(), 2);
        store.delete("k").await.unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}

/// It refuses dates that are off by more than a quarter of an hour, as Amazon's does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_at_seaweedfs() {
    let (_weed, s3) = S3::of_seaweedfs().await;
    works_with_a_wrong_clock(&s3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_date_is_signed_again_once() {
    let place = InProcess::start(support::S3Options::default()).await;
    let proxy = FaultProxy::start(&place.s3.endpoint);
    let mut options = quick(place.s3.options("f"));
    options.endpoint = proxy.endpoint();
    let store = place.s3.connect(options);
    for (status, code, refused) in [
        (403, "RequestTimeTooSkewed", StoreErrorKind::Rejected),
        (403, "ExpiredToken", StoreErrorKind::Denied),
        (400, "ExpiredToken", StoreErrorKind::Denied),
    ] {
        let key = format!("{code}-{status}");
        proxy.once(Op::Put, &key, Fault::Status(status, code));
        store.put(&key, Bytes::from_static(b"x"), PutMode::CreateOnly).await.expect("the second time it is accepted");
        assert_eq!(proxy.count(Op::Put, &key), 2, "{code}");
        proxy.always(Op::Get, &key, Fault::Status(status, code));
        assert_eq!(kind(store.get(&key, 10).await), Some(refused), "{code}");
        assert_eq!(proxy.count(Op::Get, &key), 2, "{code} is not tried for ever");
    }
    // Each part of an upload, its beginning and its end.
    let bytes = content(2 * PART + 3);
    let (_dir, path, sha256) = file(&bytes);
    for op in [Op::CreateUpload, Op::UploadPart, Op::CompleteUpload] {
        let key = format!("file-{op:?}");
        proxy.once(op, &key, Fault::Status(403, "RequestTimeTooSkewed"));
        store
            .put_file(&key, &path, &sha256, PutMode::CreateOnly, &|_| ())
            .await
            .unwrap_or_else(|e| panic!("{op:?}: {e}"));
        assert!(read_all(&*store, &key, 0).await == bytes, "{op:?}");
    }
    assert_eq!(place.server.uploads_in_progress(), Vec::new());
}

/// A download that breaks goes on by range, with If-Match: bytes of two objects never meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swapped_object_is_never_mixed_in() {
    let place = InProcess::start(support::S3Options::default()).await;
    let proxy = FaultProxy::start(&place.s3.endpoint);
    let mut options = quick(place.s3.options("f"));
    options.endpoint = proxy.endpoint();
    let store = place.s3.connect(options);
    let (one, two) = (vec![1u8; 3 << 20], vec![2u8; 3 << 20]);
    for (what, end) in [("reset", End::Reset), ("closed", End::Close), ("hanging", End::Hang)] {
        for swapped in [false, true] {
            let key = format!("{what}-{swapped}");
            place.server.plant(&format!("f/{key}"), &one);
            proxy.once(Op::Get, &key, Fault::CutBody(1 << 20, end));
            let mut opened = store.open(&key, 0).await.expect("open");
            let mut body = vec![0; 1000];
            opened.body.read_exact(&mut body).await.expect("read");
            if swapped {
                place.server.plant(&format!("f/{key}"), &two);
            }
            let read = opened.body.read_to_end(&mut body).await;
            assert!(body.iter().all(|b| *b == 1), "{key}: two objects were mixed");
            match read {
                Ok(_) => assert!(!swapped && body.len() == one.len(), "{key}: {} bytes", body.len()),
                Err(e) => assert!(swapped && e.to_string().contains("replaced"), "{key}: {e}"),
            }
            assert_eq!(proxy.count(Op::Get, &key), 2, "{key}");
        }
    }
}

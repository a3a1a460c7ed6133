//! Uploads that nobody will finish are removed, and no others.

use std::sync::Arc;
use std::time::Duration;

use etcd_lifeboat::ports::{PutMode, StoreErrorKind};

use super::faults::quick;
use super::places::{InProcess, S3};
use super::raw::{Raw, answer};
use super::suite::{PART, Place, content, file, kind};
use super::support::proxy::{End, Fault as ProxyFault};
use super::support::{self, Fault, FaultProxy, Op};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Leaves an upload with a part behind, as a killed process does: its requests stop reaching the store.
async fn leave(s3: &S3, key: &str) {
    let proxy = FaultProxy::start(&s3.endpoint);
    let mut options = quick(s3.options("f"));
    options.endpoint = proxy.endpoint();
    options.limits.parts_in_flight = 1;
    options.limits.attempts = 1;
    let store = s3.connect(options);
    proxy.add(Op::UploadPart, key, 1, u32::MAX, ProxyFault::Before(End::Reset));
    proxy.always(Op::AbortUpload, key, ProxyFault::Before(End::Reset));
    let (_dir, path, sha256) = file(&content(2 * PART + 1));
    let put = store.put_file(key, &path, &sha256, PutMode::CreateOnly, &|_| ()).await;
    assert_eq!(kind(put), Some(StoreErrorKind::Unreachable));
    store.drain().await;
}

async fn sweeps(place: &dyn Place, s3: &S3) {
    let mut options = quick(s3.options("f"));
    // More pages than one.
    options.limits.page_size = 2;
    let store = s3.connect(options);
    for key in ["snapshots/a.db.gz", "snapshots/b.db.gz", "snapshots/c.db.gz", "snapshots/foreign", "other/d.db.gz"] {
        leave(s3, key).await;
    }
    let other = s3.connect(quick(s3.options("f2")));
    assert_eq!(place.leftovers().await.len(), 5, "as many were left behind");
    let ours: &(dyn for<'k> Fn(&'k str) -> bool + Send + Sync) = &|key| key.ends_with(".db.gz");

    let young = store.sweep("snapshots/", DAY, ours).await.expect("sweep");
    assert!(young.removed.is_empty() && young.failed.is_empty(), "{young:?}");
    assert_eq!((young.kept, place.leftovers().await.len()), (3, 5), "what is young stays");
    let foreign = other.sweep("", Duration::ZERO, &|_| true).await.expect("sweep");
    assert!(foreign.removed.is_empty() && foreign.kept == 0, "another folder's: {foreign:?}");

    let mut old = store.sweep("snapshots/", Duration::ZERO, ours).await.expect("sweep");
    old.removed.sort();
    assert_eq!(old.removed, ["snapshots/a.db.gz", "snapshots/b.db.gz", "snapshots/c.db.gz"]);
    assert!(old.failed.is_empty() && old.kept == 0, "{old:?}");
    assert_eq!(place.leftovers().await.len(), 2, "what is not ours stays");
    let rest = store.sweep("", Duration::ZERO, &|_| true).await.expect("sweep");
    assert_eq!(rest.removed.len(), 2, "{rest:?}");
    assert_eq!(place.leftovers().await, Vec::<String>::new());
    assert!(store.list("").await.expect("list").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_in_process_server() {
    let place = InProcess::start(support::S3Options::default()).await;
    sweeps(&place, &place.s3).await;

    // By the store's clock: a day passes there.
    let store = place.s3.connect(quick(place.s3.options("f")));
    leave(&place.s3, "snapshots/a.db.gz").await;
    for (skew, removed) in [(0, 0), (24 * 3600 - 60, 0), (-48 * 3600, 0), (24 * 3600 + 60, 1)] {
        place.server.set_clock_skew(skew);
        let swept = store.sweep("", DAY, &|_| true).await.expect("sweep");
        assert_eq!((swept.removed.len(), swept.kept), (removed, 1 - removed), "{skew} s later: {swept:?}");
    }
    place.server.set_clock_skew(0);

    // A failure of one is no reason to leave the others.
    for key in ["a", "b"] {
        leave(&place.s3, key).await;
    }
    place.server.faults().always(Op::AbortUpload, "f/a", Fault::Status(403, "AccessDenied"));
    let swept = store.sweep("", Duration::ZERO, &|_| true).await.expect("sweep");
    assert_eq!((swept.removed, swept.failed.len()), (vec!["b".to_owned()], 1));
    assert!(
        swept.failed.iter().all(|e| e.kind == StoreErrorKind::Denied && e.text.contains("f/a")),
        "{:?}",
        swept.failed
    );
    place.server.faults().clear();

    // Said to be done, and a part arrives later: asked again until it is gone.
    place.server.faults().times(2, Op::AbortUpload, "f/a", Fault::Status(200, "nothing"));
    assert_eq!(store.sweep("", Duration::ZERO, &|_| true).await.expect("sweep").removed, ["a"]);
    assert_eq!(place.leftovers().await, Vec::<String>::new());

    // A store that goes away is not asked about each of them.
    for key in ["a", "b", "c"] {
        leave(&place.s3, key).await;
    }
    place.server.faults().always(Op::AbortUpload, "", Fault::Status(503, "SlowDown"));
    let swept = store.sweep("", Duration::ZERO, &|_| true).await.expect("sweep");
    assert_eq!((swept.removed.len(), swept.failed.len(), swept.left), (0, 1, 2), "{swept:?}");
    assert!(swept.failed.iter().all(|e| e.kind == StoreErrorKind::Unavailable), "{swept:?}");
    place.server.faults().clear();

    // What others wait for meanwhile does not wait for ever.
    place.server.faults().always(Op::AbortUpload, "", Fault::Delay(Duration::from_millis(400)));
    let mut options = quick(place.s3.options("f"));
    options.limits.sweep = Duration::from_millis(600);
    let begun = std::time::Instant::now();
    let swept = place.s3.connect(options.clone()).sweep("", Duration::ZERO, &|_| true).await.expect("sweep");
    assert!(swept.left > 0 && swept.removed.len() + swept.left == 3, "{swept:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    place.server.faults().always(Op::ListUploads, "", Fault::Hang);
    let listing = place.s3.connect(options).sweep("", Duration::ZERO, &|_| true).await;
    assert_eq!(kind(listing), Some(StoreErrorKind::Unreachable));
    place.server.faults().clear();
    store.sweep("", Duration::ZERO, &|_| true).await.expect("sweep");
    assert_eq!(place.leftovers().await, Vec::<String>::new());

    place.server.faults().always(Op::ListUploads, "", Fault::Status(403, "AccessDenied"));
    let denied = store.sweep("", Duration::ZERO, &|_| true).await.expect_err("forbidden");
    assert!(denied.kind == StoreErrorKind::Denied && denied.text.contains("s3://snapshots/f/"), "{denied}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_seaweedfs() {
    let (_weed, s3) = S3::of_seaweedfs().await;
    sweeps(&s3, &s3).await;
}

/// A store that answers this in its own way is left as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_understood_removes_nothing() {
    let place = InProcess::start(support::S3Options::default()).await;
    let old = "<Upload><Key>f/k</Key><UploadId>u</UploadId><Initiated>2020-01-01T00:00:00.000Z</Initiated></Upload>";
    let page = |inner: &str| format!("<ListMultipartUploadsResult>{inner}</ListMultipartUploadsResult>");
    let date = "Date: Mon, 15 Jan 2024 10:30:00 GMT\r\n";
    let ageless = page("<Upload><Key>f/k</Key><UploadId>u</UploadId></Upload>");
    let cases = [
        ("the store has no such request", answer(501, date, "<Error><Code>NotImplemented</Code></Error>"), 0, false),
        ("not allowed", answer(405, date, ""), 0, false),
        (
            "a listing of objects",
            answer(200, date, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"),
            0,
            false,
        ),
        ("a login page", answer(200, date, "<html>welcome</html>"), 0, false),
        ("nothing", answer(200, date, ""), 0, false),
        ("a cut document", answer(200, date, page(old).get(..90).expect("a half")), 0, false),
        ("no date", answer(200, "", &page(old)), 0, false),
        ("no age", answer(200, date, &ageless), 1, false),
        ("a bad age", answer(200, date, &page(&old.replace("2020-01-01T", "yesterday "))), 1, false),
        ("an age in the future", answer(200, date, &page(&old.replace("2020", "2030"))), 1, false),
        ("more without an end", answer(200, date, &page(&format!("<IsTruncated>true</IsTruncated>{old}"))), 0, false),
        (
            "the same page for ever",
            answer(
                200,
                date,
                &page(&format!("<IsTruncated>true</IsTruncated><NextKeyMarker>f/k</NextKeyMarker>{old}")),
            ),
            0,
            true,
        ),
        (
            "an old one",
            answer(200, date, &page(&format!("<EncodingType>url</EncodingType>{}", old.replace("f/k", "f%2Fk")))),
            0,
            true,
        ),
    ];
    for (what, listing, kept, removed) in cases {
        let aborts = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = aborts.clone();
        let raw = Raw::start(move |head| {
            if head.contains("uploads=") {
                return listing.clone();
            }
            if head.starts_with("DELETE") {
                seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
            answer(404, "", "<Error><Code>NoSuchUpload</Code></Error>")
        })
        .await;
        let mut options = quick(place.s3.options("f"));
        options.endpoint = raw.endpoint.clone();
        let swept = place.s3.connect(options).sweep("", DAY, &|_| true).await;
        let swept = swept.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((swept.kept, swept.failed.len()), (kept, 0), "{what}: {swept:?}");
        let asked = raw.heads().iter().any(|h| h.starts_with("GET") && h.contains("uploadId=u"));
        assert_eq!(asked, removed, "{what}: an upload was looked at, or not");
        assert_eq!(aborts.load(std::sync::atomic::Ordering::SeqCst), 0, "{what}: it was gone already");
    }
}

/// An upload that is still fed is nobody's leftover, however long ago it was begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_today_keeps_an_old_upload() {
    let place = InProcess::start(support::S3Options::default()).await;
    for (modified, removed) in [("2024-01-15T09:00:00Z", 0), ("2024-01-12T09:00:00Z", 1)] {
        let gone = std::sync::atomic::AtomicBool::new(false);
        let raw = Raw::start(move |head| {
            let date = "Date: Mon, 15 Jan 2024 10:30:00 GMT\r\n";
            if head.contains("uploads=") {
                let old =
                    "<Upload><Key>f/k</Key><UploadId>u</UploadId><Initiated>2024-01-10T00:00:00Z</Initiated></Upload>";
                return answer(200, date, &format!("<ListMultipartUploadsResult>{old}</ListMultipartUploadsResult>"));
            }
            if head.starts_with("DELETE") {
                gone.store(true, std::sync::atomic::Ordering::SeqCst);
                return answer(204, "", "");
            }
            if gone.load(std::sync::atomic::Ordering::SeqCst) {
                // Some stores forget an upload only later.
                return answer(200, date, "<ListPartsResult></ListPartsResult>");
            }
            // The first page is of old parts.
            let (at, more) = if head.contains("part-number-marker=1000") {
                (modified, "")
            } else {
                (
                    "2024-01-10T01:00:00Z",
                    "<IsTruncated>true</IsTruncated><NextPartNumberMarker>1000</NextPartNumberMarker>",
                )
            };
            let part = format!("<Part><PartNumber>1</PartNumber><LastModified>{at}</LastModified></Part>");
            answer(200, date, &format!("<ListPartsResult>{more}{part}</ListPartsResult>"))
        })
        .await;
        let mut options = quick(place.s3.options("f"));
        options.endpoint = raw.endpoint.clone();
        let swept = place.s3.connect(options).sweep("", DAY, &|_| true).await.expect("sweep");
        assert_eq!(
            (swept.removed.len(), swept.kept, swept.failed.len()),
            (removed, 1 - removed, 0),
            "{modified}: {swept:?}"
        );
    }
}

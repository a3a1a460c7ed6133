//! What the S3 backend does when the store, the network or a person fails in the middle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_lifeboat::ports::{ObjectStore, PutMode, StoreErrorKind};
use etcd_lifeboat::store::s3::S3Options;
use futures::{StreamExt, stream};
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

use super::places::InProcess;
use super::raw::{Raw, answer, header};
use super::suite::{PART, content, file, kind, read_all};
use super::support::{self, Fault, Op};

const MIB: usize = 1 << 20;

/// Limits that make every end come soon, and leave a busy machine time to answer.
pub fn quick(mut options: S3Options) -> S3Options {
    let limits = &mut options.limits;
    limits.connect = Duration::from_secs(2);
    limits.idle = Duration::from_millis(800);
    limits.answer = Duration::from_millis(1500);
    limits.complete = Duration::from_millis(1500);
    limits.attempts = 4;
    limits.retry_for = Duration::from_secs(20);
    options
}

async fn start() -> (InProcess, Arc<dyn ObjectStore>) {
    let place = InProcess::start(support::S3Options::default()).await;
    let store = place.s3.connect(quick(place.s3.options("f")));
    (place, store)
}

const OPS: [Op; 8] =
    [Op::Put, Op::Get, Op::Head, Op::Delete, Op::List, Op::CreateUpload, Op::UploadPart, Op::CompleteUpload];

/// Every call once; the first failure ends it.
async fn everything(store: &dyn ObjectStore) -> Result<(), etcd_lifeboat::ports::StoreError> {
    let (_dir, path, sha256) = file(&content(2 * PART + 7));
    store.put("k", Bytes::from_static(b"x"), PutMode::CreateOnly).await?;
    store.put("k", Bytes::from_static(b"yy"), PutMode::Overwrite).await?;
    store.put_file("big", &path, &sha256, PutMode::CreateOnly, &|_| ()).await?;
    assert_eq!(&store.get("k", 10).await?.body[..], b"yy");
    assert_eq!(store.head("big").await?.size, 2 * PART + 7);
    let mut body = Vec::new();
    store.open("k", 1).await?.body.read_to_end(&mut body).await.expect("read");
    assert_eq!(body, b"y");
    assert_eq!(store.list("").await?.len(), 2);
    store.delete("k").await?;
    assert_eq!(kind(store.get("k", 10).await), Some(StoreErrorKind::NotFound));
    store.delete("big").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passing_faults_are_ridden_out() {
    let faults = [
        Fault::Status(503, "SlowDown"),
        Fault::Status(500, "InternalError"),
        Fault::Status(429, "TooManyRequests"),
        Fault::Reset,
        Fault::Hang,
        Fault::LoseAnswer,
        Fault::HangAnswer,
    ];
    stream::iter(faults).map(ride_out).buffer_unordered(4).for_each(|()| async {}).await;
}

async fn ride_out(fault: Fault) {
    let (place, store) = start().await;
    for op in OPS {
        // Twice, where it costs no waiting: a second attempt meets what the first one left.
        let times = if matches!(fault, Fault::Hang | Fault::HangAnswer) { 1 } else { 2 };
        place.server.faults().times(times, op, "", fault.clone());
        everything(&*store).await.unwrap_or_else(|e| panic!("{fault:?} on {op:?}: {e}"));
        assert_eq!(place.server.keys(), Vec::<String>::new());
        place.server.faults().clear();
    }
    // An initiation whose answer is lost leaves an upload that nobody knows the id of; that is the janitor's.
    let left = match fault {
        Fault::LoseAnswer => 2,
        Fault::HangAnswer => 1,
        _ => 0,
    };
    assert_eq!(place.server.uploads_in_progress().len(), left, "{fault:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lasting_faults_end_and_leave_nothing() {
    use StoreErrorKind::{Denied, Rejected, Unavailable, Unclear, Unreachable};
    let cases = [
        (Op::Put, Fault::Status(503, "SlowDown"), Unavailable),
        (Op::Put, Fault::Status(500, "InternalError"), Unclear),
        (Op::Put, Fault::Hang, Unclear),
        (Op::Put, Fault::Reset, Unclear),
        (Op::Put, Fault::Status(403, "AccessDenied"), Denied),
        (Op::CreateUpload, Fault::Status(503, "SlowDown"), Unavailable),
        (Op::CreateUpload, Fault::Hang, Unreachable),
        (Op::UploadPart, Fault::Status(403, "AccessDenied"), Denied),
        (Op::UploadPart, Fault::Hang, Unreachable),
        (Op::UploadPart, Fault::Status(500, "InternalError"), Unavailable),
        (Op::CompleteUpload, Fault::ErrorIn200("InternalError"), Unclear),
        (Op::CompleteUpload, Fault::Status(400, "InvalidPart"), Rejected),
        (Op::CompleteUpload, Fault::Hang, Unclear),
        (Op::Head, Fault::Hang, Unreachable),
        (Op::Get, Fault::Hang, Unreachable),
        (Op::Get, Fault::StallBody(0), Unreachable),
        (Op::List, Fault::Hang, Unreachable),
        (Op::List, Fault::Status(503, "SlowDown"), Unavailable),
        (Op::Delete, Fault::Reset, Unreachable),
    ];
    let running = stream::iter(cases).map(|(op, fault, expected)| last(op, fault, expected));
    running.buffer_unordered(4).for_each(|()| async {}).await;
}

async fn last(op: Op, fault: Fault, expected: StoreErrorKind) {
    let (place, mut store) = start().await;
    if matches!(fault, Fault::Status(..) | Fault::ErrorIn200(_)) {
        // These are answered at once; a time-out on a busy machine would make a clear refusal an unclear one.
        let mut options = quick(place.s3.options("f"));
        options.limits.idle = Duration::from_secs(20);
        options.limits.answer = Duration::from_secs(20);
        options.limits.complete = Duration::from_secs(20);
        store = place.s3.connect(options);
    }
    place.server.faults().always(op, "", fault.clone());
    let e = everything(&*store).await.expect_err("a lasting fault was not seen");
    assert_eq!(e.kind, expected, "{fault:?} on {op:?}: {e}");
    if matches!(fault, Fault::Status(400..=499, _)) {
        // Three parts may be on their way at once.
        let most = if op == Op::UploadPart { 3 } else { 1 };
        let sent = place.server.faults().count(op, "");
        assert!(sent <= most, "{fault:?} on {op:?} was tried again: sent {sent} times");
    }
    place.server.faults().clear();
    assert_eq!(place.server.uploads_in_progress(), Vec::new(), "{fault:?} on {op:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_settled_by_comparison() {
    for fault in [Fault::LoseAnswer, Fault::HangAnswer] {
        let (place, store) = start().await;
        place.server.faults().once(Op::Put, "won", fault.clone());
        store.put("won", Bytes::from_static(b"ours"), PutMode::CreateOnly).await.expect("ours was written");
        assert_eq!(place.server.object("f/won").as_deref(), Some(&b"ours"[..]));

        place.server.plant("f/lost", b"theirs");
        place.server.faults().once(Op::Put, "lost", Fault::Reset);
        let lost = store.put("lost", Bytes::from_static(b"ours"), PutMode::CreateOnly).await;
        assert_eq!(kind(lost), Some(StoreErrorKind::AlreadyExists), "{fault:?}");

        place.server.plant("f/longer", b"theirs, and longer");
        place.server.faults().once(Op::Put, "longer", Fault::Reset);
        let lost = store.put("longer", Bytes::from_static(b"ours"), PutMode::CreateOnly).await;
        assert_eq!(kind(lost), Some(StoreErrorKind::AlreadyExists), "{fault:?}");

        // Nothing tells whether it was written: the store cannot be read.
        place.server.faults().once(Op::Put, "mute", fault.clone());
        place.server.faults().always(Op::Get, "mute", Fault::Status(403, "AccessDenied"));
        let mute = store.put("mute", Bytes::from_static(b"ours"), PutMode::CreateOnly).await;
        assert_eq!(kind(mute), Some(StoreErrorKind::Unclear), "{fault:?}");

        for size in [100, 2 * PART] {
            let (_dir, path, sha256) = file(&content(size));
            let key = format!("file-{size}");
            let op = if size > PART { Op::CompleteUpload } else { Op::Put };
            place.server.faults().once(op, &key, fault.clone());
            store.put_file(&key, &path, &sha256, PutMode::CreateOnly, &|_| ()).await.expect("ours was written");
            assert!(read_all(&*store, &key, 0).await == content(size));

            let key = format!("taken-{size}");
            place.server.plant(&format!("f/{key}"), b"theirs");
            place.server.faults().once(op, &key, Fault::Reset);
            let taken = store.put_file(&key, &path, &sha256, PutMode::CreateOnly, &|_| ()).await;
            assert_eq!(kind(taken), Some(StoreErrorKind::AlreadyExists), "{fault:?}, {size} bytes");
            assert_eq!(place.server.object(&format!("f/{key}")).as_deref(), Some(&b"theirs"[..]));
        }
        assert_eq!(place.server.uploads_in_progress(), Vec::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_downloads_are_taken_up_where_they_broke() {
    let (place, store) = start().await;
    let bytes = content(9 * MIB as u64);
    place.server.plant("f/k", &bytes);
    // More breaks than are allowed in one place, each after a mebibyte.
    place.server.faults().times(8, Op::Get, "f/k", Fault::CutBody(MIB + 1));
    assert!(read_all(&*store, "k", 0).await == bytes);
    assert_eq!(place.server.faults().count(Op::Get, "f/k"), 9);
    for fault in [Fault::CutBody(0), Fault::CutBody(70_000), Fault::StallBody(0), Fault::StallBody(70_000)] {
        place.server.faults().times(2, Op::Get, "f/k", fault.clone());
        assert!(read_all(&*store, "k", 3).await == bytes[3..], "{fault:?}");
        place.server.faults().times(2, Op::Get, "f/k", fault.clone());
        assert!(store.get("k", 20 << 20).await.expect("get").body[..] == bytes, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_never_moves_on_ends_with_an_error() {
    let (place, store) = start().await;
    place.server.plant("f/k", &content(3 * MIB as u64));
    let mut opened = store.open("k", 0).await.expect("open");
    place.server.faults().always(Op::Get, "f/k", Fault::CutBody(0));
    let mut body = Vec::new();
    place.server.faults().clear();
    place.server.faults().once(Op::Get, "f/k", Fault::CutBody(1000));
    place.server.faults().always(Op::Get, "f/k", Fault::CutBody(0));
    let mut broken = store.open("k", 0).await.expect("open");
    let e = broken.body.read_to_end(&mut body).await.expect_err("it ended well");
    assert!(body.len() <= 1000);
    assert!(e.to_string().contains("f/k"), "{e}");
    // The one that was opened before had no fault.
    place.server.faults().clear();
    body.clear();
    opened.body.read_to_end(&mut body).await.expect("read");
    assert_eq!(body.len(), 3 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_objects_are_never_mixed() {
    let (place, store) = start().await;
    place.server.plant("f/k", &vec![1; 3 * MIB]);
    place.server.faults().once(Op::Get, "f/k", Fault::CutBody(MIB));
    let mut opened = store.open("k", 0).await.expect("open");
    let mut body = vec![0; 1000];
    opened.body.read_exact(&mut body).await.expect("read");
    place.server.plant("f/k", &vec![2; 3 * MIB]);
    let e = opened.body.read_to_end(&mut body).await.expect_err("the other object was read on");
    assert!(e.to_string().contains("replaced"), "{e}");
    assert!(body.iter().all(|b| *b == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_fails_whole() {
    let (place, _) = start().await;
    let mut options = quick(place.s3.options("f"));
    options.limits.page_size = 2;
    let store = place.s3.connect(options);
    for n in 0..5 {
        place.server.plant(&format!("f/k{n}"), b"x");
    }
    place.server.faults().add(Op::List, "", 1, u32::MAX, Fault::Status(403, "AccessDenied"));
    assert_eq!(kind(store.list("").await), Some(StoreErrorKind::Denied));
    place.server.faults().clear();
    assert_eq!(store.list("").await.expect("list").len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_cancelled_anywhere_is_aborted() {
    let (_dir, path, sha256) = file(&content(3 * PART));
    for (op, fault) in [
        (Op::CreateUpload, Fault::Delay(Duration::from_millis(200))),
        (Op::UploadPart, Fault::Delay(Duration::from_millis(200))),
        (Op::UploadPart, Fault::Hang),
        (Op::CompleteUpload, Fault::Hang),
    ] {
        let (place, store) = start().await;
        let reached = Arc::new(Notify::new());
        let (tell, wanted) = (reached.clone(), fault.clone());
        place.server.faults().with(move |seen, _| {
            if seen == op {
                tell.notify_one();
                return Some(wanted.clone());
            }
            None
        });
        tokio::select! {
            done = store.put_file("k", &path, &sha256, PutMode::CreateOnly, &|_| ()) => panic!("{op:?}: not cancelled in time: {done:?}"),
            () = reached.notified() => {}
        }
        // An initiation under way first has to be answered; its task then starts the abort.
        for _ in 0..100 {
            store.drain().await;
            if place.server.faults().count(Op::AbortUpload, "") > 0 && place.server.uploads_in_progress().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(place.server.uploads_in_progress(), Vec::new(), "{fault:?} on {op:?}");
        assert!(place.server.faults().count(Op::AbortUpload, "") > 0, "{op:?}: no abort was sent");
        assert_eq!(place.server.keys(), Vec::<String>::new(), "{op:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_is_repeated() {
    let (place, store) = start().await;
    let (_dir, path, sha256) = file(&content(3 * PART));
    place.server.faults().always(Op::UploadPart, "", Fault::Status(403, "AccessDenied"));
    place.server.faults().times(2, Op::AbortUpload, "", Fault::Status(503, "SlowDown"));
    let put = store.put_file("k", &path, &sha256, PutMode::CreateOnly, &|_| ()).await;
    assert_eq!(kind(put), Some(StoreErrorKind::Denied));
    assert!(place.server.faults().count(Op::AbortUpload, "") >= 3);
    assert_eq!(place.server.uploads_in_progress(), Vec::new());
}

/// A file that is changed while it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_meanwhile_is_not_stored() {
    let (place, store) = start().await;
    for change in ["overwritten", "truncated", "longer"] {
        let (_dir, path, sha256) = file(&content(8 * PART));
        let changed = path.clone();
        place.server.faults().clear();
        let begun = std::sync::atomic::AtomicBool::new(false);
        let progress = move |_| {
            if begun.swap(true, std::sync::atomic::Ordering::SeqCst) {
                return;
            }
            let file = std::fs::OpenOptions::new().write(true).open(&changed).expect("open");
            match change {
                "overwritten" => {
                    std::os::unix::fs::FileExt::write_all_at(&file, b"X", 8 * PART - 10).expect("write");
                }
                "truncated" => file.set_len(7 * PART).expect("truncate"),
                _ => file.set_len(9 * PART).expect("grow"),
            }
        };
        let put = store.put_file("k", &path, &sha256, PutMode::CreateOnly, &progress).await;
        let e = put.expect_err("a changed file was stored");
        assert!(matches!(e.kind, StoreErrorKind::Corrupt | StoreErrorKind::LocalIo), "{change}: {e}");
        assert_eq!(place.server.keys(), Vec::<String>::new(), "{change}");
        assert_eq!(place.server.uploads_in_progress(), Vec::new(), "{change}");
    }
}

/// Only what S3 itself says is evidence; pages of proxies are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absence_needs_the_word_of_the_store() {
    let (place, _) = start().await;
    let no_key = "<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>";
    let cases = [
        (404, no_key, Some(StoreErrorKind::NotFound)),
        (404, "", Some(StoreErrorKind::Unavailable)),
        (404, "<html><body>404</body></html>", Some(StoreErrorKind::Unavailable)),
        (404, "<Error><Code>NoSuchBucket</Code></Error>", Some(StoreErrorKind::NoSuchBucket)),
        (403, "<Error><Code>AccessDenied</Code></Error>", Some(StoreErrorKind::Denied)),
        (302, "", Some(StoreErrorKind::Rejected)),
    ];
    for (status, body, expected) in cases {
        // As in HTTP, the answer to a HEAD has no body.
        let raw = Raw::start(move |head| answer(status, "", if head.starts_with("HEAD") { "" } else { body })).await;
        let mut options = quick(place.s3.options("f"));
        options.endpoint = raw.endpoint.clone();
        let store = place.s3.connect(options);
        assert_eq!(kind(store.get("k", 10).await), expected, "GET: {status} {body}");
        assert_eq!(kind(store.head("k").await), expected, "HEAD: {status} {body}");
        assert_eq!(kind(store.open("k", 0).await), expected, "open: {status} {body}");
        if body != no_key {
            assert_eq!(kind(store.delete("k").await), expected, "DELETE: {status} {body}");
        }
    }
    for (body, why) in [
        ("<html>welcome</html>", "html"),
        ("", "no XML"),
        ("<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", "more"),
        ("<ListBucketResult><Contents><Key>f/k</Key><Size>1</Size></Contents></ListBucketResult>", "IsTruncated"),
    ] {
        let raw = Raw::start(move |_| answer(200, "", body)).await;
        let mut options = quick(place.s3.options("f"));
        options.endpoint = raw.endpoint.clone();
        let e = place.s3.connect(options).list("").await.expect_err("it was taken for a listing");
        assert!(e.kind == StoreErrorKind::Unavailable && e.text.contains(why), "{e}");
    }
}

/// Foreign keys never show up, whatever a server lists.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_shows_only_our_folder() {
    let (place, _) = start().await;
    let one = |key: &str| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
    let keys = ["f/a", "f2/b", "c", "f/", "f/../d", "f//e", "f/dir/", "F/g", "f/h"];
    let body =
        format!("<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>", keys.map(one).concat());
    let raw = Raw::start(move |_| answer(200, "", &body)).await;
    let mut options = quick(place.s3.options("/f/"));
    options.endpoint = raw.endpoint.clone();
    let store = place.s3.connect(options);
    for (prefix, expected) in [("", vec!["a", "h"]), ("a", vec!["a"]), ("b", Vec::new())] {
        let listed = store.list(prefix).await.expect("list");
        assert_eq!(listed.iter().map(|m| m.key.as_str()).collect::<Vec<_>>(), expected, "prefix {prefix:?}");
    }
}

/// Stores that are not Amazon's choke on headers they do not know: this list changes only on purpose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_known_headers_are_sent() {
    const KNOWN: [&str; 13] = [
        "host",
        "user-agent",
        "accept",
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-security-token",
        "content-length",
        "range",
        "if-match",
        "if-none-match",
        "x-amz-meta-sha256",
        "x-amz-meta-upload",
    ];
    let (place, _) = start().await;
    let raw = Raw::start(|head| {
        let initiated = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
        match head {
            h if h.starts_with("POST") && h.contains("uploads=") => answer(200, "", initiated),
            h if h.starts_with("POST") => answer(200, "", "<CompleteMultipartUploadResult/>"),
            h if h.contains("list-type") => {
                answer(200, "", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
            }
            h if h.starts_with("GET") => answer(206, "ETag: \"e\"\r\nContent-Range: bytes 5-9/10\r\n", "56789"),
            _ => answer(200, "ETag: \"e\"\r\n", ""),
        }
    })
    .await;
    let mut options = quick(place.s3.options("f"));
    options.endpoint = raw.endpoint.clone();
    let etcd_lifeboat::store::s3::CredentialSource::Static { session_token, .. } = &mut options.credentials else {
        panic!("static credentials")
    };
    *session_token = Some("token".to_owned().into());
    let store = place.s3.connect(options);
    let (_dir, path, sha256) = file(&content(PART + 1));
    store.put("k", Bytes::from_static(b"x"), PutMode::CreateOnly).await.expect("put");
    let _ = store.put_file("k", &path, &sha256, PutMode::CreateOnly, &|_| ()).await;
    let _ = store.get("k", 10).await;
    read_all(&*store, "k", 5).await;
    store.list("x").await.expect("list");
    store.delete("k").await.expect("delete");
    let _ = store.head("k").await;
    let heads = raw.heads();
    let mut methods: Vec<&str> = heads.iter().filter_map(|h| h.split(' ').next()).collect();
    methods.sort_unstable();
    methods.dedup();
    assert_eq!(methods, ["DELETE", "GET", "HEAD", "POST", "PUT"]);
    for head in &heads {
        for line in head.lines().skip(1).filter(|l| !l.is_empty()) {
            let name = line.split(':').next().unwrap_or_default().to_lowercase();
            assert!(KNOWN.contains(&name.as_str()), "{name} was sent:\n{head}");
        }
        assert_eq!(header(head, "x-amz-security-token").as_deref(), Some("token"));
        assert_eq!(header(head, "transfer-encoding"), None);
        let payload = header(head, "x-amz-content-sha256").expect("a payload digest");
        assert_eq!(payload.len(), 64, "the payload is not signed:\n{head}");
    }
}

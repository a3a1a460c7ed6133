//! The in-process S3 server of the tests, tried with the client library that we ship.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use s3::Bucket;
use s3::creds::Credentials;
use s3::error::S3Error;
use support::{Conditions, Fault, Op, S3Options, S3Server};

fn bucket_with(server: &S3Server, name: &str, access: &str, secret: &str) -> Bucket {
    let region = s3::Region::Custom { region: "us-east-1".to_owned(), endpoint: server.endpoint() };
    let credentials = Credentials::new(Some(access), Some(secret), None, None, None).expect("credentials");
    let mut bucket = *Bucket::new(name, region, credentials).expect("a bucket").with_path_style();
    bucket.set_request_timeout(Some(Duration::from_secs(1)));
    bucket
}

fn bucket(server: &S3Server) -> Bucket {
    bucket_with(server, server.bucket(), &server.access_key, &server.secret_key)
}

/// Status and S3 error code of a failed call.
fn failure<T>(answer: Result<T, S3Error>) -> (u16, String) {
    match answer {
        Ok(_) => (200, String::new()),
        Err(S3Error::HttpFailWithBody(status, body)) => {
            let code = body.split("<Code>").nth(1).and_then(|t| t.split("</Code>").next()).unwrap_or_default();
            (status, code.to_owned())
        }
        Err(e) => (0, e.to_string()),
    }
}

/// How many of three concurrent create-only writers won, in each of `races` races.
async fn race(server: &S3Server, races: usize) -> Vec<usize> {
    let bucket = Arc::new(bucket(server));
    let mut winners = Vec::new();
    for n in 0..races {
        let mut writers = tokio::task::JoinSet::new();
        for w in 0..3 {
            let bucket = bucket.clone();
            writers.spawn(async move {
                let put = bucket
                    .put_object_builder(format!("race/{n}"), format!("writer {w}").as_bytes())
                    .with_header("if-none-match", "*")
                    .expect("a header")
                    .execute()
                    .await;
                match failure(put) {
                    (200, _) => true,
                    (412, code) if code == "PreconditionFailed" => false,
                    other => panic!("a put failed otherwise: {other:?}"),
                }
            });
        }
        winners.push(writers.join_all().await.into_iter().filter(|won| *won).count());
    }
    winners
}

#[tokio::test(flavor = "multi_thread")]
async fn create_only_has_one_winner() {
    let server = S3Server::start(S3Options::default()).await;
    assert_eq!(race(&server, 200).await, vec![1; 200]);
    assert_eq!(server.objects().len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_do_not_honour_conditions_can_be_had() {
    let racy = S3Server::start(S3Options { conditions: Conditions::Racy, ..Default::default() }).await;
    assert!(race(&racy, 10).await.into_iter().any(|winners| winners > 1));
    let client = bucket(&racy);
    let second = client.put_object_builder("race/0", b"late").with_header("if-none-match", "*").unwrap();
    assert_eq!(failure(second.execute().await).0, 412, "one after the other it looks well-behaved");
    let deaf = S3Server::start(S3Options { conditions: Conditions::Ignored, ..Default::default() }).await;
    assert_eq!(race(&deaf, 3).await, vec![3; 3]);
}

/// Puts the parts of an upload and completes it with `header`.
async fn upload(bucket: &Bucket, key: &str, parts: &[Vec<u8>], header: Option<(&str, &str)>) -> (u16, String) {
    let id = bucket.initiate_multipart_upload(key, "application/octet-stream").await.unwrap().upload_id;
    let mut done = Vec::new();
    for (n, part) in (1..).zip(parts) {
        done.push(bucket.put_multipart_chunk(part.clone(), key, n, &id, "application/octet-stream").await.unwrap());
    }
    let with_header = match header {
        None => bucket.clone(),
        Some((name, value)) => {
            let mut headers = hyper::HeaderMap::new();
            headers.insert(hyper::header::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
            bucket.with_extra_headers(headers).unwrap()
        }
    };
    failure(with_header.complete_multipart_upload(key, &id, done).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn multipart_uploads() {
    let server = S3Server::start(S3Options { min_part_size: 1000, ..Default::default() }).await;
    let bucket = bucket(&server);
    let parts = [vec![1u8; 1000], vec![2; 1500], vec![3; 10]];
    assert_eq!(upload(&bucket, "big", &parts, None).await.0, 200);
    assert_eq!(server.object("big").unwrap(), parts.concat());
    assert!(server.uploads_in_progress().is_empty());
    let stored = server.objects().remove(0);
    assert_eq!((stored.size, stored.parts), (2510, 3));

    // Ranges go across the parts.
    for (from, to) in [(0, 0), (999, 1000), (990, 2505), (2509, 2509), (2000, 9999)] {
        let body = bucket.get_object_range("big", from, Some(to)).await.unwrap();
        let end = usize::try_from(to + 1).unwrap().min(2510);
        assert_eq!(body.as_slice(), &parts.concat()[usize::try_from(from).unwrap()..end], "{from}-{to}");
    }
    assert_eq!(failure(bucket.get_object_range("big", 2510, None).await).0, 416);

    let create_only = Some(("if-none-match", "*"));
    assert_eq!(upload(&bucket, "big", &parts, create_only).await, (412, "PreconditionFailed".to_owned()));
    let (_, left) = server.uploads_in_progress().remove(0);
    bucket.abort_upload("big", &left).await.unwrap();
    assert_eq!(failure(bucket.abort_upload("big", &left).await).0, 404);
    assert!(server.uploads_in_progress().is_empty());

    let small = [vec![0u8; 999], vec![0; 1]];
    assert_eq!(upload(&bucket, "small", &small, None).await, (400, "EntityTooSmall".to_owned()));
    assert_eq!(server.object("small"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_come_in_pages() {
    let server = S3Server::start(S3Options { page_size: 3, ..Default::default() }).await;
    let bucket = bucket(&server);
    let mut keys: Vec<String> = (0..10).map(|i| format!("a/{i}&+ %ä.json")).collect();
    for key in keys.iter().map(String::as_str).chain(["b/x", "b/y/z", "b/y/w", "c"]) {
        bucket.put_object(key, key.as_bytes()).await.unwrap();
    }
    let (mut listed, mut token, mut pages) = (Vec::new(), None, 0);
    loop {
        let (page, _) = bucket.list_page("a/".to_owned(), None, token, None, None).await.unwrap();
        listed.extend(page.contents.into_iter().map(|o| o.key));
        pages += 1;
        token = page.next_continuation_token;
        if !page.is_truncated {
            break;
        }
    }
    keys.sort();
    assert_eq!((listed, pages), (keys.clone(), 4));
    let groups = bucket.list(String::new(), Some("/".to_owned())).await.unwrap();
    let found: Vec<_> =
        groups.iter().flat_map(|p| p.common_prefixes.iter().flatten()).map(|p| p.prefix.as_str()).collect();
    assert_eq!(found, ["a/", "b/"]);
    // What the faults see is the plain key.
    assert_eq!(server.faults().count(Op::Put, &keys[4]), 1);
    assert_eq!(server.faults().count(Op::List, "a/"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused() {
    let server = S3Server::start(S3Options::default()).await;
    let good = bucket(&server);
    good.put_object("k", b"v").await.unwrap();
    let wrong_key = bucket_with(&server, server.bucket(), "NOBODY", &server.secret_key);
    let wrong_secret = bucket_with(&server, server.bucket(), &server.access_key, "wrong");
    let wrong_bucket = bucket_with(&server, "elsewhere", &server.access_key, &server.secret_key);
    assert_eq!(failure(wrong_key.get_object("k").await), (403, "InvalidAccessKeyId".to_owned()));
    assert_eq!(failure(wrong_secret.put_object("k", b"w").await), (403, "SignatureDoesNotMatch".to_owned()));
    assert_eq!(failure(wrong_bucket.put_object("k", b"w").await), (404, "NoSuchBucket".to_owned()));
    assert_eq!(failure(good.get_object("absent").await), (404, "NoSuchKey".to_owned()));
    let md5 = good.put_object_builder("k", b"w").with_header("x-amz-checksum-sha256", "AAAA").unwrap();
    assert_eq!(failure(md5.execute().await).0, 400);
    for (etag, status) in [("\"00000000000000000000000000000000\"", 412), ("\"9e3669d19b675bd57058fd4664205d2a\"", 200)]
    {
        let put = good.put_object_builder("k", b"v").with_header("if-match", etag).unwrap();
        assert_eq!(failure(put.execute().await).0, status, "{etag}");
    }
    let anonymous = reqwest::get(format!("{}/{}/k", server.endpoint(), server.bucket())).await.unwrap();
    assert_eq!(anonymous.status().as_u16(), 403);
    assert_eq!(server.object("k").unwrap(), b"v");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_does_what_it_says() {
    let server = S3Server::start(S3Options { min_part_size: 1, ..Default::default() }).await;
    s3::set_retries(0);
    let bucket = bucket(&server);
    let faults = server.faults();
    let body = vec![7u8; 300_000];
    bucket.put_object("a", &body).await.unwrap();

    faults.once(Op::Get, "a", Fault::Status(503, "SlowDown"));
    assert_eq!(failure(bucket.get_object("a").await), (503, "SlowDown".to_owned()));
    for fault in [Fault::Hang, Fault::Reset, Fault::CutBody(1000), Fault::CutBody(0), Fault::StallBody(70_000)] {
        faults.once(Op::Get, "a", fault.clone());
        assert_eq!(failure(bucket.get_object("a").await).0, 0, "{fault:?}");
    }
    faults.once(Op::Get, "a", Fault::FlipBit(200_000));
    let flipped = bucket.get_object("a").await.unwrap();
    let wrong: Vec<usize> = (0..body.len()).filter(|i| flipped.as_slice().get(*i) != body.get(*i)).collect();
    assert_eq!(wrong, [200_000]);
    assert_eq!(bucket.get_object("a").await.unwrap().as_slice(), body);

    for (n, fault) in [Fault::LoseAnswer, Fault::HangAnswer].into_iter().enumerate() {
        let key = format!("lost-{n}");
        faults.once(Op::Put, "lost", fault.clone());
        assert_eq!(failure(bucket.put_object(&key, b"done").await).0, 0, "{fault:?}");
        assert_eq!(server.object(&key).as_deref(), Some(&b"done"[..]), "{fault:?}");
    }
    faults.add(Op::Put, "skip", 1, 1, Fault::Status(500, "InternalError"));
    let answers = [0; 3].map(|_| bucket.put_object("skip", b"x"));
    let mut statuses = Vec::new();
    for answer in answers {
        statuses.push(failure(answer.await).0);
    }
    assert_eq!(statuses, [200, 500, 200]);

    faults.once(Op::CompleteUpload, "", Fault::ErrorIn200("InternalError"));
    assert_eq!(upload(&bucket, "late", &[vec![1]], None).await, (200, "InternalError".to_owned()));
    assert_eq!((server.object("late"), server.uploads_in_progress().len()), (None, 1));

    faults.with(|op, key| (op == Op::Head && key == "a").then_some(Fault::Status(403, "AccessDenied")));
    assert_eq!(failure(bucket.head_object("a").await).0, 403);
    faults.clear();
    assert_eq!(failure(bucket.head_object("a").await).0, 200);
    assert_eq!(faults.seen().last().unwrap().op, Op::Head);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_down_and_comes_back() {
    let mut server = S3Server::start(S3Options::default()).await;
    s3::set_retries(0);
    let bucket = bucket(&server);
    bucket.put_object("a", b"1").await.unwrap();
    server.go_down();
    assert_eq!(failure(bucket.get_object("a").await).0, 0);
    server.go_up();
    assert_eq!(bucket.get_object("a").await.unwrap().as_slice(), b"1");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_clock_can_be_wrong() {
    let server = S3Server::start(S3Options::default()).await;
    let bucket = bucket(&server);
    server.set_clock_skew(-86_400);
    bucket.put_object("a", b"1").await.unwrap();
    let (head, _) = bucket.head_object("a").await.unwrap();
    let date = |text: &str| jiff::fmt::rfc2822::parse(text).unwrap().timestamp();
    let modified = date(&head.last_modified.unwrap());
    let answer = bucket.get_object("a").await.unwrap();
    let now = date(answer.headers().iter().find(|(k, _)| k.as_str() == "date").unwrap().1);
    let real = jiff::Timestamp::try_from(std::fs::metadata("/proc/self").unwrap().modified().unwrap()).unwrap();
    for shown in [modified, now] {
        let hours = real.since(shown).unwrap().total(jiff::Unit::Hour).unwrap();
        assert!((23.0..25.0).contains(&hours), "{hours} hours behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_needs_its_own_ca() {
    let server = S3Server::start(S3Options { tls: true, ..Default::default() }).await;
    let url = format!("{}/{}/k", server.endpoint(), server.bucket());
    let stranger = reqwest::get(&url).await.expect_err("an unknown CA was trusted");
    assert!(format!("{stranger:?}").contains("UnknownIssuer"), "{stranger:?}");
    let ca = reqwest::Certificate::from_pem(&std::fs::read(server.ca_file()).unwrap()).unwrap();
    let client = reqwest::Client::builder().add_root_certificate(ca).build().unwrap();
    assert_eq!(client.get(&url).send().await.unwrap().status().as_u16(), 403);
}

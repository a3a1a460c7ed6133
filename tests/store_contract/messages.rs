//! What a person reads at 3 a.m.: every message names the object and says what to change.

use std::sync::Arc;

use etcd_lifeboat::config::ConfiguredFile;
use etcd_lifeboat::core::model::Timestamp;
use etcd_lifeboat::ports::{Clock, StoreError, StoreErrorKind};
use etcd_lifeboat::store::s3::{CredentialSource, S3Options, S3Store};

use super::faults::quick;
use super::places::InProcess;
use super::raw::{Raw, answer};
use super::support::{self, Fault, Op};

/// What the failure of a GET looks like.
async fn failure(place: &InProcess, options: S3Options) -> StoreError {
    place.s3.connect(quick(options)).get("k", 10).await.expect_err("it worked")
}

/// Shows the message as `main` does, and holds what every message must be.
fn check(what: &str, e: StoreError, kind: StoreErrorKind, text: &[&str], hint: &[&str]) {
    let found = e.kind;
    let error = etcd_lifeboat::error::Error::from(e);
    let (line, hinted) = (error.one_line(), error.hint_text().unwrap_or_default().to_owned());
    println!("{what}:\n  {line}\n  hint: {hinted}\n");
    assert_eq!(found, kind, "{what}: {line}");
    assert!(line.contains("s3://") && line.contains("/f/k at http"), "{what}: the object is not named: {line}");
    for word in text {
        assert!(line.contains(word), "{what}: {word:?} is not in: {line}");
    }
    for word in hint {
        assert!(hinted.contains(word), "{what}: {word:?} is not in the hint: {hinted}");
    }
    for secret in ["X-Amz", "Signature=", "lifeboat-test-secret", "hunter2"] {
        assert!(!line.contains(secret) && !hinted.contains(secret), "{what}: a secret is shown: {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_store() {
    let place = InProcess::start(support::S3Options::default()).await;
    let with = |change: &dyn Fn(&mut S3Options)| {
        let mut options = place.s3.options("f");
        change(&mut options);
        options
    };
    let keys = |access: &str, secret: &str| CredentialSource::Static {
        access_key: access.to_owned(),
        secret_key: secret.to_owned().into(),
        session_token: None,
    };
    use StoreErrorKind::{Denied, NoSuchBucket, Rejected, Unavailable};
    let e = failure(&place, with(&|o| o.credentials = keys("WRONGKEY", "hunter2"))).await;
    check("wrong key id", e, Denied, &["InvalidAccessKeyId"], &["store.s3.access_key"]);
    let e = failure(&place, with(&|o| o.credentials = keys(&place.server.access_key, "hunter2"))).await;
    check("wrong secret", e, Denied, &["SignatureDoesNotMatch"], &["store.s3.secret_key"]);
    let e = failure(&place, with(&|o| o.credentials = keys("a\nb", "hunter2"))).await;
    check("line break in the key id", e, Rejected, &["access key", "line break"], &[]);
    let e = failure(&place, with(&|o| o.bucket = "not-there".to_owned())).await;
    check("wrong bucket", e, NoSuchBucket, &["not-there"], &["store.s3.bucket", "create the bucket"]);
    place.server.faults().always(Op::Get, "", Fault::Status(403, "AccessDenied"));
    let e = failure(&place, with(&|_| ())).await;
    check("no permission", e, Denied, &["AccessDenied"], &["s3:GetObject", "s3:ListBucket"]);
    place.server.faults().clear();
    place.server.set_clock_skew(-1200);
    place.server.faults().always(Op::Get, "", Fault::Status(403, "RequestTimeTooSkewed"));
    let e = failure(&place, with(&|_| ())).await;
    check(
        "clock",
        e,
        Rejected,
        &["RequestTimeTooSkewed", "this host's clock and the store's differ by 1", "tried 2 times"],
        &["this host's clock (20", "the store's (20", "differ by 1", "timedatectl", "chronyc"],
    );
    place.server.faults().clear();
    // A store without that code: the date in the signature is what it cannot accept.
    place.server.set_clock_skew(3600 * 24 * 400);
    place.server.faults().always(Op::Get, "", Fault::Status(403, "AccessDenied"));
    let e = failure(&place, with(&|_| ())).await;
    let hint = ["differ by 345", "(400 days)", "timedatectl", "; if they agree: grant the key"];
    check("clock, and no word of it", e, Denied, &["AccessDenied", "clock and the store's differ by 345"], &hint);
    place.server.set_clock_skew(0);
    place.server.faults().clear();
    place.server.faults().always(Op::Get, "", Fault::Status(503, "SlowDown"));
    let e = failure(&place, with(&|_| ())).await;
    check("overload", e, Unavailable, &["503 SlowDown", "tried 4 times"], &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_way_to_it() {
    let plain = InProcess::start(support::S3Options::default()).await;
    let tls = InProcess::start(support::S3Options { tls: true, ..support::S3Options::default() }).await;
    use StoreErrorKind::{Rejected, Unavailable, Unreachable};
    let trusted = {
        let mut options = tls.s3.options("f");
        options.ca_file = Some(ConfiguredFile::new("store.s3.ca_file", tls.server.ca_file()));
        options
    };
    let e = failure(&tls, trusted.clone()).await;
    assert_eq!(e.kind, StoreErrorKind::NotFound, "with the right CA: {e}");
    let e = failure(&tls, tls.s3.options("f")).await;
    check("unknown CA", e, Unreachable, &["CA that this host does not trust"], &["store.s3.ca_file"]);
    let other = InProcess::start(support::S3Options { tls: true, ..support::S3Options::default() }).await;
    let mut options = trusted.clone();
    options.ca_file = Some(ConfiguredFile::new("store.s3.ca_file", other.server.ca_file()));
    check("wrong CA", failure(&tls, options).await, Unreachable, &["CA"], &["store.s3.ca_file"]);
    let mut options = plain.s3.options("f");
    options.endpoint = plain.s3.endpoint.replace("http://", "https://");
    options.insecure = false;
    check(
        "https to an http port",
        failure(&plain, options).await,
        Unreachable,
        &["does not speak TLS"],
        &["store.s3.insecure = true"],
    );
    let mut options = trusted.clone();
    options.endpoint = tls.s3.endpoint.replace("https://", "http://");
    options.insecure = true;
    check("http to an https port", failure(&tls, options).await, Unreachable, &[], &["store.s3.insecure"]);
    let go = Raw::start(|_| answer(400, "", "Client sent an HTTP request to an HTTPS server.\n")).await;
    let mut options = plain.s3.options("f");
    options.endpoint = go.endpoint.clone();
    check(
        "http to Go's https port",
        failure(&plain, options).await,
        Rejected,
        &["400"],
        &["expects TLS", "store.s3.insecure"],
    );
    let mut options = plain.s3.options("f");
    options.endpoint = "http://no-such-host.invalid".to_owned();
    check(
        "unknown host",
        failure(&plain, options).await,
        Unreachable,
        &["no-such-host.invalid", "resolved"],
        &["store.s3.endpoint", "getent hosts"],
    );
    let mut down = InProcess::start(support::S3Options::default()).await;
    down.server.go_down();
    check(
        "refused",
        failure(&down, down.s3.options("f")).await,
        Unreachable,
        &["refuses the connection"],
        &["store.s3.endpoint"],
    );
    let redirect = Raw::start(|_| {
        answer(
            301,
            "x-amz-bucket-region: eu-west-2\r\nLocation: http://127.0.0.1:1/\r\n",
            "<Error><Code>PermanentRedirect</Code></Error>",
        )
    })
    .await;
    let mut options = plain.s3.options("f");
    options.endpoint = redirect.endpoint.clone();
    check(
        "other region",
        failure(&plain, options).await,
        Rejected,
        &["PermanentRedirect"],
        &["store.s3.region = \"eu-west-2\""],
    );
    let region = Raw::start(|_| {
        answer(400, "", "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>")
    })
    .await;
    let mut options = plain.s3.options("f");
    options.endpoint = region.endpoint.clone();
    check(
        "signed for another region",
        failure(&plain, options).await,
        Rejected,
        &[],
        &["store.s3.region = \"eu-west-3\""],
    );
    let proxy = Raw::start(|_| answer(404, "", "<html>nothing here\r\n\x1b[31m</html>")).await;
    let mut options = plain.s3.options("f");
    options.endpoint = proxy.endpoint.clone();
    check(
        "a proxy's page",
        failure(&plain, options).await,
        Unavailable,
        &["no S3 answer", "nothing here"],
        &["store.s3.endpoint"],
    );
}

#[tokio::test]
async fn options_do_not_show_their_secrets() {
    let place = InProcess::start(support::S3Options::default()).await;
    let shown = format!("{:?}", place.s3.options("f"));
    assert!(shown.contains(&place.server.access_key) && !shown.contains(&place.server.secret_key), "{shown}");
}

#[tokio::test]
async fn of_a_wrong_ca_file() {
    struct Stopped;
    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
        fn monotonic(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }
    }
    let place = InProcess::start(support::S3Options::default()).await;
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in [
        ("missing.pem", None),
        ("empty.pem", Some("")),
        ("no.pem", Some("not a certificate")),
        ("broken.pem", Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
    ] {
        let path = dir.path().join(name);
        if let Some(text) = text {
            std::fs::write(&path, text).expect("write");
        }
        let mut options = place.s3.options("f");
        options.ca_file = Some(ConfiguredFile::new("store.s3.ca_file", &path));
        let e = S3Store::connect(options, Arc::new(Stopped)).err().unwrap_or_else(|| panic!("{name} was accepted"));
        println!("{name}:\n  {}\n  hint: {:?}\n", e.one_line(), e.hint_text());
        assert_eq!(e.kind(), etcd_lifeboat::error::Kind::Config);
        assert!(e.one_line().contains("ca_file") && e.one_line().contains(name), "{e:?}");
        assert!(e.hint_text().is_some(), "{e:?}");
    }
}

/// A store that shows a wrong date and works is worked with, and said once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_clock_that_is_only_shown() {
    static SAID: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    let place = InProcess::start(support::S3Options::default()).await;
    let mut options = quick(place.s3.options("f"));
    options.limits.warn = Some(|text| SAID.lock().expect("a list").push(text.to_owned()));
    let (one, other) = (place.s3.connect(options.clone()), place.s3.connect(options));
    let mut expected = 0;
    for skew in [0, 200, -200, 3612, -3612, 0, 3600 * 24 * 3650, -3600 * 24 * 3650] {
        place.server.set_clock_skew(skew);
        for store in [&one, &other] {
            let key = format!("k{skew}");
            let there = store.put(&key, "v".into(), etcd_lifeboat::ports::PutMode::Overwrite).await.expect("a write");
            assert_eq!(there.size, 1, "{skew}");
            assert_eq!(store.get(&key, 10).await.expect("a read").body, "v", "{skew}");
            assert!(
                store.list_page("k", None).await.expect("a listing").objects.iter().any(|o| o.key == key),
                "{skew}"
            );
        }
        // From one wrong date to another is no news.
        expected = match skew {
            3612 => 1,
            skew if skew == 3600 * 24 * 3650 => 2,
            _ => expected,
        };
        let said = SAID.lock().expect("a list").clone();
        assert_eq!(said.len(), expected, "{skew}: {said:?}");
    }
    let said = SAID.lock().expect("a list").clone();
    assert!(said[0].contains("differ by 361") && said[0].contains(&place.s3.endpoint), "{said:?}");
    assert!(said[1].contains("days)") && said[1].contains("timedatectl"), "{said:?}");
}

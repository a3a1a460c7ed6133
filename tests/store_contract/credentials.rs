//! Credentials that nobody configured: from the environment, a profile, a container's service, or nowhere.
//!
//! Each case runs this test binary again, since an environment belongs to a process.

use std::process::Command;

use bytes::Bytes;
use etcd_lifeboat::ports::PutMode;
use etcd_lifeboat::store::s3::CredentialSource;

use super::faults::quick;
use super::places::{InProcess, S3};
use super::raw::{Raw, answer, header};
use super::support;

const CHILD: &str = "credentials::child";
const ENDPOINT: &str = "LIFEBOAT_TEST_ENDPOINT";

/// Writes and reads with what the chain finds; fails with its message.
#[tokio::test]
#[ignore = "started by the test below, with an environment: cargo test --test store_contract credentials"]
async fn child() {
    let s3 = S3 {
        endpoint: std::env::var(ENDPOINT).expect("an endpoint"),
        bucket: "snapshots".to_owned(),
        access_key: String::new(),
        secret_key: String::new(),
        ca_file: None,
        refuses_writes_to_missing: true,
    };
    let mut options = quick(s3.options("f"));
    options.credentials = CredentialSource::Chain;
    let store = s3.connect(options);
    let put = store.put("k", Bytes::from_static(b"x"), PutMode::Overwrite).await;
    if let Err(e) = put {
        println!("REFUSED {e} HINT {}", e.hint.as_deref().unwrap_or_default());
        std::process::exit(3);
    }
    store.get("k", 10).await.expect("get");
}

/// Exit code and output of the child.
async fn run(place: &InProcess, environment: Vec<(&'static str, String)>) -> (Option<i32>, String) {
    let mut command = Command::new(std::env::current_exe().expect("this test binary"));
    command.args([CHILD, "--exact", "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent").env(ENDPOINT, &place.s3.endpoint).envs(environment);
    let output = tokio::task::spawn_blocking(move || command.output().expect("run")).await.expect("run");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_is_followed() {
    let place = InProcess::start(support::S3Options::default()).await;
    let (access, secret) = (place.server.access_key.clone(), place.server.secret_key.clone());

    let environment = vec![("AWS_ACCESS_KEY_ID", access.clone()), ("AWS_SECRET_ACCESS_KEY", secret.clone())];
    assert_eq!(run(&place, environment).await.0, Some(0), "environment");

    let dir = tempfile::tempdir().expect("a directory");
    let profile = dir.path().join("credentials");
    let text = format!(
        "[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n[etcd]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    );
    std::fs::write(&profile, text).expect("write");
    let file = ("AWS_SHARED_CREDENTIALS_FILE", profile.display().to_string());
    let (code, output) = run(&place, vec![file.clone(), ("AWS_PROFILE", "etcd".to_owned())]).await;
    assert_eq!(code, Some(0), "profile: {output}");
    let (code, output) = run(&place, vec![file]).await;
    assert!(code == Some(3) && output.contains("InvalidAccessKeyId"), "the default profile is wrong: {output}");

    let service = Raw::start(move |head| {
        assert!(head.contains("authorization: Bearer t") || head.contains("Authorization: Bearer t"), "{head}");
        let body = format!(
            "{{\"AccessKeyId\":\"{access}\",\"SecretAccessKey\":\"{secret}\",\"Token\":\"token\",\"Expiration\":\"2100-01-01T00:00:00Z\"}}"
        );
        answer(200, "Content-Type: application/json\r\n", &body)
    })
    .await;
    let container = vec![
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", service.endpoint)),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer t".to_owned()),
    ];
    let (code, output) = run(&place, container).await;
    assert_eq!(code, Some(0), "container: {output}");
    assert_eq!(service.heads().len(), 1, "fetched once for several requests");

    let (code, output) = run(&place, Vec::new()).await;
    println!("{output}");
    assert_eq!(code, Some(3));
    for word in
        ["s3://snapshots/f/k", "AWS_ACCESS_KEY_ID is not set", "there is no credentials file", "store.s3.access_key"]
    {
        assert!(output.contains(word), "{word:?} is not in: {output}");
    }
}

/// Keys that the store calls expired are fetched anew, once, whatever they say of themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_keys_are_fetched_again() {
    let mut place = InProcess::start(support::S3Options::default()).await;
    let given = std::sync::atomic::AtomicUsize::new(0);
    let service = Raw::start(move |_| {
        let n = given.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let body = format!(
            "{{\"AccessKeyId\":\"key\",\"SecretAccessKey\":\"secret\",\"Token\":\"token-{n}\",\"Expiration\":\"2100-01-01T00:00:00Z\"}}"
        );
        answer(200, "Content-Type: application/json\r\n", &body)
    })
    .await;
    let store = Raw::start(|head| match header(head, "x-amz-security-token").as_deref() {
        Some("token-1") => answer(200, "ETag: \"e\"\r\n", ""),
        _ => answer(400, "", "<Error><Code>ExpiredToken</Code></Error>"),
    })
    .await;
    place.s3.endpoint = store.endpoint.clone();
    let container = vec![
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", service.endpoint)),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer t".to_owned()),
    ];
    let (code, output) = run(&place, container).await;
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(service.heads().len(), 2, "fetched again once");
}

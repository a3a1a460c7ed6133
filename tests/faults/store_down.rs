//! The first story: an empty host whose store cannot be read forms nothing, restores nothing, and says what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test reports")]
#![allow(clippy::print_stdout, reason = "outcomes are printed, to be read by people")]

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::support::{Fault, Lifeboat, Op, S3Options, TestCa};

type Break = fn(&mut Lab, Lifeboat) -> Lifeboat;

fn always(lab: &Lab, op: Op, fault: Fault) {
    lab.s3.faults().always(op, "", fault);
}

/// What is wrong, how it is made wrong, and what the message must name besides the store.
const CASES: &[(&str, Break, &[&str])] = &[
    (
        "refused port",
        |lab, run| {
            lab.s3.go_down();
            run
        },
        &["connect"],
    ),
    (
        "no answer",
        |lab, run| {
            always(lab, Op::Any, Fault::Hang);
            run
        },
        &["within"],
    ),
    (
        "403",
        |lab, run| {
            always(lab, Op::Any, Fault::Status(403, "AccessDenied"));
            run
        },
        &["AccessDenied"],
    ),
    (
        "500",
        |lab, run| {
            always(lab, Op::Any, Fault::Status(500, "InternalError"));
            run
        },
        &["500"],
    ),
    (
        "503",
        |lab, run| {
            always(lab, Op::Any, Fault::Status(503, "SlowDown"));
            run
        },
        &["503"],
    ),
    (
        "an error document under 200",
        |lab, run| {
            always(lab, Op::List, Fault::ErrorIn200("InternalError"));
            run
        },
        &[],
    ),
    (
        "reset",
        |lab, run| {
            always(lab, Op::Any, Fault::Reset);
            run
        },
        &[],
    ),
    (
        "a listing that breaks off",
        |lab, run| {
            always(lab, Op::List, Fault::CutBody(120));
            run
        },
        &[],
    ),
    (
        "a listing of which the second page fails",
        |lab, run| {
            lab.s3.faults().add(Op::List, "snapshots", 0, u32::MAX, Fault::Status(500, "InternalError"));
            run
        },
        &[],
    ),
    ("wrong bucket", |_, run| run.env("LIFEBOAT_STORE__S3__BUCKET", "other"), &["other", "NoSuchBucket"]),
    (
        "wrong secret key",
        |lab, run| {
            lab.write("etc/secret", "wrong");
            run
        },
        &["secret"],
    ),
];

#[test]
fn an_empty_host_without_a_store_never_forms_a_cluster() {
    for (what, break_it, names) in CASES {
        // One host that never was in a cluster, and a store that has one: the worst mix-up.
        let mut lab = Lab::new();
        let run = lab.bootstrap().arg("--deadline").arg("5s");
        let run = break_it(&mut lab, run);
        let began = Instant::now();
        let out = run.run();
        println!("P1 {what}: exit {:?} after {:.1} s: {}", out.code, began.elapsed().as_secs_f64(), out.stderr.trim());
        let out = out.exits_with(4).says(&["P1 WAIT", "not an empty store", "hint: "]).says(names);
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "{what}: the deadline of 5 s ended it after {:?}",
            began.elapsed()
        );
        assert!(
            out.stderr.contains("s3://") || out.stderr.contains(&lab.s3.endpoint()),
            "{what}: which store? {}",
            out.text()
        );
        assert!(!lab.data().exists(), "{what}: a data dir was made");
        assert_eq!(lab.s3.keys(), Vec::<String>::new(), "{what}: something was written to the store");
    }
    println!("{} ways in which the store is away: none formed a cluster", CASES.len());
}

/// Something that answers every request with these bytes and closes: a captive portal, a proxy, a truncating one.
fn answers(body: &'static str, announced: usize) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 8192];
            let _ = stream.read(&mut request);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {announced}\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    format!("http://{address}")
}

#[test]
fn what_is_no_listing_is_no_empty_listing() {
    const WHOLE: &str = r#"<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>snapshots</Name><Prefix>lab/cluster/plans/</Prefix><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"#;
    let cases = [
        ("a portal's page", "<html><body>please log in</body></html>", 39),
        ("nothing", "", 0),
        ("a listing that ends early, with the right length", &WHOLE[..150], 150),
        ("a listing that ends before IsTruncated", &WHOLE[..200], 200),
        ("a listing that is shorter than announced", WHOLE, WHOLE.len() + 10),
        ("JSON", "{}", 2),
    ];
    for (what, body, announced) in cases {
        let lab = Lab::new();
        let endpoint = answers(body, announced);
        let out =
            lab.bootstrap().arg("--deadline").arg("2s").env("LIFEBOAT_STORE__S3__ENDPOINT", endpoint.as_str()).run();
        println!("P1 {what}: {}", out.stderr.trim());
        out.exits_with(4).says(&["P1 WAIT", "s3://", "hint: "]);
        assert!(!lab.data().exists(), "{what}: a data dir was made");
    }
}

#[test]
fn a_store_with_a_certificate_of_another_ca_is_unknown() {
    let lab = Lab::with(S3Options { tls: true, ..S3Options::default() }, false);
    let other = TestCa::new("another CA");
    let out = lab
        .bootstrap()
        .arg("--deadline")
        .arg("5s")
        .env("LIFEBOAT_STORE__S3__CA_FILE", other.ca_file().display().to_string())
        .run();
    println!("{}", out.stderr.trim());
    out.exits_with(4).says(&["P1 WAIT", "certificate", "ca_file"]);
    assert!(!lab.data().exists() && lab.s3.keys().is_empty());
    // With the right one it goes on.
    lab.bootstrap().run().ok();
    assert!(lab.has_member());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_store_back_it_goes_on_by_itself_and_restores() {
    let (mut lab, dumps, _etcd) = Lab::lived(200, 1, false).await;
    lab.lose_host();
    lab.s3.go_down();
    let mut run = lab.bootstrap().arg("--deadline").arg("150s").spawn();
    run.wait_for("P1 WAIT", Duration::from_secs(60));
    assert!(!lab.has_member());
    lab.s3.go_up();
    let code = run.wait(Duration::from_secs(150));
    assert_eq!(code, Some(0), "{}", run.output());
    dumps.last().unwrap().assert_same_keys(&crate::support::dump(&lab.etcd()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_data_starts_without_the_store() {
    let (mut lab, dumps, mut etcd) = Lab::lived(100, 1, false).await;
    for what in ["refused", "hanging", "403"] {
        lab.s3.faults().clear();
        match what {
            "refused" => lab.s3.go_down(),
            "hanging" => {
                lab.s3.go_up();
                always(&lab, Op::Any, Fault::Hang)
            }
            _ => always(&lab, Op::Any, Fault::Status(403, "AccessDenied")),
        }
        let began = Instant::now();
        let out = lab.bootstrap().run().ok().says(&["D7 START"]);
        let took = began.elapsed();
        println!("D7, store {what}: {:.1} s: {}", took.as_secs_f64(), out.stderr.trim());
        assert!(took < Duration::from_secs(30), "{what}: a healthy host waited {took:?} for a store it does not need");
    }
    // Nor does a full or read-only disk of our own keep it down.
    std::fs::remove_dir_all(lab.path("boot")).unwrap();
    lab.write("boot", "a file in the way");
    lab.bootstrap().run().ok().says(&["D7 START", "warning"]);
    etcd.restart();
    dumps[0].assert_same_keys(&crate::support::dump(&etcd).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_remembers_is_never_given_an_empty_cluster() {
    let (lab, dumps, _etcd) = Lab::lived(50, 1, false).await;
    lab.lose_data();
    // (what, how, exit code, what is said)
    let run = || lab.bootstrap().arg("--deadline").arg("4s");
    let out = run().env("LIFEBOAT_STORE__S3__FOLDER", "elsewhere").run();
    println!("wrong folder: {}", out.stderr.trim());
    out.exits_with(4).says(&["P1 WAIT", "elsewhere", "hint: "]);
    assert!(!lab.has_member() && lab.keys("elsewhere").is_empty());

    // The snapshots are gone, the plan is there: refused.
    let kept: Vec<_> =
        lab.keys("lab/snapshots/").into_iter().map(|k| (k.clone(), lab.s3.object(&k).unwrap())).collect();
    for (key, _) in &kept {
        lab.s3.lose(key);
    }
    let out = run().run();
    println!("no snapshots: {}", out.stderr.trim());
    out.exits_with(3).says(&["S5 REFUSE", "--init-empty", "lifeboat ls"]);
    assert!(!lab.has_member());

    // All of it is gone, on a host that remembers: waits, and says which store forgot.
    let plans: Vec<_> = lab.keys("lab/cluster/").into_iter().map(|k| (k.clone(), lab.s3.object(&k).unwrap())).collect();
    for (key, _) in &plans {
        lab.s3.lose(key);
    }
    let out = run().run();
    println!("emptied store: {}", out.stderr.trim());
    out.exits_with(4).says(&["P1 WAIT", "hint: "]);
    assert!(!lab.has_member() && lab.s3.keys().is_empty());

    // Back, it restores.
    for (key, body) in kept.iter().chain(&plans) {
        lab.s3.plant(key, body);
    }
    lab.bootstrap().run().ok();
    dumps[0].assert_same_keys(&crate::support::dump(&lab.etcd()).await);
}

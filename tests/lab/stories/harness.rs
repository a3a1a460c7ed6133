//! The harness itself, proven: what the other stories stand on.

use std::time::Duration;

use crate::harness::{Lab, Suite};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_store_answers_hosts_and_its_clock_can_be_wrong() {
    let lab = Lab::new("harness-store");
    let host = lab.host("cp1", Suite::Bookworm);
    assert_eq!(host.settle(MINUTE), "running");
    assert!(host.ok("cat /etc/os-release").contains("bookworm"));
    let s3 = lab.s3();
    let keys = s3.keys();
    let sign = |keys: &crate::harness::Keys| {
        format!(
            "curl --silent --show-error --include --max-time 20 --aws-sigv4 aws:amz:us-east-1:s3 --user {}:{}",
            keys.access, keys.secret
        )
    };
    let object = format!("{}/snapshots/from-the-host", s3.endpoint());
    let put = host.ok(&format!("echo hello | {} --upload-file - {object}", sign(&keys)));
    assert!(put.contains(" 200 OK"), "{put}");
    assert_eq!(s3.get("from-the-host").as_deref(), Some(&b"hello\n"[..]));
    s3.put("from-the-story", b"good day");
    let got = host.ok(&format!("{} {}/snapshots/from-the-story", sign(&keys), s3.endpoint()));
    assert!(got.ends_with("good day"), "{got}");
    println!("{put}\n{got}\n{:?}", s3.list(""));
}

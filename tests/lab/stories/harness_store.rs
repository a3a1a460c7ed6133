//! The harness itself, proven: the store, its keys, its end, and its clock.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use crate::harness::{Block, Host, Keys, Lab, Output, Suite};

const MINUTE: Duration = Duration::from_secs(60);

/// A signed request from the host, with its headers in the answer.
fn curl(host: &Host, keys: &Keys, more: &str) -> Output {
    let Keys { access, secret } = keys;
    host.run(&format!(
        "curl --silent --show-error --include --max-time 5 --aws-sigv4 aws:amz:us-east-1:s3 --user {access}:{secret} {more}"
    ))
}

fn header(answer: &str, name: &str) -> Timestamp {
    let values = answer.lines().filter_map(|line| line.split_once(": "));
    let value = values.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v).next().unwrap_or_default();
    rfc2822::parse(&value.trim().replace("GMT", "+0000"))
        .unwrap_or_else(|e| panic!("{name}: {e}\n{answer}"))
        .timestamp()
}

#[test]
fn the_store_takes_and_gives_and_goes_away() {
    let lab = Lab::new("harness-store");
    let host = lab.host("cp1", Suite::Trixie);
    let s3 = lab.s3();
    let object = format!("{}/snapshots/a/b.txt", s3.endpoint());
    let old = s3.keys();
    let put = format!("--upload-file - {object} <<<hello");

    let answer = curl(&host, &old, &put);
    assert!(answer.success() && answer.stdout.contains(" 200 OK"), "{answer}");
    assert_eq!(s3.get("a/b.txt").as_deref(), Some(&b"hello\n"[..]));
    assert_eq!(s3.get("a/c.txt"), None);
    s3.put("a/c.txt", b"from outside");
    assert!(curl(&host, &old, &object.replace("b.txt", "c.txt")).stdout.ends_with("from outside"));
    assert_eq!(s3.keys_below("a/"), ["a/b.txt", "a/c.txt"]);
    s3.delete("a/c.txt");
    assert_eq!(s3.keys_below("a/"), ["a/b.txt"]);

    // Nobody without keys; and those that are revoked open nothing any more.
    assert!(host.ok(&format!("curl --silent --include {object}")).contains(" 403 "));
    let new = s3.add_keys();
    let both = curl(&host, &old, &object);
    assert!(both.stdout.contains(" 200 OK"), "both are valid: {both}");
    s3.revoke_old_keys();
    assert!(curl(&host, &old, &object).stdout.contains(" 403 "), "the old one is refused");
    assert!(curl(&host, &new, &object).stdout.ends_with("hello\n"), "the data is still there");

    // Four ways to be away; curl tells them apart.
    s3.stop();
    assert_eq!(curl(&host, &new, &object).code, Some(7), "connection refused");
    s3.start_again();
    s3.freeze();
    assert_eq!(curl(&host, &new, &object).code, Some(28), "connected, and no answer");
    s3.thaw();
    lab.block(&host, "10.98.0.100", Block::Drop);
    assert_eq!(curl(&host, &new, &object).code, Some(28), "no connection");
    lab.unblock(&host);
    lab.block(&host, "10.98.0.100", Block::Reject);
    assert_eq!(curl(&host, &new, &object).code, Some(7), "refused by the network");
    lab.unblock(&host);
    lab.cut_s3();
    assert!([Some(7), Some(28)].contains(&curl(&host, &new, &object).code), "its cable is out");
    lab.heal_s3();
    host.wait_for("the store to be back", MINUTE, |host| {
        curl(host, &new, &object).stdout.ends_with("hello\n").then_some(())
    });
}

#[test]
fn the_stores_clock_can_be_wrong() {
    let lab = Lab::new("harness-clock");
    let host = lab.host("cp1", Suite::Bookworm);
    let s3 = lab.s3();
    let keys = s3.keys();
    let object = format!("{}/snapshots/dated", s3.clock().endpoint());
    assert!(curl(&host, &keys, &format!("--upload-file - {object} <<<hello")).stdout.contains(" 200 OK"));

    for hours in [0, 1, -24 * 365 * 3] {
        s3.clock().shift(hours * 3600);
        let answer = curl(&host, &keys, &object).stdout;
        assert!(answer.ends_with("hello\n"), "{answer}");
        for name in ["Date", "Last-Modified"] {
            let off = header(&answer, name).duration_since(Timestamp::now()).as_secs() - hours * 3600;
            assert!((-60..60).contains(&off), "{name} is off by {off} s more than by {hours} h\n{answer}");
        }
        let listing = curl(&host, &keys, &format!("{}/snapshots?list-type=2", s3.clock().endpoint())).stdout;
        let stamp = listing.split("<LastModified>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default();
        let stamp: Timestamp = stamp.parse().unwrap_or_else(|e| panic!("{e}\n{listing}"));
        let off = stamp.duration_since(Timestamp::now()).as_secs() - hours * 3600;
        assert!((-60..60).contains(&off), "the listing is off by {off} s\n{listing}");
    }

    // A server with a wrong clock usually does not take such requests at all.
    s3.clock().refuse_skewed(true);
    let refused = curl(&host, &keys, &object).stdout;
    assert!(refused.contains(" 403 ") && refused.contains("<Code>RequestTimeTooSkewed</Code>"), "{refused}");
    s3.clock().shift(60);
    assert!(curl(&host, &keys, &object).stdout.contains(" 200 OK"), "a minute is not too much");
}

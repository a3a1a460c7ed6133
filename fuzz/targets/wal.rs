//! A segment of a write-ahead log, and the small messages that etcd stores: members, alarms, key values, revisions, URLs.

use etcd_lifeboat::datadir::buckets::{Alarm, KeyValue, RevisionKey, StoredMember};
use etcd_lifeboat::datadir::protobuf::{Message, fields};
use etcd_lifeboat::datadir::urls::{find_me, normalize, parse_initial_cluster, peer_url};
use etcd_lifeboat::datadir::wal::inspect_bytes;
use etcd_lifeboat::error::Kind;

pub fn run(data: &[u8]) -> bool {
    match data {
        [0, raw @ ..] => segment(raw),
        [1, parts @ ..] => segment(&log(parts)),
        [2, message @ ..] => messages(message),
        [_, text @ ..] => urls(&String::from_utf8_lossy(text)),
        [] => false,
    }
}

fn segment(bytes: &[u8]) -> bool {
    match inspect_bytes(bytes) {
        Ok(info) if !info.torn => {
            // etcd reserves what follows the last record, as zeros.
            let mut reserved = bytes.to_vec();
            reserved.resize(bytes.len() + 64, 0);
            assert_eq!(inspect_bytes(&reserved).ok(), Some(info));
            true
        }
        Ok(_) => true,
        Err(e) => {
            assert_eq!(e.kind(), Kind::Verification, "{e:?}");
            false
        }
    }
}

/// A log with the right frames and checksums around parts of the input: `kind, length, data` each.
pub(super) fn log(mut parts: &[u8]) -> Vec<u8> {
    let (mut out, mut crc) = (Vec::new(), 0);
    while let [kind, len, rest @ ..] = parts {
        let (data, later) = rest.split_at(usize::from(*len).min(rest.len()));
        parts = later;
        let kind = u64::from(*kind % 8);
        let mut record = Message::new().number(1, kind);
        if kind == 4 {
            record = record.number(2, u64::from(crc));
        } else {
            crc = crc32c::crc32c_append(crc, data);
            record = record.number(2, u64::from(crc)).bytes(3, data);
        }
        let record = record.encode();
        let padding = (8 - record.len() % 8) % 8;
        let flag = if padding == 0 { 0 } else { (0x80 | padding as u64) << 56 };
        out.extend((record.len() as u64 | flag).to_le_bytes());
        out.extend(record);
        out.resize(out.len() + padding, 0);
    }
    out
}

fn messages(bytes: &[u8]) -> bool {
    assert!(fields(bytes).take(bytes.len() + 2).count() <= bytes.len() + 1, "fields without end");
    let mut accepted = KeyValue::decode(bytes).is_ok();
    if let Ok(member) = StoredMember::decode(bytes) {
        accepted = true;
        assert_eq!(StoredMember::decode(&member.encode()).ok(), Some(member));
    }
    if let Ok(alarm) = Alarm::decode(bytes) {
        accepted = true;
        assert_eq!(Alarm::decode(&alarm.encode()).ok(), Some(alarm));
    }
    if let Some(revision) = RevisionKey::decode(bytes) {
        assert_eq!(revision.encode(), bytes);
    }
    accepted
}

fn urls(text: &str) -> bool {
    if let Ok(url) = peer_url(text) {
        assert_eq!(peer_url(&url).ok(), Some(url.clone()), "{text:?}");
    }
    let Ok(members) = parse_initial_cluster(text) else { return false };
    assert_eq!(normalize(members.clone()).ok().as_ref(), Some(&members), "{text:?}");
    for m in &members {
        assert!(find_me(&members, &m.name, None).is_ok(), "{} is not found among {members:?}", m.name);
    }
    true
}

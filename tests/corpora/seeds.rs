//! Where the corpora begin: one small, accepted input for each thing that a target can take.

use std::fs::File;
use std::path::Path;

use etcd_lifeboat::bolt::editor::{Edit, Items, apply, create};
use etcd_lifeboat::codec::encode;
use etcd_lifeboat::core::model::{Compression, MemberId};
use etcd_lifeboat::datadir::buckets::{Alarm, AlarmKind, RevisionKey, StoredMember};
use etcd_lifeboat::datadir::protobuf::Message;
use etcd_lifeboat::datadir::restore::{InitialMember, RestoreSpec, build_empty};
use etcd_lifeboat::datadir::wal::first_segment_name;

use super::texts::{CONFIGURATIONS, DOCUMENTS, RECORDS};

/// Target, name and input.
type Seed = (&'static str, String, Vec<u8>);

pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add =
        |target, name: &str, head: &[u8], rest: &[u8]| seeds.push((target, name.to_owned(), [head, rest].concat()));
    let etcds = std::fs::read("tests/fixtures/formats/etcd-3.5.30.db").unwrap();
    let etcds = &etcds[..etcds.len() - 32];
    // `kind, length, data` of each record, as the target `wal` takes them: crc, metadata, snapshot, entry, state.
    let ids = Message::new().number(1, 5).number(2, 7).encode();
    let state = Message::new().number(1, 2).number(2, 5).number(3, 9).encode();
    let mut log = vec![4, 0];
    for (kind, data) in [(1, &ids), (5, &Vec::new()), (2, &state), (3, &state)] {
        log.extend([kind, data.len() as u8]);
        log.extend(data);
    }

    for (name, image) in [("etcd", etcds), ("small", &image(3, 40)), ("deep", &image(24, 300))] {
        add("bolt", name, &[0], image);
        add("bolt", &format!("{name}-pieces"), &[41 << 1], image);
        for what in 0..9 {
            if name == "small" || what == 0 {
                add("editor", &format!("{name}-{what}"), &[30, 20, what], image);
            }
        }
        add("datadir", name, &[&[log.len() as u8], log.as_slice()].concat(), image);
    }

    add("wal", "log", &[1], &log);
    add("wal", "restored", &[0], &restored_log());
    let member = StoredMember {
        id: MemberId(u64::MAX),
        peer_urls: vec!["http://10.0.0.1:2380".into()],
        is_learner: true,
        name: "a<b".into(),
        client_urls: vec!["http://10.0.0.1:2379".into()],
    };
    let put = Message::new().bytes(1, b"key").number(2, 3).number(3, 4).number(4, 2).bytes(5, b"value").number(6, 9);
    add("wal", "key-value", &[2], &put.encode());
    add("wal", "alarm", &[2], &Alarm { member_id: MemberId(1), kind: AlarmKind::NoSpace }.encode());
    add("wal", "member", &[2], &member.encode());
    add("wal", "initial-cluster", &[3], b"a=http://10.0.0.1:2380,a=https://[::1]:2380,b=http://b.example:2380");

    for (what, name, body) in RECORDS {
        let body = body.replace("SHA", &"0a".repeat(32)).replace("NONCE", &"0b".repeat(16));
        add("records", name, &[*what, 3], body.as_bytes());
    }
    let shipped = std::fs::read_to_string("config/lifeboat.toml").unwrap();
    add("config", "shipped", &[1], shipped.as_bytes());
    // Every default of the shipped file, set.
    let key = |line: &&str| {
        line.starts_with("[[") || line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(" = ")
    };
    let set = |line: &str| line.strip_prefix("#").filter(key).unwrap_or(line).to_owned();
    let defaults = shipped.lines().map(set).collect::<Vec<_>>().join("\n").replace("\nname = \"\"", "\nname = \"a\"");
    add("config", "defaults", &[1], defaults.as_bytes());
    for (what, name, text) in CONFIGURATIONS {
        add("config", name, &[*what], text.as_bytes());
    }

    let raw: Vec<u8> = (0..600u32).flat_map(|i| (i * i / 7).to_le_bytes()).collect();
    for (what, compression) in [Compression::Gzip, Compression::Zstd, Compression::None].into_iter().enumerate() {
        let stored = encode(compression, &raw).unwrap();
        add("codec", &compression.to_string(), &[what as u8, 255, 7], &stored);
        add("codec", &format!("{compression}-twice"), &[what as u8, 255, 250], &[stored.as_slice(), &stored].concat());
    }
    for (name, text) in DOCUMENTS {
        add("xml", name, &[], text.as_bytes());
    }
    seeds
}

/// An image with etcd's buckets, in pages of 1 KiB.
fn image(keys: i64, len: usize) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    create(&file, &path, 1024).unwrap();
    let revision = |main| RevisionKey { main, sub: 0, tombstone: false }.encode();
    let put = |n: i64| {
        let n = n.cast_unsigned();
        Message::new().bytes(1, b"k").number(2, n).number(3, n).number(4, 1).bytes(5, &vec![7; len]).encode()
    };
    let member = br#"{"id":5,"peerURLs":["http://h:2380"],"name":"a","clientURLs":["http://h:2379"]}"#;
    let mut edit = Edit::default();
    edit.append(b"key", (2..keys + 2).map(|n| (revision(n), put(n))).collect());
    let meta = [
        (b"consistent_index".to_vec(), 9u64.to_be_bytes().to_vec()),
        (b"finishedCompactRev".to_vec(), revision(2)),
        (b"storageVersion".to_vec(), b"3.6.0".to_vec()),
    ];
    edit.replace(b"meta", Items::from(meta));
    edit.replace(b"members", Items::from([(b"0000000000000005".to_vec(), member.to_vec())]));
    edit.replace(b"auth", Items::from([(b"authEnabled".to_vec(), vec![1])]));
    let alarm = Alarm { member_id: MemberId(5), kind: AlarmKind::NoSpace }.encode();
    edit.replace(b"alarm", Items::from([(alarm, Vec::new())]));
    edit.replace(b"cluster", Items::from([(b"clusterVersion".to_vec(), b"3.6.0".to_vec())]));
    apply(&file, Path::new("db"), &edit).unwrap();
    std::fs::read(&path).unwrap()
}

/// The beginning of the log that a restore writes.
fn restored_log() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let staging = dir.path().join("lifeboat-staging-1");
    let members = vec![InitialMember { name: "a".into(), peer_urls: vec!["http://10.0.0.1:2380".into()] }];
    let spec = RestoreSpec { me: "a".into(), token: "t".into(), members, ..RestoreSpec::default() };
    build_empty(&staging, &spec).unwrap();
    std::fs::read(staging.join("member/wal").join(first_segment_name())).unwrap()[..512].to_vec()
}

//! Signed records: what was signed by us opens to the same value again, whatever it holds; what was changed does not.

use std::sync::LazyLock;

use etcd_lifeboat::catalog::attached::{Hold, Verification};
use etcd_lifeboat::catalog::presence::{Heartbeat, Presence};
use etcd_lifeboat::core::manifest::{Manifest, SNAPSHOTS};
use etcd_lifeboat::core::model::{ClusterName, Generation};
use etcd_lifeboat::core::plan::{PersonsWord, Plan, StartedMark, VotersRecord};
use etcd_lifeboat::core::record::{self, RecordKind};
use etcd_lifeboat::core::voters::{same, to_record};
use etcd_lifeboat::crypto::{Keyring, Token};
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

static KEYRING: LazyLock<Keyring> =
    LazyLock::new(|| Keyring::new(Token::new(&SecretString::from("a token of the fuzzer")).expect("long enough")));
static CLUSTER: LazyLock<ClusterName> = LazyLock::new(|| ClusterName::new("fuzz").expect("a name"));
const KEY: &str = "cluster/x.json";

pub fn run(data: &[u8]) -> bool {
    let [what, at, rest @ ..] = data else { return false };
    match what % 10 {
        0 => one::<Manifest>(RecordKind::Manifest, *at, rest, |m| {
            if m.check().is_ok() {
                let key = m.payload_key();
                let file = key.strip_prefix(SNAPSHOTS).expect("below the folder of snapshots");
                assert!(!file.contains('/') && !file.starts_with('.'), "{key}");
            }
        }),
        1 => one::<Plan>(RecordKind::Plan, *at, rest, |p| {
            assert!(p.voters.iter().all(|v| p.lists(&v.name, &v.peer_urls)), "a plan does not list its voters");
        }),
        2 => one::<StartedMark>(RecordKind::Started, *at, rest, |_| ()),
        3 => one::<VotersRecord>(RecordKind::Voters, *at, rest, |r| {
            let records = [r.clone()];
            assert!(same(&r.voters, &r.voters));
            // What is in force already is confirmed, or needs no note.
            let note = to_record(&[], &records, &r.voters);
            assert!(note.is_none_or(|n| n.confirmed && !r.confirmed && n.number >= r.number));
        }),
        4 => one::<PersonsWord>(RecordKind::Lost, *at, rest, |_| ()),
        5 => one::<Presence>(RecordKind::RollCall, *at, rest, |_| ()),
        6 => one::<Heartbeat>(RecordKind::Heartbeat, *at, rest, |_| ()),
        7 => one::<Hold>(RecordKind::Hold, *at, rest, |_| ()),
        8 => one::<Verification>(RecordKind::Verified, *at, rest, |_| ()),
        _ => foreign(rest),
    }
}

/// `body` as a body that we have signed.
fn one<T: Serialize + DeserializeOwned>(kind: RecordKind, at: u8, body: &[u8], look: impl Fn(&T)) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return foreign(body) };
    let generation = Generation(u64::from(at));
    let Ok(sealed) = KEYRING.seal(kind, KEY, &CLUSTER, generation, &value) else { return false };
    let Ok((found, opened)) = KEYRING.open::<T>(kind, KEY, &CLUSTER, &sealed) else { return false };
    assert_eq!(opened, generation);
    look(&found);
    let again = KEYRING.seal(kind, KEY, &CLUSTER, generation, &found).expect("it was opened");
    let (second, _) = KEYRING.open::<T>(kind, KEY, &CLUSTER, &again).expect("it was sealed");
    let json = |v: &T| serde_json::to_value(v).expect("it was sealed");
    assert_eq!(json(&found), json(&second));

    assert!(KEYRING.open::<T>(kind, "cluster/y.json", &CLUSTER, &sealed).is_err(), "moved");
    let mut changed = sealed.clone();
    let place = (usize::from(at) * 37 + body.len()) % changed.len();
    changed[place] ^= 1 << (at % 8);
    if let Ok((other, generation)) = KEYRING.open::<T>(kind, KEY, &CLUSTER, &changed) {
        assert_eq!((json(&other), generation), (json(&found), opened), "byte {place} changed a signed record");
    }
    true
}

/// Bytes that nobody signed.
fn foreign(bytes: &[u8]) -> bool {
    let mut understood = false;
    for kind in [RecordKind::Manifest, RecordKind::Plan] {
        understood |= record::parse(kind, KEY, &CLUSTER, bytes).is_ok();
        assert!(KEYRING.open::<Value>(kind, KEY, &CLUSTER, bytes).is_err(), "a record that nobody signed");
    }
    understood
}

//! What programs read: the JSON of each report, and that `get` yields what `etcdctl snapshot save` would have written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::host::{Host, etcdutl, int, string, text};
use crate::support::{ETCD_LATEST, ETCD_VERSIONS, Fill, dump};

/// Field and type of each, as documented: `text`, `int`, `number`, `bool`, `list`, `map`, `null`, alternatives with `|`.
#[track_caller]
fn shape(what: &str, value: &Value, fields: &[(&str, &str)]) {
    let map = value.as_object().unwrap_or_else(|| panic!("{what} is no object: {value}"));
    let kind = |v: &Value| match v {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "int",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    };
    for (field, types) in fields {
        let found = map.get(*field).map_or("missing", kind);
        assert!(types.split('|').any(|t| t == found), "{what}.{field} is {found}, not {types}: {value}");
    }
    let unknown: Vec<_> = map.keys().filter(|k| !fields.iter().any(|(f, _)| f == k)).collect();
    assert!(unknown.is_empty(), "{what} has fields that this table does not know: {unknown:?}");
}

const MANIFEST: &[(&str, &str)] = &[
    ("name", "text"),
    ("kind", "text"),
    ("origin", "text"),
    ("generation", "int"),
    ("cluster_id", "text"),
    ("member_id", "text"),
    ("node", "text"),
    ("etcd_version", "text"),
    ("storage_version", "text|missing"),
    ("revision", "int"),
    ("compact_revision", "int|missing"),
    ("raw", "map"),
    ("stored", "map"),
    ("compression", "text"),
    ("encryption", "list"),
    ("started", "text"),
    ("ended", "text"),
    ("quorum", "bool"),
    ("hash_kv", "map|missing"),
    ("tags", "map"),
    ("token_fingerprint", "text"),
    ("auth", "bool"),
    ("alarms", "list"),
    ("voters", "list"),
];

const ROW: &[(&str, &str)] = &[
    ("name", "text"),
    ("place", "text"),
    ("status", "text"),
    ("usable", "bool"),
    ("held", "bool"),
    ("origin", "text"),
    ("generation", "int"),
    ("revision", "int"),
    ("node", "text"),
    ("started", "text"),
    ("stored_size", "int"),
    ("raw_size", "int"),
    ("etcd_version", "text"),
    ("quorum", "bool"),
];

const VERIFY: &[(&str, &str)] = &[
    ("name", "text"),
    ("ok", "bool"),
    ("problem", "text|null"),
    ("revision", "int|null"),
    ("keys", "int|null"),
    ("hash_kv", "map|null"),
    ("stored_size", "int"),
    ("raw_size", "int"),
    ("recorded", "bool"),
];

#[tokio::test(flavor = "multi_thread")]
async fn reports_for_programs_have_their_documented_shapes() {
    let host = Host::new(ETCD_LATEST, "shapes").await;
    let report = host.bootstrap();
    shape("bootstrap", &report, &[("outcome", "text"), ("verdict", "map"), ("facts", "map"), ("done", "list")]);
    let verdict = [
        ("rule", "text"),
        ("decision", "map"),
        ("because", "text"),
        ("hint", "text|missing"),
        ("notes", "list|missing"),
    ];
    shape("bootstrap.verdict", &report["verdict"], &verdict);
    assert_eq!(report["verdict"]["decision"]["do"], "start");

    let etcd = host.start_gated();
    Fill::small(300).run(&etcd).await;
    let before = dump(&etcd).await;
    let save = host.json(&["save", "--name", "shape"]);
    let fields = [
        ("manifest", "map"),
        ("shipped", "bool"),
        ("payload", "text"),
        ("not_shipped", "null"),
        ("warnings", "list"),
        ("seconds", "number"),
    ];
    shape("save", &save, &fields);
    let m = &save["manifest"];
    shape("save.manifest", m, MANIFEST);
    for content in ["raw", "stored"] {
        shape(content, &m[content], &[("size", "int"), ("sha256", "text")]);
    }
    assert_eq!(
        (&m["origin"], &m["compression"], &m["kind"]),
        (&"on-demand".into(), &"gzip".into(), &"snapshot".into())
    );
    assert_eq!((int(&m["revision"]), &m["quorum"], &m["node"]), (before.revision, &true.into(), &"cp1".into()));
    assert_eq!(m["voters"][0]["name"], "cp1");
    let payload = fs::read(string(&save["payload"])).unwrap();
    assert_eq!((payload.len() as i64, hex::encode(Sha256::digest(&payload))), {
        (int(&m["stored"]["size"]), string(&m["stored"]["sha256"]))
    });
    let name = string(&m["name"]);

    let waits = host.json(&["save", "--name", "waits", "--no-ship"]);
    assert_eq!(waits["shipped"], false);
    let ls = host.json(&["ls"]);
    shape(
        "ls",
        &ls,
        &[("rows", "list"), ("uncommitted", "int"), ("foreign", "int"), ("problems", "list"), ("hints", "list")],
    );
    let rows = ls["rows"].as_array().unwrap();
    rows.iter().for_each(|row| shape("ls.rows", row, ROW));
    let seen: Vec<_> = rows.iter().map(|r| (string(&r["name"]), string(&r["place"]), string(&r["status"]))).collect();
    let waiting = string(&waits["manifest"]["name"]);
    assert_eq!(
        seen,
        [
            (name.clone(), "both".to_owned(), "ok".to_owned()),
            (waiting.clone(), "spool".to_owned(), "waits to be shipped".to_owned())
        ]
    );
    assert_eq!((rows[0]["usable"].clone(), rows[1]["usable"].clone()), (true.into(), false.into()));
    assert_eq!(host.rows(&["--remote"]).len(), 1);
    assert_eq!(host.rows(&["--local"]).len(), 2);

    let verify = host.json(&["verify", &name]);
    shape("verify", &verify, VERIFY);
    assert_eq!(
        (verify["ok"].clone(), int(&verify["keys"]), int(&verify["revision"])),
        (true.into(), 300, before.revision)
    );
    assert_eq!((verify["recorded"].clone(), string(&host.rows(&["--remote"])[0]["status"])), {
        (true.into(), "verified".to_owned())
    });

    // A snapshot that is not what its manifest says: exit code 5, and the report says so, too.
    let key = format!("{}/snapshots/{name}.db.gz", host.folder);
    let bucket = host.store.plain();
    let mut body = bucket.get_object(&key).await.unwrap().to_vec();
    body[100] ^= 1;
    bucket.put_object(&key, &body).await.unwrap();
    let damaged = host.run(&["verify", &name, "-o", "json"]).exits_with(5).json();
    shape("verify of damage", &damaged, VERIFY);
    assert_eq!(damaged["ok"], false);
    assert!(string(&damaged["problem"]).contains(&name) || string(&damaged["problem"]).contains("sha256"), "{damaged}");
    let rows = host.rows(&["--remote"]);
    assert!(string(&rows[0]["status"]).starts_with("damaged") && rows[0]["usable"] == false, "{rows:?}");

    // Not our objects, and half an upload.
    bucket.put_object(format!("{}/snapshots/holiday.jpg", host.folder), b"x").await.unwrap();
    bucket.put_object(format!("{}/snapshots/broken-2024-01-15T10-30-00Z.db.gz", host.folder), b"x").await.unwrap();
    let ls = host.json(&["ls", "--remote"]);
    assert_eq!((&ls["foreign"], &ls["uncommitted"]), (&1.into(), &1.into()), "{ls}");
    let deleted = host.json(&["delete", &name, "--yes"]);
    assert_eq!(deleted[0]["name"], name.as_str());
    assert!(host.rows(&["--remote"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_get_yields_is_what_etcdctl_would_have_saved() {
    for version in ETCD_VERSIONS {
        let host = Host::new(version, &format!("get-{version}")).await;
        let etcd = host.start_etcd();
        Fill { keys: 800, large: 1, compact: true, seed: 3 }.run(&etcd).await;
        let name = string(&host.save("same")["name"]);
        let theirs = host.path("theirs.db");
        etcd.etcdctl(&["snapshot", "save", &text(&theirs)]);
        let ours = host.path("ours.db");
        let got = host.json(&["get", &name, "--file", &text(&ours)]);
        shape("get", &got, &[("name", "text"), ("file", "text"), ("size", "int"), ("sha256", "text")]);
        let bytes = fs::read(&ours).unwrap();
        assert_eq!(int(&got["size"]), bytes.len() as i64);
        assert_eq!(string(&got["sha256"]), hex::encode(Sha256::digest(&bytes)));
        // It is there now: never replaced.
        host.run(&["get", &name, "--file", &text(&ours)]).exits_with(3);

        let status = |file: &std::path::Path| -> Value {
            serde_json::from_str(&etcdutl(&["snapshot", "status", &text(file), "-w", "json"])).unwrap()
        };
        let (a, b) = (status(&ours), status(&theirs));
        for field in ["hash", "revision", "totalKey", "totalSize"] {
            assert!(a[field].is_number(), "{a}");
            assert_eq!(a[field], b[field], "{version} {field}");
        }
        let seen = host.json(&["inspect", &text(&ours)]);
        assert_eq!(seen["status_hash"], a["hash"], "{version}");
        assert_eq!(seen["revision"], a["revision"], "{version}");
        assert_eq!(seen["total_keys"], a["totalKey"], "{version}");
        assert_eq!((&seen["live_keys"], &seen["trailer_ok"]), (&800.into(), &true.into()), "{version}");
        // The server's own hash of the same revision.
        let hash = etcd.client().await.hash_kv(int(&seen["revision"])).await.unwrap();
        assert_eq!(int(&seen["hash_kv"]["hash"]), i64::from(hash.hash()), "{version}");
        assert_eq!(int(&seen["hash_kv"]["compact_revision"]), hash.compact_version(), "{version}");
    }
}

//! What is wrong in a configuration, and what is said about it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

/// Configurations that are wrong, and what must be said. Each needle must be in message or hint.
#[test]
fn mistakes_are_named() {
    let s3 = "[store]\nbackend = \"s3\"\n[store.s3]\nendpoint = \"h\"\nbucket = \"bbb\"\n";
    let cases: [(&str, &[&str]); 44] = [
        (
            "[store.s3]\nbuckett = \"b\"",
            &["lifeboat.toml:6:1", "unknown key \"buckett\" in [store.s3]", "^^^^^^^", "did you mean \"bucket\""],
        ),
        ("[bootstrap]\nbucket = \"b\"", &["unknown key \"bucket\" in [bootstrap]", "store.s3.bucket"]),
        ("[retention]\nkeep_last = 1", &["lifeboat.toml:5:2", "unknown key \"retention\""]),
        (
            "[etcd]\ndata_dir = 5",
            &["lifeboat.toml:6:12", "etcd.data_dir: expected a text", "found a whole number", "data_dir = 5"],
        ),
        ("[etcd]\ndata_dir = \"etcd\"", &["not an absolute path"]),
        ("[etcd]\ndata_dir = \"\"", &["may not be empty"]),
        ("[etcd]\nmanaged_by = \"rancher\"", &["none of \"systemd\", \"kubeadm\", \"k3s\" or \"rke2\""]),
        ("[etcd]\nunit = \"etcd\"", &["etcd.unit", "\"etcd\"", "must end in \".service\""]),
        ("[etcd]\nunit = \"/etc/systemd/system/etcd.service\"", &["etcd.unit", "is a path"]),
        ("[etcd]\nunit = \"etcd@.service\"", &["etcd.unit", "template", "etcd@cp1.service"]),
        ("[etcd]\nunit = \"et cd.service\"", &["etcd.unit", "' '"]),
        ("[etcd]\nunit = \"lifeboat.service\"", &["etcd.unit", "unit of ours", "\"etcd.service\""]),
        ("[etcd]\nendpoint = \"10.0.0.1:2379\"", &["etcd.endpoint", "http"]),
        ("[etcd]\nendpoint = \"https://h\"", &["etcd.endpoint", "has no port"]),
        ("[etcd]\nendpoint = \"https://CP1:2379\"", &["plain form: lower-case"]),
        ("[etcd]\nendpoint = \"https://u:hunter2@h:1\"", &["etcd.endpoint: a user or password inside a URL"]),
        (
            "[etcd]\nendpoint = \"https://h:1\"\ncert_file = \"/c\"",
            &["etcd.cert_file", "lifeboat.toml:7", "etcd.key_file is not set"],
        ),
        ("[etcd]\nca_file = \"/c\"", &["plain http, but etcd.ca_file is set"]),
        ("[etcd]\nusername = \"root\"", &["etcd.password_file is not set"]),
        ("[etcd]\nusername = \"u\"\npassword_file = \"p\"", &["not an absolute path", "credentials directory"]),
        ("[bootstrap]\npeer_wait = 120", &["lifeboat.toml:6:13", "needs a unit"]),
        ("[bootstrap]\npeer_wait = \"2 parsecs\"", &["not a length of time"]),
        ("[bootstrap]\npeer_wait = \"-2m\"", &["negative"]),
        ("[bootstrap]\nfallback = -1", &["whole number from 0"]),
        ("[bootstrap]\nseed = \"cp9\"", &["\"cp9\" is not in cluster.members"]),
        ("[bootstrap]\nautorestore = \"yes\"", &["expected true or false, found a text"]),
        ("[bootstrap]\nsnapshot = \"../x\"", &["bootstrap.snapshot", "not valid"]),
        ("[node]\nname = \"cp2\"", &["lifeboat.toml:6", "\"cp2\", but cluster.members has \"cp1\"", "set node.name"]),
        ("[[schedule]]\ncron = \"0 0 31 2 *\"", &["never fires"]),
        ("[[schedule]]\ncron = \"* * * *\"", &["4 fields", "lifeboat.toml:6:8"]),
        ("[[schedule]]\ncron = \"* * * * *\"\njitter = \"60s\"", &["jitter", "not shorter than the 60s"]),
        ("[[schedule]]\ntimezone = \"Europe/Brelin\"", &["time zone \"Europe/Brelin\" is not known"]),
        ("[[schedule]]\nname = \"a/b\"", &["snapshot name", "not allowed"]),
        ("[[schedule]]\n[[schedule]]", &["second [[schedule]] named \"etcd-snapshot\"", "lifeboat.toml:5"]),
        ("[store]\ns3 = \"x\"", &["store.s3 is a section", "[store.s3]"]),
        ("[store]\nbackend = \"gcs\"", &["none of \"s3\" or \"dir\""]),
        ("[store]\nbackend = \"s3\"", &["2 problems", "store.s3.endpoint", "store.s3.bucket"]),
        ("[store.s3]\nbucket = \"b\"", &["[store.s3] is filled in", "backend = \"s3\""]),
        (&format!("{s3}folder = \"a//b\""), &["store.s3.folder"]),
        (
            &format!("{s3}insecure = true\naccess_key = \"hunter2\""),
            &["store.s3.secret_key", "it is not set, but access_key is"],
        ),
        (&format!("{s3}secret_key = \"hunter2\"\nsecret_key_file = \"/f\""), &["store.s3.secret_key is set as well"]),
        (
            "[store]\nbackend = \"s3\"\n[store.s3]\nendpoint = \"http://h\"\nbucket = \"bbb\"",
            &["in the clear", "insecure = true"],
        ),
        (
            "[store]\nbackend = \"s3\"\n[store.s3]\nendpoint = \"s3.eu-west-2.amazonaws.com\"\nbucket = \"bbb\"",
            &["that of eu-west-2", "region = \"eu-west-2\""],
        ),
        ("[log\nlevel = 1", &["lifeboat.toml:5:5", "not valid TOML"]),
    ];
    for (more, needles) in cases {
        let text = failure(&format!("{MINIMAL}{more}\n"), &[], &[]);
        for needle in needles {
            assert!(text.contains(needle), "{needle:?} is not in\n{text}\nof\n{more}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn members_are_compared() {
    let text = failure(
        r#"
[cluster]
name = "x"
members = [
  { name = "cp1", peer_urls = ["https://a:2380"], client_urls = ["https://a:2379"] },
  { name = "cp1", peer_urls = ["https://b:2380"], client_urls = ["https://a:2379"] },
]
"#,
        &[],
        &[],
    );
    assert!(text.starts_with("2 problems"), "{text}");
    assert!(text.contains("lifeboat.toml:6: cluster.members[1]: a second member named \"cp1\""), "{text}");
    assert!(text.contains("https://a:2379 in client_urls of cp1 is also in client_urls of cp1"), "{text}");
    let text = failure("[cluster]\nname = \"x\"\nmembers = [{ name = \"cp1\" }]", &[], &[]);
    assert!(text.contains("no peer_urls") && text.contains("no client_urls"), "{text}");
}

#[test]
fn all_problems_of_all_sources_are_reported_at_once() {
    let main = format!("{MINIMAL}[log]\nlevel = \"loud\"\nlvel = 1\n");
    let text = failure(
        &main,
        &[("a.toml", "[stor]\n"), ("b.toml", "x = [\n")],
        &[("LIFEBOAT_STORE_S3_BUCKET", "b"), ("LIFEBOAT_BOOTSTRAP__FALLBACK", "many"), ("LIFEBOAT_SCHEDULE", "[]")],
    );
    assert!(text.starts_with("7 problems"), "{text}");
    for needle in [
        "lifeboat.toml:6:9: log.level",
        "lifeboat.toml:7:1: unknown key \"lvel\"",
        "did you mean \"level\"?",
        "conf.d/a.toml:1:2",
        "did you mean \"store\"?",
        "conf.d/b.toml:",
        "LIFEBOAT_STORE__S3__BUCKET?",
        "environment variable LIFEBOAT_BOOTSTRAP__FALLBACK: bootstrap.fallback: expected a whole number",
        "a list can be set in a file only",
        "lifeboat config check",
    ] {
        assert!(text.contains(needle), "{needle:?} is not in\n{text}");
    }
}

#[test]
fn a_file_with_a_secret_is_closed_to_others() {
    let dir = files(&format!("{MINIMAL}[store.s3]\nsecret_key = \"hunter2\"\n"), &[]);
    fs::set_permissions(dir.path().join("lifeboat.toml"), Permissions::from_mode(0o644)).unwrap();
    let e = load_from(&dir, &[]).unwrap_err();
    assert!(e.message().contains("store.s3.secret_key") && e.message().contains("mode 0644"), "{e}");
    assert!(e.hint_text().unwrap().starts_with("chmod o-rwx"), "{e}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let missing = load_on(Some(Path::new("/does/not/exist.toml")), std::iter::empty(), "cp1").unwrap_err();
    assert!(missing.one_line().contains("/does/not/exist.toml") && missing.hint_text().is_some(), "{missing:?}");
    let dir = files("", &[]);
    fs::write(dir.path().join("lifeboat.toml"), b"a = 1\nb = \"hunter2\xff\"").unwrap();
    let e = load_from(&dir, &[]).unwrap_err();
    assert!(e.message().contains("lifeboat.toml:2: the file is not UTF-8"), "{e}");
    assert!(!format!("{e:?}").contains("hunter2"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever is done to the shipped file, it is answered, and a secret in it never shows.
    #[test]
    fn a_mangled_file_is_answered_without_its_secret(at in 0usize..9000, cut in 0usize..60, junk in "[\\[\\]{}=\"'\n\\\\a#,.\u{e9}]{0,6}") {
        let text = shipped().replace("#secret_key = \"\"", "secret_key = \"hunter2\"").replace("\n#", "\n");
        let floor = |n: usize| (0..=n.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap();
        let (from, to) = (floor(at), floor(at + cut));
        let mangled = format!("{}{junk}{}", &text[..from], &text[to..]);
        let mut problems = Vec::new();
        walk::walk("f", &mangled, &mut problems);
        for p in problems {
            prop_assert!(!p.to_string().contains("hunter2"), "{}", p);
        }
    }
}

//! Files that the agent is handed as credentials.

use super::*;
use crate::setup::named_files;

const S3: &str = "store.backend = \"s3\"\nstore.s3.endpoint = \"h\"\nstore.s3.bucket = \"bbb\"\n";

const TLS: &str = "etcd.endpoint = \"https://h:1\"\netcd.ca_file = \"/pki/ca.crt\"\netcd.cert_file = \"/pki/c.crt\"\netcd.key_file = \"/pki/c.key\"\n";

#[test]
fn the_agent_is_handed_every_file_that_is_named() {
    let mut here = disk();
    here.files.extend(["/s/access", "/s/secret", "/s/ca.pem", "/s/pw", "/pki/ca.crt", "/pki/c.crt", "/pki/c.key"]);
    let more = format!(
        "{S3}{TLS}store.s3.access_key_file = \"/s/access\"\nstore.s3.secret_key_file = \"/s//secret\"\nstore.s3.ca_file = \"/s/ca.pem\"\n\
         etcd.username = \"u\"\netcd.password_file = \"/s/pw\""
    );
    let plan = planned(&more, PLAIN, &here).unwrap();
    let names = named_files::loaded(&file(&plan, AGENT));
    assert_eq!(
        names,
        ["etc-lifeboat-token", "s-pw", "s-access", "s-secret", "pki-ca.crt", "pki-c.crt", "pki-c.key", "s-ca.pem"]
    );
    assert_eq!(file(&plan, WATCH).lines().count(), 1 + names.len());
    assert!(file(&plan, WATCH).contains("\nPathChanged=/s/secret\n"));
    assert_eq!(file(&plan, AGENT).matches("SetCredential=").count(), names.len(), "none may fail the unit");
    assert_eq!(texts(&plan), "");
    // One file for two keys is handed over once.
    let twice = planned(
        &format!("{S3}store.s3.access_key_file = \"/s/pw\"\nstore.s3.secret_key_file = \"/s/./pw\""),
        PLAIN,
        &here,
    );
    assert_eq!(named_files::loaded(&file(&twice.unwrap(), AGENT)), ["etc-lifeboat-token", "s-pw"]);
}

#[test]
fn files_that_are_missing() {
    let mut here = disk();
    let later = planned(TLS, PLAIN, &here).unwrap();
    assert_eq!(named_files::loaded(&file(&later, AGENT)).len(), 4, "kubeadm makes them later");
    assert!(texts(&later).contains("/pki/c.key (etcd.key_file) does not exist yet"), "{}", texts(&later));
    let keys = format!("{S3}store.s3.access_key_file = \"/s/a\"\nstore.s3.secret_key_file = \"/s/b\"");
    let e = planned(&keys, PLAIN, &here).unwrap_err();
    assert!(
        e.message().contains("/s/a (store.s3.access_key_file), /s/b (store.s3.secret_key_file) do not exist"),
        "{e}"
    );
    here.files.clear();
    let e = planned(&keys, PLAIN, &here).unwrap_err();
    assert!(e.message().contains("/etc/lifeboat/token (cluster.token_file)"), "{e}");
    assert!(e.hint_text().unwrap().contains("head -c 32 /dev/urandom | base64 > /etc/lifeboat/token"), "{e:?}");
    let image = plan(&settings(&keys), None, &here, Host { image: true, ..Host::default() }).unwrap();
    assert_eq!(texts(&image).matches("does not exist yet").count(), 3, "{}", texts(&image));
}

#[test]
fn names_of_credentials_are_checked() {
    let mut here = disk();
    here.files.extend(["/a-b/c", "/a/b-c"]);
    for (more, says) in [
        ("cluster.token_file = \"/s/to ken\"", "no blank"),
        ("cluster.token_file = \"/s/to:ken\"", "no ':'"),
        ("cluster.token_file = \"/s/../token\"", "\"..\""),
        (
            "cluster.token_file = \"/a-b/c\"\netcd.username = \"u\"\netcd.password_file = \"/a/b-c\"",
            "would be one and the same credential, a-b-c",
        ),
    ] {
        let e = planned(more, PLAIN, &here).unwrap_err();
        assert!(e.message().contains(says) && e.hint_text().is_some(), "{more}\n{e:?}");
    }
    let bare = planned("cluster.token_file = \"token\"", PLAIN, &here).unwrap();
    assert_eq!((file(&bare, AGENT), file(&bare, WATCH)), (String::new(), String::new()));
    assert!(
        texts(&bare).contains("cluster.token_file is the credential \"token\": give it to lifeboat.service"),
        "{}",
        texts(&bare)
    );
}

#[test]
fn what_the_agent_is_not_given_is_named() {
    let drop_in = file(&planned("", PLAIN, &disk()).unwrap(), AGENT);
    let now = settings(TLS);
    let lines = named_files::ungiven(&now, &drop_in, |path| path != Path::new("/pki/c.key"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("/pki/c.key, which etcd.key_file names: run 'lifeboat setup' again"), "{lines:?}");
    assert!(named_files::ungiven(&settings(""), &drop_in, |_| false).is_empty());
}

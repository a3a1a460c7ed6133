//! Units of etcd: what is told from them, whether they agree with the configuration, and what they are given.

use std::collections::HashMap;

use super::*;

/// Units, and whether our variables may be given to them; what is said otherwise.
#[test]
fn variables_are_given_only_where_no_flag_contradicts() {
    let data = "Environment=ETCD_DATA_DIR=/var/lib/etcd\n";
    for (service, given, says) in [
        (format!("{data}ExecStart=/usr/bin/etcd"), true, ""),
        (format!("{data}ExecStart=/usr/bin/etcd --listen-client-urls=http://h:2379 --snapshot-count 5"), true, ""),
        (format!("{data}ExecStart=/bin/bash -c \"GOMAXPROCS=$(nproc) /usr/bin/etcd\""), true, ""),
        (format!("{data}ExecStart=/usr/bin/etcd --name cp1"), false, "sets --name, and etcd exits"),
        (format!("{data}ExecStart=-/usr/bin/etcd -name=cp1"), false, "sets --name"),
        ("ExecStart=/usr/bin/etcd \\\n  --data-dir /var/lib/etcd \\\n  --name=cp1".into(), false, "--name, --data-dir"),
        (
            "Environment=\"ARGS=--data-dir=/var/lib/etcd --initial-cluster-state=existing\"\nExecStart=/usr/bin/etcd $ARGS".into(),
            false,
            "etcd.env is not given to it\n",
        ),
        (
            "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --initial-cluster-state new".into(),
            false,
            "change that to --initial-cluster-state=existing",
        ),
        (
            "Environment=ETCD_NAME=cp1\nExecStart=/bin/bash -c \"/usr/bin/etcd --name=\\\"${ETCD_NAME}\\\" --data-dir=\\\"/var/lib/etcd\\\"\"".into(),
            false,
            "sets --name, --data-dir",
        ),
        ("ExecStart=/usr/bin/etcd --config-file=/etc/etcd.yml".into(), false, "configuration file /etc/etcd.yml"),
        ("Environment=ETCD_CONFIG_FILE=/etc/etcd.yml\nExecStart=/usr/bin/etcd".into(), false, "reads no variables"),
        ("ExecStart=/usr/local/bin/start-etcd.sh".into(), false, "starts /usr/local/bin/start-etcd.sh, whose flags"),
    ] {
        let plan = planned("", &service, &disk()).unwrap_or_else(|e| panic!("{service}: {e:?}"));
        assert_eq!(file(&plan, "etcd.service").contains("EnvironmentFile="), given, "{service}");
        let texts = texts(&plan);
        assert!(texts.contains(says) && texts.is_empty() == says.is_empty(), "{service}\n{texts}");
    }
}

/// etcd would work in another place than the one that is guarded and restored.
#[test]
fn a_unit_that_contradicts_the_configuration_is_refused() {
    let mut here = disk();
    here.dirs.push("/default.etcd/member");
    for (more, service, says) in [
        (
            "",
            "Environment=ETCD_DATA_DIR=/var/lib/etcd/default\nExecStart=/usr/bin/etcd",
            "/var/lib/etcd/default (ETCD_DATA_DIR)",
        ),
        ("", "ExecStart=/usr/bin/etcd --data-dir=/data", "in /data (--data-dir)"),
        ("", "ExecStart=/bin/sh -c \"etcd --data-dir '/data'\"", "in /data (--data-dir)"),
        ("", "WorkingDirectory=/srv\nExecStart=/usr/bin/etcd --data-dir data", "in /srv/data (--data-dir)"),
        ("", "ExecStart=/usr/bin/etcd --name cp1", "in /cp1.etcd (etcd's default)"),
        ("", "ExecStart=/usr/bin/etcd", "in /default.etcd (etcd's default)"),
        (
            "etcd.data_dir = \"/srv/etcd\"",
            "ExecStart=/usr/bin/etcd --config-file /etc/e.yml",
            "in /var/lib/etcd (/etc/e.yml)",
        ),
        ("", &format!("Environment=ETCD_WAL_DIR=/srv/wal\n{PLAIN}"), "WAL in /srv/wal (ETCD_WAL_DIR)"),
        ("etcd.wal_dir = \"/srv/wal\"", "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd", "without --wal-dir"),
        (
            "etcd.wal_dir = \"/srv/wal\"",
            "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --wal-dir=/srv/other",
            "WAL in /srv/other (--wal-dir)",
        ),
    ] {
        let e = planned(more, service, &here).map(|p| file(&p, "etcd.service")).unwrap_err();
        assert!(e.message().contains(says) && e.message().contains("nothing was written"), "{service}\n{e}");
        assert_eq!(e.kind(), Kind::Config);
        assert!(e.hint_text().is_some());
    }
}

#[test]
fn a_unit_that_agrees_is_accepted() {
    let with_wal = format!("{PLAIN}\nEnvironment=ETCD_WAL_DIR=/srv/wal");
    for (more, service) in [
        ("", "Environment=ETCD_DATA_DIR=/var/lib/etcd/\nExecStart=/usr/bin/etcd"),
        ("", "Environment=ETCD_DATA_DIR=/var/lib/%i\nExecStart=/usr/bin/etcd"),
        ("", "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --wal-dir=/var/lib/etcd/member/wal"),
        ("", "ExecStart=/usr/bin/etcd --config-file /etc/e.yml"),
        ("etcd.wal_dir = \"/srv/wal\"", "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --wal-dir /srv/wal"),
        ("etcd.wal_dir = \"/srv/wal\"", &with_wal),
        ("etcd.data_dir = \"/srv/my etcd\"", "ExecStart=/usr/bin/etcd --data-dir \"/srv/my etcd\" --name=cp1"),
        ("etcd.data_dir = \"/default.etcd\"", "ExecStart=/usr/bin/etcd --name default"),
    ] {
        let mut here = disk();
        here.dirs.push("/default.etcd");
        planned(more, service, &here).unwrap_or_else(|e| panic!("{service}: {e:?}"));
    }
}

#[test]
fn what_is_odd_about_etcd_is_told() {
    let mut here = disk();
    here.owners = HashMap::from([("/var/lib/etcd", "root")]);
    let user = format!("{PLAIN}\nUser=etcd");
    let wal = format!("{user}\nEnvironment=\"ETCD_WAL_DIR=/srv/the wal\"");
    for (more, service, says) in [
        (
            "",
            "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --name old",
            "! etcd's name is old (--name of etcd.service), and node.name is cp1",
        ),
        (
            "",
            "ExecStart=/usr/bin/etcd --data-dir=/var/lib/etcd --force-new-cluster",
            "! etcd.service starts etcd with --force-new-cluster",
        ),
        (
            "",
            &user,
            "! etcd.service runs etcd as user etcd, and /var/lib/etcd belongs to somebody else: chown -R etcd: /var/lib/etcd",
        ),
        ("etcd.wal_dir = \"/srv/the wal\"", &wal, "install -d -m 700 -o etcd -g etcd '/srv/the wal'"),
    ] {
        let texts = texts(&planned(more, service, &here).unwrap());
        assert!(texts.contains(says), "{service}\n{texts}");
    }
    let quiet = planned("", &format!("{PLAIN}\nEnvironment=ETCD_NAME=%H\nUser=root"), &here).unwrap();
    assert_eq!(texts(&quiet), "", "our variable wins over that name");
}

#[test]
fn variables_of_units_are_put_in() {
    let env = variables("# c\n; d\nA=one two\n B = \"three four\" \nC='x'\nnonsense\nA=five six\n").unwrap();
    assert_eq!(env.len(), 4);
    assert_eq!(variables("A=\"one\\\n two\"\n"), None);
    assert_eq!(variables("A=\"one\nB=two\"\n"), None);
    assert_eq!(variables("A=one \\\nB=two\n"), None);
    let words: Vec<String> = ["etcd", "$A", "${B}", "--x=${C}/${D}y", "$none", "${open", "$"].map(str::to_owned).into();
    assert_eq!(expand(&words, &env), ["etcd", "five", "six", "three four", "--x=x/y", "open", "$"]);
}

/// What the gate is told of the flags: only what is certain, and what our own variables do not override.
#[test]
fn facts_of_how_etcd_starts() {
    let told = |more: &str, service: &str| {
        let start = start_of(service);
        let f = crate::setup::flags::facts(&settings(more), Some(&start), None, &disk());
        let show = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let cluster = format!("{} {}", show(f.initial_cluster), show(f.initial_cluster_state));
        format!("{} {} {} {cluster}", show(f.data_dir), show(f.wal_dir), f.force_new_cluster)
    };
    let gated = "ExecStart=/usr/bin/etcd";
    for (more, service, expected) in [
        ("", gated, "- - false - -"),
        // Variables of others: ours come last, and win; there is none of ours for this one.
        (
            "",
            "ExecStart=/usr/bin/etcd\nEnvironment=ETCD_DATA_DIR=/elsewhere ETCD_INITIAL_CLUSTER=cp1=http://a:1",
            "- - false - -",
        ),
        ("", "ExecStart=/usr/bin/etcd --initial-cluster=cp1=http://a:1", "- - false cp1=http://a:1 -"),
        ("", "ExecStart=/usr/bin/etcd --data-dir=/elsewhere", "/elsewhere - false - -"),
        ("", "ExecStart=/usr/bin/etcd --data-dir /var/lib/etcd/ --force-new-cluster", "/var/lib/etcd - true - -"),
        ("", "ExecStart=/usr/bin/etcd --data-dir=$WHERE", "- - false - -"),
        ("", "ExecStart=/usr/bin/etcd --force-new-cluster=false", "- - false - -"),
        ("", "ExecStart=/usr/bin/etcd\nEnvironment=ETCD_FORCE_NEW_CLUSTER=true", "- - true - -"),
        ("", "ExecStart=/usr/bin/etcd --config-file=/etc/etcd.yaml", "/var/lib/etcd - false - -"),
        // Where ours are not given to it, those of others count.
        ("", "ExecStart=/usr/bin/etcd --name cp1\nEnvironment=ETCD_DATA_DIR=/elsewhere", "/elsewhere - false - -"),
        ("", "ExecStart=/usr/bin/etcd --name=cp1 --initial-cluster-state=new", "- - false - new"),
        ("", "ExecStart=/usr/bin/etcd --wal-dir=/var/lib/etcd/member/wal", "- - false - -"),
        ("", "ExecStart=/usr/bin/etcd --wal-dir=/fast", "- /fast false - -"),
        // A script's flags cannot be seen.
        ("", "ExecStart=/usr/local/bin/run-it --data-dir=/elsewhere", "- - false - -"),
        (
            "[etcd]\ndata_dir = \"/var/lib/link/etcd\"",
            "ExecStart=/usr/bin/etcd --data-dir=/srv/real/etcd",
            "/var/lib/link/etcd - false - -",
        ),
    ] {
        assert_eq!(told(more, service), expected, "{service}");
    }
}

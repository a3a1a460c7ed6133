//! A snapshot of a newer etcd is refused for an older one, wherever it can be known which one will run; and what etcd itself does with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use crate::host::{Host, string, text};
use crate::matrix::{is_here, started};
use crate::support::{
    ETCD_3_4, ETCD_3_6, ETCD_3_7, ETCD_LATEST, EtcdOptions, EtcdProcess, Fill, Lifeboat, dump, tools,
};

/// PATH with the etcd of one release, or with none.
fn path_with(version: Option<&str>) -> String {
    let path = std::env::var_os("PATH").unwrap();
    let without = std::env::split_paths(&path).filter(|dir| !dir.join("etcd").exists());
    let first = version.map(|v| tools::etcd(v, "etcd").parent().unwrap().to_owned());
    std::env::join_paths(first.into_iter().chain(without)).unwrap().into_string().unwrap()
}

fn by_file(file: &Path, data: &Path, path: Option<&str>) -> Lifeboat {
    Lifeboat::new(["restore", &text(file), "--data-dir", &text(data)])
        .arg("--config=/nonexistent/lifeboat.toml")
        .env("PATH", path_with(path))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_etcd_is_refused_by_name_by_file_and_by_configuration() {
    for (version, release) in [(ETCD_3_6, "3.6"), (ETCD_3_7, "3.7")] {
        if !is_here(version) {
            return;
        }
        let host = Host::new(version, &format!("older-{version}")).await;
        let etcd = host.start_etcd();
        Fill::small(300).run(&etcd).await;
        let before = dump(&etcd).await;
        let name = string(&host.save("newer")["name"]);
        let file = host.path("newer.db");
        host.run(&["get", &name, "-f", &text(&file)]).ok();
        drop(etcd);

        let refused = host.path("refused");
        let data = text(&refused);
        let storage = format!("its storage version is {release}.0");
        for old in [ETCD_3_4, ETCD_LATEST, ETCD_3_6] {
            if old == version {
                continue;
            }
            let hint = format!("--etcd-version {release}");
            let by_name = host.run(&["restore", &name, "--data-dir", &data, "--etcd-version", &format!("v{old}")]);
            println!("{}", by_name.stderr);
            by_name.exits_with(3).says(&[&name, &storage, old, &format!("install etcd {release}"), &hint]);
            by_file(&file, &refused, Some(old)).run().exits_with(3).says(&[&storage, old, "/etcd-3.", &hint]);
            let program = tools::etcd(old, "etcd");
            let configured = fs::read_to_string(host.config()).unwrap();
            fs::write(host.config(), with_program(&configured, &program)).unwrap();
            host.run(&["restore", &name, "--data-dir", &data]).exits_with(3).says(&[&storage, &text(&program)]);
            // A person's word is above the configuration.
            let named = host.path(&format!("named-{old}"));
            host.run(&["restore", &name, "--data-dir", &text(&named), "--etcd-version", version]).ok();
            fs::write(host.config(), configured).unwrap();
            assert!(!refused.exists(), "nothing is left of what was refused");
            what_etcd_does(version, old, &named).await;
        }
        // Not to be found out is not too old.
        let warned = host.path("warned");
        by_file(&file, &warned, None).run().ok().says(&[&format!("needs etcd {release} or newer"), "not known"]);
        let agreed = host.path("agreed");
        let quiet = by_file(&file, &agreed, Some(version)).run().ok();
        assert!(!quiet.stderr.contains("newer"), "{}", quiet.text());
        before.assert_same_keys(&started(version, &agreed).await.1);
    }
}

pub fn with_program(configuration: &str, program: &Path) -> String {
    configuration.replace("[etcd]\n", &format!("[etcd]\nprogram = \"{}\"\n", program.display()))
}

/// Why it is refused. Once etcd refuses by itself, this fails, and the warning may go.
async fn what_etcd_does(version: &str, old: &str, data_dir: &Path) {
    if old == ETCD_3_6 {
        let mut etcd = EtcdProcess::launch(EtcdOptions {
            data_dir: Some(data_dir.to_owned()),
            name: Some("default".to_owned()),
            ..EtcdOptions::new(old)
        });
        etcd.wait_ended();
        assert!(etcd.output().contains("is not supported"), "{}", etcd.output());
        println!("etcd {old} on restored data of {version}: does not start");
    } else {
        let (etcd, _) = started(old, data_dir).await;
        etcd.etcdctl(&["put", "written", "by an older etcd"]);
        println!("etcd {old} on restored data of {version}: serves it and writes to it, without a word");
    }
}

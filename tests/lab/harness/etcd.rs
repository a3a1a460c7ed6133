//! Debian's own etcd unit: `/etc/default/etcd`, user `etcd`, data below `/var/lib/etcd`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::enter::Output;
use super::host::Host;
use super::machine::random_hex;
use super::tls::TestCa;

/// What Debian's unit uses when nothing else is said.
pub const DATA_DIR: &str = "/var/lib/etcd/default";
const LIMIT: Duration = Duration::from_secs(60);
const TLS_DIR: &str = "/etc/etcd";

/// How etcd is to run on the hosts of a lab. Peers and clients meet at the hosts' addresses, clients also at 127.0.0.1.
#[derive(Clone, Debug)]
pub struct Etcd {
    pub data_dir: String,
    /// Below a directory for it alone, which is made for the user etcd.
    pub wal_dir: Option<String>,
    /// Names and addresses of the first members; empty: `ETCD_INITIAL_CLUSTER` is not set, as behind a gate that sets it.
    pub initial_cluster: Vec<(String, String)>,
    /// Clients speak TLS and need a certificate; [`Etcd::write_certificates`] puts the files there.
    pub tls: bool,
    /// Any other variables.
    pub env: BTreeMap<String, String>,
}

impl Etcd {
    /// One or more members that form a cluster of their own, without a gate.
    pub fn forming(hosts: &[&Host]) -> Etcd {
        let members = hosts.iter().map(|h| (h.name().to_owned(), h.address().to_owned())).collect();
        Etcd { initial_cluster: members, ..Etcd::gated() }
    }

    /// A member whose data dir a gate prepares.
    pub fn gated() -> Etcd {
        Etcd {
            data_dir: DATA_DIR.to_owned(),
            wal_dir: None,
            initial_cluster: Vec::new(),
            tls: false,
            env: BTreeMap::new(),
        }
    }

    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Writes `/etc/default/etcd`; starts nothing.
    pub fn configure(&self, host: &Host) {
        let (address, scheme) = (host.address(), self.scheme());
        let mut env = BTreeMap::from([
            ("ETCD_NAME", host.name().to_owned()),
            ("ETCD_DATA_DIR", self.data_dir.clone()),
            ("ETCD_LISTEN_PEER_URLS", format!("http://{address}:2380")),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", format!("http://{address}:2380")),
            ("ETCD_LISTEN_CLIENT_URLS", format!("{scheme}://127.0.0.1:2379,{scheme}://{address}:2379")),
            ("ETCD_ADVERTISE_CLIENT_URLS", format!("{scheme}://{address}:2379")),
        ]);
        if let Some(dir) = &self.wal_dir {
            env.insert("ETCD_WAL_DIR", dir.clone());
        }
        if !self.initial_cluster.is_empty() {
            let members: Vec<_> = self.initial_cluster.iter().map(|(n, a)| format!("{n}=http://{a}:2380")).collect();
            env.insert("ETCD_INITIAL_CLUSTER", members.join(","));
            env.insert("ETCD_INITIAL_CLUSTER_STATE", "new".to_owned());
        }
        if self.tls {
            env.insert("ETCD_CERT_FILE", format!("{TLS_DIR}/server.crt"));
            env.insert("ETCD_KEY_FILE", format!("{TLS_DIR}/server.key"));
            env.insert("ETCD_TRUSTED_CA_FILE", format!("{TLS_DIR}/ca.crt"));
            env.insert("ETCD_CLIENT_CERT_AUTH", "true".to_owned());
        }
        let lines: String = env.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
        let more: String = self.env.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
        host.write("/etc/default/etcd", lines + &more, 0o644);
        // etcd makes the WAL dir as `<dir>.tmp` beside it: the directory around it must be its own.
        if let Some(dir) = &self.wal_dir {
            host.ok(&format!("install -d -o etcd -g etcd -m 700 \"$(dirname '{dir}')\""));
        }
    }

    /// New certificates in `/etc/etcd`: `ca.crt`, `server.crt` and `.key` for etcd, `client.crt` and `.key` for its clients.
    /// etcd reads its own anew with each connection.
    pub fn write_certificates(host: &Host, ca: &TestCa) {
        let (server, server_key) = ca.issue_pem(host.name(), &[host.address()]);
        let (client, client_key) = ca.issue_pem("client", &[]);
        host.write(&format!("{TLS_DIR}/ca.crt"), ca.ca_pem(), 0o644);
        for (name, content) in [("server.crt", server), ("client.crt", client)] {
            host.write(&format!("{TLS_DIR}/{name}"), content, 0o644);
        }
        for (name, content) in [("server.key", server_key), ("client.key", client_key)] {
            host.write(&format!("{TLS_DIR}/{name}"), content, 0o600);
        }
        host.ok(&format!("chown etcd {TLS_DIR}/server.key"));
    }
}

impl Host {
    /// `etcdctl` on this host against its own member. The API of version 3, TLS if etcd is configured so.
    pub fn etcdctl(&self, args: &str) -> Output {
        self.run_for(LIMIT, &etcdctl_line(args))
    }

    /// Waits until this host's member serves linearizable reads.
    #[track_caller]
    pub fn wait_etcd(&self, limit: Duration) {
        self.wait_for("etcd to serve", limit, |host| {
            host.etcdctl("--command-timeout 2s --dial-timeout 1s get a-key-that-nobody-writes").success().then_some(())
        });
    }

    #[track_caller]
    pub fn etcd_put(&self, key: &str, value: &str) {
        let output = self.etcdctl(&format!("put '{key}' -- '{value}'"));
        assert!(output.success(), "{output}");
    }

    /// Writes `count` keys `<prefix>0000`, `<prefix>0001`, ... with values of `size` random bytes, a hundred to a transaction.
    /// A transaction may have 1.5 MiB.
    pub fn etcd_fill(&self, prefix: &str, count: usize, size: usize) {
        let numbers: Vec<_> = (0..count).collect();
        for batch in numbers.chunks(100) {
            let puts: String = batch.iter().map(|n| format!("put {prefix}{n:04} {}\n", random_hex(size / 2))).collect();
            // No conditions, these operations, and nothing otherwise.
            let output = self.run_with(LIMIT, &etcdctl_line("txn"), format!("\n{puts}\n\n").as_bytes());
            assert!(output.success() && output.stdout.starts_with("SUCCESS"), "{output}");
        }
    }

    /// The value of a key by a linearizable read; `None` when it has none.
    #[track_caller]
    pub fn etcd_get(&self, key: &str) -> Option<String> {
        let output = self.etcdctl(&format!("get '{key}' --print-value-only"));
        assert!(output.success(), "{output}");
        output.stdout.strip_suffix('\n').map(str::to_owned)
    }

    /// Every key and value of the cluster, in order, as `key=value` lines.
    #[track_caller]
    pub fn etcd_dump(&self) -> String {
        let output = self.etcdctl("get '' --from-key");
        assert!(output.success(), "{output}");
        let lines: Vec<_> = output.stdout.lines().collect();
        lines.chunks(2).map(|pair| format!("{}\n", pair.join("="))).collect()
    }
}

fn etcdctl_line(args: &str) -> String {
    let tls = format!("--cacert {TLS_DIR}/ca.crt --cert {TLS_DIR}/client.crt --key {TLS_DIR}/client.key");
    format!(
        "export ETCDCTL_API=3; if grep -qs ^ETCD_CERT_FILE= /etc/default/etcd; \
         then etcdctl --endpoints https://127.0.0.1:2379 {tls} {args}; \
         else etcdctl --endpoints http://127.0.0.1:2379 {args}; fi"
    )
}

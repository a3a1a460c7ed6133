//! The network: a bridge in a namespace of its own, and one namespace per host. The machine's own network is not touched.

use super::machine::{run, try_run};

/// Namespace of the bridge.
const SWITCH: &str = "switch";
/// Network of the hosts.
const PREFIX: &str = "10.98.0";
/// Namespace and last part of the address of the store.
pub(super) const STORE: &str = "s3";
const STORE_NUMBER: usize = 100;

/// What happens to a packet to or from a blocked address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Nothing comes back: time-outs.
    Drop,
    /// Connections are refused at once.
    Reject,
}

pub(super) struct Net;

/// Address of the store, whether it runs or not.
pub(super) fn store_address() -> String {
    format!("{PREFIX}.{STORE_NUMBER}")
}

impl Net {
    pub(super) fn create() -> Net {
        run("ip", &["netns", "add", SWITCH]);
        run("ip", &["-n", SWITCH, "link", "add", "br0", "type", "bridge"]);
        run("ip", &["-n", SWITCH, "link", "set", "br0", "up"]);
        let net = Net;
        net.connect(STORE, &store_address());
        net
    }

    /// Puts the host with this index on the network, and returns its address.
    pub(super) fn attach(&self, name: &str, index: usize) -> String {
        assert!(name != STORE && name != SWITCH && name.len() <= 10, "a host cannot be called {name}");
        let address = format!("{PREFIX}.{}", 11 + index);
        self.connect(name, &address);
        address
    }

    fn connect(&self, name: &str, address: &str) {
        let port = port(name);
        run("ip", &["netns", "add", name]);
        run("ip", &["-n", name, "link", "add", "host0", "type", "veth", "peer", "name", &port, "netns", SWITCH]);
        run("ip", &["-n", SWITCH, "link", "set", &port, "master", "br0", "up"]);
        run("ip", &["-n", name, "addr", "add", &format!("{address}/24"), "dev", "host0"]);
        run("ip", &["-n", name, "link", "set", "lo", "up"]);
        run("ip", &["-n", name, "link", "set", "host0", "up"]);
    }

    pub(super) fn set_link(&self, name: &str, up: bool) {
        run("ip", &["-n", SWITCH, "link", "set", &port(name), if up { "up" } else { "down" }]);
    }

    pub(super) fn block(&self, name: &str, address: &str, how: Block) {
        let verdict = match how {
            Block::Drop => "drop",
            Block::Reject => "reject",
        };
        let rules = format!(
            "table ip lab {{
               chain in {{ type filter hook input priority 0; }}
               chain out {{ type filter hook output priority 0; }}
             }}
             add rule ip lab in ip saddr {address} {verdict}
             add rule ip lab out ip daddr {address} {verdict}"
        );
        run("ip", &["netns", "exec", name, "nft", &rules]);
    }

    pub(super) fn unblock(&self, name: &str) {
        run("ip", &["netns", "exec", name, "nft", "add table ip lab; delete table ip lab"]);
    }

    /// The namespaces go with the mounts of the lab; a process that is still in one would hold it.
    pub(super) fn destroy(&self) -> Vec<String> {
        let listed = try_run("ip", &["netns", "list"]).unwrap_or_default();
        let mut problems = Vec::new();
        for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
            let inside = try_run("ip", &["netns", "pids", name]).unwrap_or_else(|e| e);
            if !inside.trim().is_empty() {
                problems.push(format!("processes in the network namespace {name}: {}", inside.replace('\n', " ")));
            }
            problems.extend(try_run("ip", &["netns", "delete", name]).err());
        }
        problems
    }
}

fn port(name: &str) -> String {
    format!("p-{name}")
}

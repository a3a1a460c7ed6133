//! The `.snap` file of a restored member: etcd's v2 store with nothing but the members in it, as JSON
//! (`server/etcdserver/api/v2store`, `api/snap`). etcd 3.4 and 3.5 take the membership from it.

use serde::Serialize;
use std::collections::BTreeMap;

use super::buckets::{StoredMember, escape_like_go};
use super::protobuf::Message;

/// Events that etcd's history has room for.
const HISTORY: usize = 1000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    path: String,
    created_index: u64,
    modified_index: u64,
    expire_time: &'static str,
    value: String,
    children: Option<BTreeMap<String, Node>>,
}

impl Node {
    fn dir(path: impl Into<String>, index: u64, children: impl IntoIterator<Item = (String, Node)>) -> Node {
        Node {
            path: path.into(),
            created_index: index,
            modified_index: index,
            expire_time: "0001-01-01T00:00:00Z",
            value: String::new(),
            children: Some(children.into_iter().collect()),
        }
    }

    fn file(path: String, index: u64, value: String) -> Node {
        Node { value, children: None, ..Node::dir(path, index, []) }
    }
}

#[derive(Serialize, Clone)]
struct Event {
    action: &'static str,
    node: EventNode,
}

#[derive(Serialize, Clone)]
#[serde(rename_all = "camelCase")]
struct EventNode {
    key: String,
    value: String,
    modified_index: u64,
    created_index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Store {
    root: Node,
    watcher_hub: WatcherHub,
    current_index: u64,
    stats: Stats,
    current_version: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WatcherHub {
    event_history: EventHistory,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EventHistory {
    queue: Queue,
    start_index: u64,
    last_index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Queue {
    events: Vec<Option<Event>>,
    size: usize,
    front: usize,
    back: usize,
    capacity: usize,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Stats {
    gets_success: u64,
    gets_fail: u64,
    sets_success: u64,
    sets_fail: u64,
    delete_success: u64,
    delete_fail: u64,
    update_success: u64,
    update_fail: u64,
    create_success: u64,
    create_fail: u64,
    compare_and_swap_success: u64,
    compare_and_swap_fail: u64,
    compare_and_delete_success: u64,
    compare_and_delete_fail: u64,
    expire_count: u64,
    watchers: u64,
}

#[derive(Serialize)]
struct RaftAttributes<'a> {
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
}

/// The JSON of a v2 store in which `members` were created in this order.
fn v2_store(members: &[StoredMember]) -> String {
    let mut children = Vec::new();
    let mut events = vec![None; HISTORY];
    for (index, member) in members.iter().enumerate() {
        let number = index as u64 + 1;
        let path = format!("/0/members/{:x}", member.id.0);
        let attributes = RaftAttributes { peer_urls: &member.peer_urls };
        let value = escape_like_go(&serde_json::to_string(&attributes).unwrap_or_default());
        let file = format!("{path}/raftAttributes");
        let node = EventNode { key: file.clone(), value: value.clone(), modified_index: number, created_index: number };
        if let Some(slot) = events.get_mut(index) {
            *slot = Some(Event { action: "create", node });
        }
        let leaf = Node::file(file, number, value);
        let dir = Node::dir(path, number, [("raftAttributes".to_owned(), leaf)]);
        children.push((format!("{:x}", member.id.0), dir));
    }
    let count = members.len() as u64;
    let members = Node::dir("/0/members", 1, children);
    let zero = Node::dir("/0", 0, [("members".to_owned(), members)]);
    let store = Store {
        root: Node::dir("/", 0, [("0".to_owned(), zero), ("1".to_owned(), Node::dir("/1", 0, []))]),
        watcher_hub: WatcherHub {
            event_history: EventHistory {
                queue: Queue { events, size: count as usize, front: 0, back: count as usize, capacity: HISTORY },
                start_index: 1,
                last_index: count,
            },
        },
        current_index: count,
        stats: Stats { create_success: count, ..Stats::default() },
        current_version: 2,
    };
    escape_like_go(&serde_json::to_string(&store).unwrap_or_default())
}

/// `raftpb.ConfState` with these voters.
pub(super) fn conf_state(members: &[StoredMember]) -> Vec<u8> {
    members.iter().fold(Message::new(), |m, v| m.number(1, v.id.0)).number(5, 0).encode()
}

/// Name of the `.snap` file of a restored member of a cluster of `members`.
pub fn file_name(members: usize) -> String {
    format!("{:016x}-{members:016x}.snap", 1)
}

/// Content of the `.snap` file of a restored cluster. `members` by ascending id.
pub fn encode(members: &[StoredMember]) -> Vec<u8> {
    let metadata = Message::new().bytes(1, &conf_state(members)).number(2, members.len() as u64).number(3, 1).encode();
    let snapshot = Message::new().bytes(1, v2_store(members).as_bytes()).bytes(2, &metadata).encode();
    Message::new().number(1, u64::from(crc32c::crc32c(&snapshot))).bytes(2, &snapshot).encode()
}

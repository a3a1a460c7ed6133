//! The pages of the golden file: which facts are combined with which.

use super::facts::{Page, d};

/// The order of the facts is that of the tree in the golden file.
pub(crate) const PAGES: &[Page] = &[
    Page {
        name: "what this host holds, remembers and was asked for",
        dimensions: &[
            d(
                "data",
                &[
                    "unknown",
                    "mount missing",
                    "in use",
                    "none",
                    "damaged",
                    "of other URLs",
                    "newest life",
                    "older life",
                    "no life",
                ],
            ),
            d(
                "store",
                &[
                    "unknown",
                    "forgot",
                    "empty",
                    "restore plan",
                    "forced plan",
                    "forced plan taken back",
                    "adopted life",
                ],
            ),
            d("request", &["none", "pending", "done", "unknown"]),
            d("failed", &["no", "yes"]),
            d("memory", &["blank", "remembers", "started newest", "unknown"]),
            d("staging", &["none", "of my mark", "of no mark", "unknown"]),
            d(
                "live",
                &[
                    "none",
                    "newest quorate",
                    "newest without quorum",
                    "newest without me",
                    "older quorate",
                    "stranger quorate",
                ],
            ),
        ],
    },
    Page {
        name: "a host without data",
        dimensions: &[
            d("live", &["none", "newest quorate", "newest without quorum", "older quorate", "stranger quorate"]),
            d(
                "store",
                &["empty", "init plan", "restore plan", "forced plan", "adopted life", "adopted life of others"],
            ),
            d("snapshots", &["none", "as planned", "a better one", "untrusted"]),
            d("mark", &["none", "mine", "mine, taken by the seed", "others"]),
            d("taken back", &["no", "yes"]),
            d("older life", &["of these", "of others"]),
            d("declared lost", &["no", "yes"]),
            d("roll call", &["all", "a majority", "alone"]),
            d("heartbeat", &["old", "young"]),
            d("memory", &["blank", "remembers"]),
            d("peer_wait", &["over", "not over"]),
        ],
    },
    Page {
        name: "configuration, on a host without data",
        dimensions: &[
            d("managed_by", &["systemd", "kubeadm before init", "k3s"]),
            d("roll call", &["all", "a majority", "a majority and other hosts"]),
            d("peer_wait", &["over", "not over"]),
            d("seed", &["elected", "this host", "another host"]),
            d("store", &["empty", "restore plan", "restore plan of another seed"]),
            d("snapshots", &["none", "as planned", "untrusted"]),
            d("pin", &["none", "present", "missing"]),
            d("broken", &["none", "the best", "more than fallback"]),
            d("autorestore", &["on", "off"]),
            d("state", &["new", "existing", "existing and --init-empty"]),
            d("flags", &["agree", "force a new cluster"]),
        ],
    },
    Page {
        name: "data or a request, where one host alone restores, and where none does",
        dimensions: &[
            d("managed_by", &["systemd", "k3s"]),
            d("data", &["none", "damaged", "newest life", "older life"]),
            d(
                "store",
                &[
                    "restore plan",
                    "restore plan of another seed",
                    "forced plan",
                    "forced plan of another seed",
                    "forced plan taken back",
                ],
            ),
            d("request", &["none", "pending"]),
            d("memory", &["blank", "started newest", "moved aside for newest"]),
            d("staging", &["none", "of my mark", "of a mark that the seed took"]),
            d("live", &["none", "newest quorate", "older quorate"]),
            d("roll call", &["all", "all, stopped for it", "a majority"]),
            d("replace_damaged", &["no", "yes"]),
        ],
    },
    Page {
        name: "how etcd will start",
        dimensions: &[
            d("managed_by", &["systemd", "kubeadm", "k3s"]),
            d("data", &["none", "newest life"]),
            d("store", &["restore plan", "restore plan of another seed"]),
            d("live", &["none", "newest quorate", "older quorate"]),
            d("mark", &["none", "mine", "mine, taken by the seed"]),
            d("staging", &["none", "of my mark"]),
            d("roll call", &["all", "alone"]),
            d(
                "flags",
                &[
                    "agree",
                    "the right initial cluster, existing",
                    "the right initial cluster, new",
                    "another initial cluster",
                    "another data dir",
                    "another WAL dir",
                    "force a new cluster",
                ],
            ),
        ],
    },
    Page {
        name: "hosts that come and go by design (three are expected), without data",
        dimensions: &[
            d("members", &["expected"]),
            d("live", &["none", "newest quorate", "newest without quorum"]),
            d("store", &["empty", "init plan", "restore plan", "life of others"]),
            d("snapshots", &["as planned", "none"]),
            d("mark", &["none", "mine"]),
            d("declared lost", &["no", "yes"]),
            d("plan age", &["lost_after", "less", "unknown"]),
            d("heartbeat", &["old", "less than lost_after", "young", "none"]),
            d("recorded URLs", &["silent", "one not asked"]),
            d("roll call", &["all", "a majority", "alone", "three others for longer"]),
            d("peer_wait", &["over", "not over"]),
        ],
    },
];

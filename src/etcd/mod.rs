//! etcd: filled in soon.

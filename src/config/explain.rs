//! Each effective value with its origin, for `config show`.
//!
//! It exists so that nobody has to guess which of several files won. It may not show a secret.

use std::collections::HashMap;

use config::{Value, ValueKind};
use serde::Serialize;

use super::schema::{KEYS, Key, Shape};

/// One key as it is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Dotted; entries of lists as `schedule[NAME].cron`.
    pub key: String,
    /// As TOML would write it; `(set, not shown)` for a secret.
    pub value: String,
    /// `file:line`, `environment variable NAME` or `default`.
    pub origin: String,
}

/// Every key, in the order of the shipped file.
pub(super) fn explain(root: &Value) -> Vec<Explained> {
    let mut out = Vec::new();
    for key in KEYS {
        let value = find(root, key.path);
        match (key.shape, value.map(|v| &v.kind)) {
            (Shape::Tables(inner), Some(ValueKind::Array(items))) => {
                for (n, item) in items.iter().enumerate() {
                    explain_item(key.path, n, inner, item, &mut out);
                }
                if items.is_empty() {
                    out.extend(value.map(|v| explained(key, key.path.to_owned(), v)));
                }
            }
            (_, Some(_)) => out.extend(value.map(|v| explained(key, key.path.to_owned(), v))),
            (_, None) => {}
        }
    }
    out
}

fn explain_item(path: &str, n: usize, keys: &[Key], item: &Value, out: &mut Vec<Explained>) {
    let ValueKind::Table(map) = &item.kind else { return };
    let name = match map.get("name").map(|v| &v.kind) {
        Some(ValueKind::String(name)) => name.clone(),
        _ => n.to_string(),
    };
    for key in keys {
        out.extend(map.get(key.path).map(|v| explained(key, format!("{path}[{name}].{}", key.path), v)));
    }
}

fn find<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(root, |at, part| match &at.kind {
        ValueKind::Table(map) => map.get(part),
        _ => None,
    })
}

fn explained(key: &Key, path: String, value: &Value) -> Explained {
    let shown = match &value.kind {
        ValueKind::String(s) if key.secret() && !s.is_empty() => "(set, not shown)".to_owned(),
        other => show(other),
    };
    Explained { key: path, value: shown, origin: value.origin().unwrap_or("default").to_owned() }
}

fn show(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(s) => format!("{s:?}"),
        ValueKind::Boolean(b) => b.to_string(),
        ValueKind::I64(n) => n.to_string(),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|v| show(&v.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => String::new(),
    }
}

/// Where each key was set; `cluster.members[N]` for the entries of that list.
pub(super) fn origins(root: &Value) -> HashMap<String, String> {
    let mut origins: HashMap<String, String> = explain(root).into_iter().map(|e| (e.key, e.origin)).collect();
    if let Some(ValueKind::Array(members)) = find(root, "cluster.members").map(|v| &v.kind) {
        for (n, member) in members.iter().enumerate() {
            origins.insert(format!("cluster.members[{n}]"), member.origin().unwrap_or("default").to_owned());
        }
    }
    origins
}

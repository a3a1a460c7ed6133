//! Every key with its section, default and description: the shipped file's comments joined with the table of keys.
//!
//! It exists so that the manual page of the configuration cannot say anything else than the shipped file. It may not read files.

use super::schema::{KEYS, Key, Shape, quoted_list};

/// The shipped file.
const SHIPPED: &str = include_str!("../../config/lifeboat.toml");

/// The reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// What stands above the first section.
    pub preface: Vec<String>,
    /// The sections, in the order of the shipped file.
    pub sections: Vec<Section>,
}

/// A `[section]`, or the keys of a `[[section]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// As it is written, with its brackets.
    pub heading: String,
    /// What stands above it.
    pub about: String,
    /// Its keys.
    pub keys: Vec<Entry>,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name within the section.
    pub name: String,
    /// What kind of value it takes, for people.
    pub values: String,
    /// The default as TOML; `None`: it must be set.
    pub default: Option<String>,
    /// An example of a key without a default, as TOML.
    pub example: Option<String>,
    /// What it is for.
    pub about: String,
}

/// Makes it of the shipped file.
pub fn reference() -> Reference {
    let mut out = Reference { preface: Vec::new(), sections: Vec::new() };
    let mut about: Vec<&str> = Vec::new();
    let mut shared = String::new();
    let mut lines = SHIPPED.lines().peekable();
    while let Some(line) = lines.next() {
        let bare = line.strip_prefix("#!").or_else(|| line.strip_prefix('#')).unwrap_or(line);
        if line.is_empty() {
            if out.sections.is_empty() && !about.is_empty() {
                // Above the first section, and not directly above it.
                out.preface.append(&mut paragraphs(&about));
            }
            about.clear();
            shared.clear();
        } else if bare.starts_with('[') && bare.ends_with(']') {
            let heading = bare.to_owned();
            out.sections.push(Section { heading, about: std::mem::take(&mut about).join(" "), keys: Vec::new() });
        } else if let Some(text) = line.strip_prefix("# ").or_else(|| line.strip_prefix("#").filter(|t| t.is_empty())) {
            about.push(text);
        } else if let (Some((name, value)), Some(section)) = (bare.split_once(" = "), out.sections.last_mut()) {
            if !about.is_empty() {
                shared = std::mem::take(&mut about).join(" ");
            }
            let mut value = value.to_owned();
            // A list over several lines.
            while value.starts_with('[') && !value.ends_with(']') {
                let Some(more) = lines.next() else { break };
                value.push('\n');
                value.push_str(more.strip_prefix("#!").or_else(|| more.strip_prefix('#')).unwrap_or(more));
            }
            section.keys.push(entry(&section.heading, name, value, shared.clone()));
        }
    }
    out
}

fn paragraphs(lines: &[&str]) -> Vec<String> {
    lines.split(|l| l.is_empty()).map(|p| p.join(" ")).filter(|p| !p.is_empty()).collect()
}

fn entry(heading: &str, name: &str, written: String, about: String) -> Entry {
    let section = heading.trim_matches(['[', ']']);
    let key = find(section, name);
    let default = key.and_then(|k| k.default).map(str::to_owned);
    let example = default.is_none().then_some(written);
    let values = key.map(|k| values(k.shape)).unwrap_or_default();
    Entry { name: name.to_owned(), values, default, example, about }
}

fn find(section: &str, name: &str) -> Option<&'static Key> {
    let path = format!("{section}.{name}");
    KEYS.iter().find(|k| k.path == path).or_else(|| {
        let table = KEYS.iter().find(|k| k.path == section)?;
        let Shape::Tables(inner) = table.shape else { return None };
        inner.iter().find(|k| k.path == name)
    })
}

fn values(shape: Shape) -> String {
    match shape {
        Shape::Text => "text".into(),
        Shape::Secret => "text, a secret".into(),
        Shape::Service => "unit name that ends in .service".into(),
        Shape::Flag => "true or false".into(),
        Shape::Count { min, max } => format!("whole number from {min} to {max}"),
        Shape::Period => "length of time with its unit".into(),
        Shape::Rate => "bytes per second, as \"20MiB\"".into(),
        Shape::Path => "absolute path".into(),
        Shape::SecretPath => "absolute path of a file with a secret, or name of a systemd credential".into(),
        Shape::Url => "URL".into(),
        Shape::Urls => "list of URLs".into(),
        Shape::ClusterName | Shape::NodeName | Shape::Prefix => "name".into(),
        Shape::Zone => "time zone".into(),
        Shape::Cron => "schedule".into(),
        Shape::Choice(values) => quoted_list(values),
        Shape::Tables(inner) => {
            let names: Vec<&str> = inner.iter().map(|k| k.path).collect();
            format!("list of tables with {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_described_once_with_its_default() {
        let reference = reference();
        assert!(reference.preface.len() >= 2, "{:?}", reference.preface);
        let mut expected: Vec<(String, Option<&str>)> = Vec::new();
        for key in KEYS {
            match key.shape {
                // A list with a default is described by the keys of its tables.
                Shape::Tables(inner) if key.default.is_some() => {
                    expected.extend(inner.iter().map(|k| (format!("[[{}]].{}", key.path, k.path), k.default)));
                }
                _ => {
                    let (section, name) = key.path.rsplit_once('.').unwrap();
                    expected.push((format!("[{section}].{name}"), key.default));
                }
            }
        }
        let described: Vec<(String, Option<String>)> = reference
            .sections
            .iter()
            .flat_map(|s| s.keys.iter().map(|k| (format!("{}.{}", s.heading, k.name), k.default.clone())))
            .collect();
        let expected: Vec<(String, Option<String>)> =
            expected.into_iter().map(|(k, d)| (k, d.map(str::to_owned))).collect();
        assert_eq!(described, expected);
        for section in &reference.sections {
            for key in &section.keys {
                assert!(!key.about.is_empty(), "{}.{} is not explained", section.heading, key.name);
                assert!(!key.values.is_empty(), "{}.{} has no values", section.heading, key.name);
                assert_eq!(key.default.is_none(), key.example.is_some(), "{}.{}", section.heading, key.name);
            }
        }
    }

    #[test]
    fn lists_of_tables_and_comments_of_groups_are_kept() {
        let reference = reference();
        let section = |heading: &str| reference.sections.iter().find(|s| s.heading == heading).unwrap();
        let members = section("[cluster]").keys.iter().find(|k| k.name == "members").unwrap();
        assert!(members.example.as_ref().unwrap().lines().count() == 3, "{members:?}");
        let key_file = section("[etcd]").keys.iter().find(|k| k.name == "key_file").unwrap();
        assert!(key_file.about.starts_with("With https: the CA"), "{key_file:?}");
        assert!(section("[[schedule]]").about.contains("Any number of these"));
    }
}

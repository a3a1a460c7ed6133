//! Reads what `systemctl show` prints about a unit. Pure; tested with the words of real systemds.

use std::path::PathBuf;

use super::start::EtcdUnit;
use super::syntax;

/// The properties that are asked for.
pub(super) const PROPERTIES: [&str; 9] = [
    "LoadState",
    "FragmentPath",
    "ExecStart",
    "Environment",
    "EnvironmentFiles",
    "WorkingDirectory",
    "ActiveState",
    "NeedDaemonReload",
    "User",
];

/// The release in the `Version=` of the manager; none when it is not told in a way that we know.
pub(super) fn major(text: &str) -> Option<u32> {
    let version = text.trim().strip_prefix("Version=")?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

/// The properties of one unit.
#[derive(Debug, Default)]
pub(super) struct Shown(Vec<(String, String)>);

/// One entry per unit, in the order in which they were asked for.
pub(super) fn parse(text: &str) -> Vec<Shown> {
    let mut all = Vec::new();
    for block in text.split("\n\n") {
        let pairs: Vec<_> =
            block.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        if !pairs.is_empty() {
            all.push(Shown(pairs));
        }
    }
    all
}

impl Shown {
    /// The value of a property; empty when it is not there.
    pub(super) fn get(&self, property: &str) -> &str {
        self.all(property).next().unwrap_or_default()
    }

    fn all(&self, property: &str) -> impl DoubleEndedIterator<Item = &str> {
        self.0.iter().filter(move |(k, _)| k == property).map(|(_, v)| v.as_str())
    }

    /// How the unit starts its program.
    pub(super) fn etcd_unit(&self) -> EtcdUnit {
        // `{ path=/usr/bin/etcd ; argv[]=/usr/bin/etcd $ARGS ; ignore_errors=no ; ... }`; the last one is the service.
        let argv = |line: &str| {
            let (_, rest) = line.split_once("argv[]=")?;
            let end = rest.rfind(" ; ignore_errors=").unwrap_or(rest.len());
            rest.get(..end).map(str::to_owned)
        };
        let words = self.all("ExecStart").filter_map(argv).next_back().unwrap_or_default();
        let environment = self.all("Environment").flat_map(syntax::words);
        let files = self.all("EnvironmentFiles").map(|f| f.rsplit_once(" (ignore_errors=").map_or(f, |(path, _)| path));
        let directory = self.get("WorkingDirectory").trim_start_matches(['!', '-']);
        EtcdUnit {
            words: words.split_whitespace().map(str::to_owned).collect(),
            environment: environment.filter_map(|e| e.split_once('=').map(|(n, v)| (n.into(), v.into()))).collect(),
            environment_files: files.filter(|f| !f.is_empty()).map(PathBuf::from).collect(),
            working_directory: Some(PathBuf::from(if directory.is_empty() { "/" } else { directory }))
                .filter(|d| d.is_absolute()),
            user: self.get("User").to_owned(),
        }
    }
}

//! How etcd is started: which flags and variables it sees.
//!
//! It exists for two traps. etcd exits when a flag and its `ETCD_` variable are both set, so our environment file may
//! not be given to a unit that works with flags. And a unit whose data dir is another than the configured one would be
//! guarded, and restored, at the wrong place. Pure: what was read is handed in.

use std::path::{Path, PathBuf};

use super::syntax;

/// Flags whose variables are in our environment file.
pub(super) const OURS: [&str; 4] = ["name", "data-dir", "wal-dir", "initial-cluster-state"];

/// Programs that start another one with its arguments as they are.
const HANDS_ON: [&str; 12] =
    ["bash", "chrt", "dash", "env", "ionice", "nice", "numactl", "runuser", "setpriv", "sh", "stdbuf", "taskset"];

/// What a unit says about the program that it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EtcdUnit {
    /// The words of `ExecStart=`, the program first.
    pub(super) words: Vec<String>,
    /// `Environment=`
    pub(super) environment: Vec<(String, String)>,
    /// `EnvironmentFile=`, those of ours left out.
    pub(super) environment_files: Vec<PathBuf>,
    /// `WorkingDirectory=`
    pub(super) working_directory: Option<PathBuf>,
    /// `User=`; empty: root.
    pub(super) user: String,
}

/// The same with the files read that it names.
#[derive(Debug, Clone, Default)]
pub(super) struct Start {
    /// Where that is written, for messages.
    pub(super) source: String,
    /// The program and its arguments, variables put in.
    pub(super) words: Vec<String>,
    /// Variables, later ones win.
    pub(super) environment: Vec<(String, String)>,
    /// The content of the file that `--config-file` names, if it could be read.
    pub(super) config_file: Option<(PathBuf, Option<String>)>,
    /// Where it is started.
    pub(super) working_directory: Option<PathBuf>,
    /// Who runs it; empty: root.
    pub(super) user: String,
    /// What could not be read of that, and why: there may be more variables than these.
    pub(super) unclear: Option<String>,
}

/// Puts the values of variables into words, as systemd does: `$NAME` alone may become several words, `${NAME}` stays one.
pub(super) fn expand(words: &[String], environment: &[(String, String)]) -> Vec<String> {
    let value = |name: &str| environment.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let mut out = Vec::new();
    for word in words {
        if let Some(name) = word.strip_prefix('$').filter(|n| !n.is_empty() && n.chars().all(is_name)) {
            out.extend(syntax::words(value(name).unwrap_or_default()));
            continue;
        }
        let mut text = String::new();
        let mut rest = word.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            text.push_str(before);
            let Some((name, behind)) = after.split_once('}') else {
                rest = after;
                break;
            };
            text.push_str(value(name).unwrap_or_default());
            rest = behind;
        }
        out.push(text + rest);
    }
    out
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The variables of an environment file; `None` when a line goes on in the next one.
pub(super) fn variables(text: &str) -> Option<Vec<(String, String)>> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', ';']));
    let mut found = Vec::new();
    for line in lines {
        if line.ends_with('\\') {
            return None;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        let value = match value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            Some(quote) => value.strip_prefix(quote)?.strip_suffix(quote)?,
            None => value,
        };
        found.push((name.trim().to_owned(), value.to_owned()));
    }
    Some(found)
}

/// A setting of etcd and where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) value: String,
    pub(super) by: String,
}

impl Start {
    /// Of a unit, with the variables of its files put into `environment`. Words are split at every blank: the line is a
    /// script as often as not, and `systemctl show` does not tell the difference.
    pub(super) fn of_unit(source: &str, unit: &EtcdUnit, environment: Vec<(String, String)>) -> Self {
        let words = expand(&unit.words, &environment);
        Start {
            source: source.to_owned(),
            words: words.iter().flat_map(|w| w.split_whitespace()).map(str::to_owned).collect(),
            environment,
            config_file: None,
            working_directory: unit.working_directory.clone(),
            user: unit.user.clone(),
            unclear: None,
        }
    }

    /// Whether a flag names exactly this path, blanks and all.
    pub(super) fn names(&self, flag: &str, path: &Path) -> bool {
        let line = self.words.join(" ").replace(['"', '\''], "");
        let path = path.display();
        [format!("-{flag}={path}"), format!("-{flag} {path}")].iter().any(|f| {
            line.match_indices(f.as_str())
                .any(|(at, f)| line.get(at + f.len()..).is_some_and(|r| r.is_empty() || r.starts_with(' ')))
        })
    }

    /// The value of a flag; empty when it has none.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        let mut found = None;
        for (i, word) in self.words.iter().enumerate() {
            // A script in quotes (`sh -c "etcd --name \"x\""`) arrives in pieces.
            let word = word.trim_matches(['"', '\'', ';']);
            let Some(bare) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else { continue };
            match bare.split_once('=') {
                Some((n, value)) if n == name => found = Some(value.trim_matches(['"', '\''])),
                None if bare == name => {
                    let next = self.words.get(i + 1).map(String::as_str).filter(|w| !w.starts_with('-'));
                    found = Some(next.unwrap_or_default().trim_matches(['"', '\'']));
                }
                _ => {}
            }
        }
        found
    }

    pub(super) fn variable(&self, flag: &str) -> Option<&str> {
        let name = format!("ETCD_{}", flag.replace('-', "_").to_ascii_uppercase());
        let found = self.environment.iter().rev().find(|(n, _)| *n == name);
        found.map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// The file that etcd takes everything from, flags and variables left aside.
    pub(super) fn config_file_path(&self) -> Option<&str> {
        self.flag("config-file").or_else(|| self.variable("config-file")).filter(|f| !f.is_empty())
    }

    /// The value that etcd will use; `None`: its default, or not to be told.
    pub(super) fn value(&self, flag: &str) -> Option<String> {
        self.set(flag).map(|set| set.value)
    }

    /// What etcd will use; `None`: its default, or not to be told.
    pub(super) fn set(&self, flag: &str) -> Option<Set> {
        if let Some((path, text)) = &self.config_file {
            let value = text.as_deref().and_then(|text| yaml_value(text, flag))?;
            return Some(Set { value, by: path.display().to_string() });
        }
        let by_flag = self.flag(flag).map(|v| Set { value: v.to_owned(), by: format!("--{flag}") });
        let variable = || format!("ETCD_{}", flag.replace('-', "_").to_ascii_uppercase());
        by_flag.or_else(|| self.variable(flag).map(|v| Set { value: v.to_owned(), by: variable() }))
    }

    /// The program, when it is etcd itself.
    pub(super) fn program(&self) -> Option<PathBuf> {
        let is_it = |w: &&String| w.rsplit('/').next() == Some("etcd");
        self.is_etcd().then(|| self.words.iter().find(is_it).map(PathBuf::from)).flatten()
    }

    /// Whether the program is etcd itself, at most behind something that hands on what it was given, and not a script or a container of that name.
    pub(super) fn is_etcd(&self) -> bool {
        let name = |w: &str| w.rsplit('/').next().unwrap_or_default().to_owned();
        let Some(at) = self.words.iter().position(|w| name(w) == "etcd") else { return false };
        let hands_on = self.words.first().is_some_and(|first| at == 0 || HANDS_ON.contains(&name(first).as_str()));
        hands_on && !self.words.get(at).is_some_and(|w| w.contains("/init.d/"))
    }
}

/// The value of a key at the beginning of a line; etcd's configuration file is flat.
fn yaml_value(text: &str, key: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|l| l.trim_start_matches(['"', '{']).strip_prefix(key)?.trim_start_matches('"').strip_prefix(':'))?;
    let value = line.split(" #").next().unwrap_or_default().trim().trim_end_matches(',');
    let value = value.trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// A value that is known: no specifier, no command, no variable in it.
pub(super) fn certain(value: &str) -> bool {
    !value.is_empty() && !value.contains(['%', '$', '`'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_etcd_itself_is_etcd() {
        for (line, expected) in [
            ("/usr/bin/etcd", true),
            ("/usr/bin/etcd --name x", true),
            ("/usr/bin/env A=b /opt/etcd/etcd", true),
            ("/bin/bash -c GOMAXPROCS=$(nproc) /usr/bin/etcd", true),
            ("/usr/bin/nice -n 5 etcd", true),
            ("/etc/init.d/etcd start", false),
            ("/bin/sh /etc/init.d/etcd start", false),
            ("/usr/bin/podman start -a etcd", false),
            ("/usr/bin/docker run --name etcd etcd", false),
            ("/usr/local/bin/start-etcd.sh", false),
            ("", false),
        ] {
            let start = Start { words: line.split_whitespace().map(str::to_owned).collect(), ..Start::default() };
            assert_eq!(start.is_etcd(), expected, "{line}");
        }
    }
}

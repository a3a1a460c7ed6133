//! How etcd is started: which flags and variables it sees, and whether they agree with the configuration.
//!
//! It exists for two traps. etcd exits when a flag and its `ETCD_` variable are both set, so our environment file may
//! not be given to a unit that works with flags. And a unit whose data dir is another than the configured one would be
//! guarded, and restored, at the wrong place. Pure: what was read is handed in.

use std::path::{Path, PathBuf};

use crate::config::{ManagedBy, Settings};
use crate::error::{Error, Kind, Result};

use super::machine::Disk;
use super::{Note, syntax};

/// Flags whose variables are in our environment file.
const OURS: [&str; 4] = ["name", "data-dir", "wal-dir", "initial-cluster-state"];

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

/// What follows from it.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Whether etcd's unit may read our environment file.
    pub(super) give_environment: bool,
    /// What a person should know.
    pub(super) notes: Vec<Note>,
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
struct Set {
    value: String,
    by: String,
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

    fn variable(&self, flag: &str) -> Option<&str> {
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
    fn set(&self, flag: &str) -> Option<Set> {
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

/// Compares what etcd sees with what is configured.
///
/// # Errors
/// When etcd works in another data dir or WAL dir than the configured one.
pub(super) fn judge(settings: &Settings, start: Option<&Start>, disk: &dyn Disk) -> Result<Judged> {
    let etcd = &settings.etcd;
    let mut judged = Judged::default();
    if etcd.managed_by.resets_one_node() && !etcd.data_dir.ends_with("server/db/etcd") {
        let dir = if etcd.managed_by == ManagedBy::K3s { "k3s" } else { "rke2" };
        judged.notes.push(Note::warning(format!(
            "etcd.data_dir is {}, but {dir} usually keeps etcd in /var/lib/rancher/{dir}/server/db/etcd",
            etcd.data_dir.display()
        )));
    }
    let Some(start) = start else { return Ok(judged) };
    if etcd.managed_by == ManagedBy::Systemd {
        environment(settings, start, &mut judged);
    }
    directories(settings, start, disk)?;
    if start.flag("force-new-cluster").is_some_and(|v| v != "false")
        || start.variable("force-new-cluster") == Some("true")
    {
        judged.notes.push(Note::warning(format!(
            "{} starts etcd with --force-new-cluster: at each start it forgets the other members; remove it",
            start.source
        )));
    }
    judged.notes.extend(owner(settings, start, disk));
    // Our variable wins over others of the same name.
    let named = start.set("name").filter(|n| certain(&n.value) && !judged.give_environment);
    if let Some(name) = named.filter(|n| n.value != settings.node.name.as_str()) {
        judged.notes.push(Note::warning(format!(
            "etcd's name is {} ({} of {}), and node.name is {}: use one name for both",
            name.value, name.by, start.source, settings.node.name
        )));
    }
    Ok(judged)
}

/// etcd's own user must be able to work in its directories; the gate leaves the owner of a directory as it finds it.
fn owner(settings: &Settings, start: &Start, disk: &dyn Disk) -> Vec<Note> {
    let user = &start.user;
    if matches!(user.as_str(), "" | "root" | "0") {
        return Vec::new();
    }
    let dirs = [Some(&settings.etcd.data_dir), settings.etcd.wal_dir.as_ref()];
    let wrong = dirs.into_iter().flatten().filter_map(|dir| {
        let shown = syntax::in_shell(dir);
        match (disk.is_dir(dir), disk.belongs_to(dir, user)) {
            (false, _) => Some(format!(
                "{} runs etcd as user {user}, and {shown} does not exist: install -d -m 700 -o {user} -g {user} {shown}",
                start.source
            )),
            (true, Some(false)) => Some(format!(
                "{} runs etcd as user {user}, and {shown} belongs to somebody else: chown -R {user}: {shown}",
                start.source
            )),
            _ => None,
        }
    });
    wrong.map(Note::warning).collect()
}

/// Whether etcd's unit may read our environment file.
pub(super) fn environment_is_given(start: &Start) -> bool {
    start.config_file_path().is_none() && !OURS.iter().any(|f| start.flag(f).is_some()) && start.is_etcd()
}

/// Whether our environment file may be given to etcd, and what to do where it may not.
fn environment(settings: &Settings, start: &Start, judged: &mut Judged) {
    let file = settings.etcd.environment_file.display();
    let source = &start.source;
    let by_hand = "let it say initial-cluster-state existing: a wiped host that is started by hand then fails instead of forming an empty cluster";
    if let Some(path) = start.config_file_path() {
        judged.notes.push(Note::plain(format!(
            "{source} starts etcd with the configuration file {path}; etcd then reads no variables, so {file} is not given to it; in {path}, {by_hand}"
        )));
        return;
    }
    let flags: Vec<String> = OURS.iter().filter(|f| start.flag(f).is_some()).map(|f| format!("--{f}")).collect();
    if !flags.is_empty() {
        let list = flags.join(", ");
        let instead = match start.flag("initial-cluster-state") {
            Some("existing") => String::new(),
            Some(_) => "; change that to --initial-cluster-state=existing once the cluster has formed".to_owned(),
            None => format!(
                "; add --initial-cluster-state=existing yourself once the cluster has formed, or replace {list} by nothing and run 'lifeboat setup' again"
            ),
        };
        judged.notes.push(Note::plain(format!(
            "{source} sets {list}, and etcd exits when a flag and its variable are both set: {file} is not given to it{instead}"
        )));
        return;
    }
    if let Some(unclear) = &start.unclear {
        judged.notes.push(Note::warning(format!(
            "{source} reads {unclear}: what etcd is started with cannot be told, and {file} is not given to it; check that its data dir is {}, and {by_hand}",
            settings.etcd.data_dir.display()
        )));
        return;
    }
    if !start.is_etcd() {
        let program = start.words.first().map_or("nothing", String::as_str);
        judged.notes.push(Note::plain(format!(
            "{source} starts {program}, whose flags for etcd cannot be seen: {file} is not given to it; {by_hand}"
        )));
        return;
    }
    judged.give_environment = true;
}

/// Refuses when etcd works elsewhere, or would without us: our environment file goes with the drop-in, and an etcd that only we had told where its
/// data is would then begin anew beside it.
fn directories(settings: &Settings, start: &Start, disk: &dyn Disk) -> Result<()> {
    let etcd = &settings.etcd;
    let same = |a: &Path, b: &Path| disk.real(a) == disk.real(b);
    let absolute = |text: &str| match &start.working_directory {
        _ if Path::new(text).is_absolute() => Some(PathBuf::from(text)),
        Some(dir) => Some(dir.join(text)),
        None => None,
    };
    let contradiction = |what: &str, theirs: &Path, by: &str, key: &str, ours: &str| {
        let text = format!(
            "{} starts etcd with its {what} in {} ({by}), but {key} is {ours}: nothing was written",
            start.source,
            theirs.display()
        );
        let field = key.trim_start_matches("etcd.");
        Error::new(Kind::Config, text)
            .hint(format!("{field} = {:?} in [etcd], then type the same again", theirs.display().to_string()))
    };
    let unreadable = matches!(&start.config_file, Some((_, None)));
    match start.set("data-dir") {
        Some(set) if certain(&set.value) && !start.names("data-dir", &etcd.data_dir) => {
            if let Some(theirs) = absolute(&set.value).filter(|t| !same(t, &etcd.data_dir)) {
                let ours = etcd.data_dir.display().to_string();
                return Err(contradiction("data", &theirs, &set.by, "etcd.data_dir", &ours));
            }
        }
        None if start.is_etcd() && !unreadable && start.unclear.is_none() => {
            let name = start.set("name").map_or_else(|| "default".to_owned(), |n| n.value);
            let theirs = absolute(&format!("{name}.etcd")).filter(|t| certain(&name) && !same(t, &etcd.data_dir));
            if let Some(theirs) = theirs {
                let ours = etcd.data_dir.display().to_string();
                let e = contradiction("data", &theirs, "etcd's default", "etcd.data_dir", &ours);
                // What is already there must not be left behind.
                return Err(match disk.is_dir(&theirs.join("member")) {
                    true => e,
                    false => e.hint(format!(
                        "systemctl edit {}, and add below [Service]: Environment=ETCD_DATA_DIR={ours}; then type the same again",
                        start.source
                    )),
                });
            }
        }
        _ => {}
    }
    let wal = start.set("wal-dir");
    match (&wal, &etcd.wal_dir) {
        (Some(set), ours) if certain(&set.value) && !ours.as_ref().is_some_and(|o| start.names("wal-dir", o)) => {
            let theirs = absolute(&set.value);
            let inside = etcd.data_dir.join("member/wal");
            let expected = ours.as_ref().unwrap_or(&inside);
            if let Some(theirs) = theirs.filter(|t| !same(t, expected)) {
                let ours = ours.as_ref().map_or_else(|| "not set".to_owned(), |d| d.display().to_string());
                return Err(contradiction("WAL", &theirs, &set.by, "etcd.wal_dir", &ours));
            }
        }
        (None, Some(ours)) if start.is_etcd() && !unreadable && start.unclear.is_none() => {
            let text = format!(
                "etcd.wal_dir is {}, but {} starts etcd without --wal-dir: nothing was written",
                ours.display(),
                start.source
            );
            return Err(Error::new(Kind::Config, text).hint(format!(
                "remove wal_dir from [etcd], or: systemctl edit {}, and add below [Service]: Environment=ETCD_WAL_DIR={}",
                start.source,
                ours.display()
            )));
        }
        _ => {}
    }
    Ok(())
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

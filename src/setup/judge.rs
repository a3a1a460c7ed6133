//! Whether what etcd sees at its start agrees with the configuration, and whether our variables may be given to it.

use std::path::{Path, PathBuf};

use super::machine::Disk;
use super::start::{OURS, Start, certain};
use super::{Note, syntax};
use crate::config::{ManagedBy, Settings};
use crate::error::{Error, Kind, Result};

/// What follows from it.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Whether etcd's unit may read our environment file.
    pub(super) give_environment: bool,
    /// What a person should know.
    pub(super) notes: Vec<Note>,
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

//! Which paths the units must be allowed to write besides those that the package's unit files allow.
//!
//! It exists because both units see the whole disk as read-only otherwise. Pure: the disk is asked through a trait.

use std::path::{Path, PathBuf};

use crate::config::{Settings, Store};
use crate::error::{Error, Kind, Result};

use super::machine::{AGENT_USER, Disk};
use super::{Note, syntax};

/// What `lifeboat-bootstrap.service` allows itself.
pub(super) const GATE_WRITES: [&str; 2] = ["/etc/lifeboat", "/var/lib"];

/// What `lifeboat.service` allows itself (`StateDirectory=`).
pub(super) const AGENT_WRITES: [&str; 1] = ["/var/lib/lifeboat"];

/// What `lifeboat.service` does not see at all, or only an own, empty one of.
pub(super) const HIDDEN_FROM_AGENT: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Directories of the system: to make one writable for the sake of a folder in it would give up the protection.
const TOO_WIDE: [&str; 16] = [
    "/", "/bin", "/boot", "/dev", "/efi", "/etc", "/home", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys",
    "/usr", "/var",
];

/// What a unit is given.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// Words of `ReadWritePaths=`.
    pub(super) words: Vec<String>,
    /// Mount units to wait for.
    pub(super) mounts: Vec<String>,
    /// What a person should know.
    pub(super) notes: Vec<Note>,
}

/// Paths with the keys that name them.
struct Wanted(Vec<(&'static str, PathBuf)>);

impl Wanted {
    /// Without what is allowed already, or is below another of them.
    fn words(mut self, allowed: &[&str]) -> Result<Vec<String>> {
        self.0.retain(|(_, path)| !allowed.iter().any(|a| path.starts_with(a)));
        self.0.sort_by(|a, b| a.1.cmp(&b.1));
        let mut kept: Vec<(&str, PathBuf)> = Vec::new();
        for (key, path) in self.0 {
            if !kept.iter().any(|(_, k)| path.starts_with(k)) {
                kept.push((key, path));
            }
        }
        kept.iter().map(|(key, path)| syntax::optional_word(key, path)).collect()
    }
}

/// What the gate needs.
///
/// # Errors
/// When a path cannot be written into a unit file, or a directory would have to be created where the gate may not.
pub(super) fn of_the_gate(settings: &Settings, disk: &dyn Disk) -> Result<Access> {
    let (etcd, bootstrap) = (&settings.etcd, &settings.bootstrap);
    let parent = |path: &Path| path.parent().unwrap_or(path).to_owned();
    let mut access = Access::default();
    let mut wanted = Vec::new();
    let mut made = vec![("etcd.data_dir", etcd.data_dir.clone()), ("bootstrap.state_dir", bootstrap.state_dir.clone())];
    made.extend(etcd.wal_dir.clone().map(|dir| ("etcd.wal_dir", dir)));
    made.push(("etcd.environment_file", parent(&etcd.environment_file)));
    for (key, dir) in made {
        // A link below an allowed directory may lead out of it.
        if !allowed(&GATE_WRITES, &disk.real(&dir)) {
            wanted.push((key, to_create(key, &dir, disk, &mut access.notes)?));
        }
    }
    let requests = disk.real(&parent(&bootstrap.request_file));
    if TOO_WIDE.iter().any(|wide| requests == Path::new(wide)) {
        let text = format!(
            "bootstrap.request_file is {}: the gate removes it when it is done, and would have to write into all of {}",
            bootstrap.request_file.display(),
            requests.display()
        );
        return Err(Error::new(Kind::Config, text).hint("put it into a directory of its own, such as /etc/lifeboat"));
    }
    wanted.push(("bootstrap.request_file", requests));
    if let Store::Dir { path } = &settings.store {
        wanted.push(("store.dir.path", disk.real(path)));
        beneath_a_mount(path, disk)?;
    }
    access.words = Wanted(wanted).words(&GATE_WRITES)?;
    // A disk that fails to mount must not fail the gate (it says so and waits), so only the order is asked for.
    let points =
        [Some(&etcd.data_dir), etcd.wal_dir.as_ref()].into_iter().flatten().filter_map(|dir| disk.mount_point(dir));
    access.mounts = points.map(|point| syntax::mount_unit(&point)).collect();
    access.mounts.sort();
    access.mounts.dedup();
    Ok(access)
}

fn allowed(by: &[&str], path: &Path) -> bool {
    by.iter().any(|a| path.starts_with(a))
}

/// The directory that must be writable so that `dir` can be created, now or after it was lost.
fn to_create(key: &str, dir: &Path, disk: &dyn Disk, notes: &mut Vec<Note>) -> Result<PathBuf> {
    let real = disk.real(dir);
    if disk.mount_point(dir).is_some_and(|point| point == real) {
        return Ok(real);
    }
    let mut at = real.parent().unwrap_or(&real);
    while !disk.is_dir(at) {
        at = at.parent().unwrap_or(Path::new("/"));
        if at == Path::new("/") {
            break;
        }
    }
    let shown = syntax::in_shell(dir);
    let wide = TOO_WIDE.iter().any(|w| at == Path::new(w));
    match (wide, disk.is_dir(dir)) {
        (true, true) => {
            notes.push(Note::plain(format!(
                "the gate may write in {shown} ({key}), not in {}: if {shown} itself is ever removed, create it again by hand: mkdir -m 700 {shown}",
                at.display()
            )));
            Ok(real.clone())
        }
        (true, false) => Err(Error::new(
            Kind::Config,
            format!(
                "{key} is {shown}, which does not exist, and the gate is not allowed to write all of {} to create it; nothing was written",
                at.display()
            ),
        )
        .hint(format!("mkdir -p -m 700 {shown} (owned by the user that etcd runs as), then type the same again"))),
        (false, exists) => {
            if !exists {
                notes.push(Note::plain(format!(
                    "{shown} ({key}) does not exist yet: the gate may write in {}, so that it can create it",
                    at.display()
                )));
            }
            Ok(at.to_owned())
        }
    }
}

/// A store at a mount point looks empty when the mount is missing, and an empty store is one that never held a cluster.
fn beneath_a_mount(store: &Path, disk: &dyn Disk) -> Result<()> {
    if disk.mount_point(store).is_none_or(|point| point != disk.real(store)) {
        return Ok(());
    }
    let inside = store.join("etcd");
    Err(Error::new(
        Kind::Config,
        format!(
            "store.dir.path {} is a mount point itself: whenever the mount is missing, an empty directory is there, and an empty store means that \
             there was never a cluster; nothing was written",
            store.display()
        ),
    )
    .hint(format!(
        "install -d -m 700 -o {AGENT_USER} -g {AGENT_USER} {}, move what is in the store there, and set store.dir.path to it",
        syntax::in_shell(&inside)
    )))
}

/// What the agent needs.
///
/// # Errors
/// When a path cannot be written into a unit file.
pub(super) fn of_the_agent(settings: &Settings, disk: &dyn Disk) -> Result<Access> {
    let mut wanted = vec![("node.state_dir", settings.node.state_dir.clone())];
    if let Store::Dir { path } = &settings.store {
        wanted.push(("store.dir.path", path.clone()));
    }
    let mut access = Access::default();
    for (key, dir) in &wanted {
        let shown = syntax::in_shell(dir);
        if allowed(&HIDDEN_FROM_AGENT, dir) {
            access.notes.push(Note::warning(format!(
                "{key} is {shown}, which {} hides from the agent (ProtectHome=, PrivateTmp=): choose a directory elsewhere",
                super::AGENT
            )));
        } else if disk.is_dir(dir) && disk.agent_may_write(dir) == Some(false) {
            access.notes.push(Note::warning(format!(
                "the agent's user {AGENT_USER} may not write in {shown} ({key}): chown {AGENT_USER}: {shown} && chmod u+rwx {shown}"
            )));
        } else if !disk.is_dir(dir) && dir != Path::new(AGENT_WRITES[0]) {
            access.notes.push(Note::warning(format!(
                "{shown} ({key}) does not exist, and the agent cannot create it: install -d -m 700 -o {AGENT_USER} -g {AGENT_USER} {shown}"
            )));
        }
    }
    let real = wanted.into_iter().map(|(key, dir)| (key, disk.real(&dir))).collect();
    access.words = Wanted(real).words(&AGENT_WRITES)?;
    Ok(access)
}

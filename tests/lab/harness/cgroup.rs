//! One cgroup per host, in the unified hierarchy and, where the machine still has it, in systemd's of version 1.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::wait::poll;

/// All cgroups of the lab lie below this one.
const PARENT: &str = "etcd-lifeboat-lab";

/// The directories of one cgroup, the unified one first.
pub(super) struct Cgroup {
    dirs: Vec<PathBuf>,
}

/// Mount point of the unified hierarchy, and of systemd's version 1 hierarchy.
fn hierarchies() -> Vec<PathBuf> {
    let unified = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    let unified = unified.into_iter().find(|dir| dir.join("cgroup.controllers").exists());
    let unified = unified.unwrap_or_else(|| panic!("no cgroup version 2 is mounted on this machine"));
    let legacy = Some(PathBuf::from("/sys/fs/cgroup/systemd")).filter(|dir| dir.join("cgroup.procs").exists());
    std::iter::once(unified).chain(legacy).collect()
}

/// Whether the unified hierarchy is the only one, as on every machine that systemd has booted lately.
pub(super) fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

impl Cgroup {
    pub(super) fn create(lab: &str, host: &str) -> Cgroup {
        let dirs: Vec<_> = hierarchies().into_iter().map(|h| h.join(PARENT).join(lab).join(host)).collect();
        for dir in &dirs {
            // The last of other labs may remove the parent in between.
            let made = poll(Duration::from_secs(1), || fs::create_dir_all(dir).ok());
            assert!(made.is_some(), "cannot create the cgroup {}", dir.display());
        }
        Cgroup { dirs }
    }

    /// The files to which a process writes its id to get in.
    pub(super) fn doors(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|dir| dir.join("cgroup.procs")).collect()
    }

    /// Stops or continues everything that runs in it, as seen from outside at once.
    pub(super) fn freeze(&self, frozen: bool) {
        let dir = self.dirs.first().expect("the unified one");
        let digit = if frozen { "1" } else { "0" };
        fs::write(dir.join("cgroup.freeze"), digit).unwrap_or_else(|e| panic!("cannot freeze {}: {e}", dir.display()));
        let wanted = format!("frozen {digit}");
        let done = poll(Duration::from_secs(10), || {
            let events = fs::read_to_string(dir.join("cgroup.events")).ok()?;
            events.lines().any(|line| line == wanted).then_some(())
        });
        assert!(done.is_some(), "{} did not become '{wanted}'", dir.display());
    }

    /// Removes it, with what systemd made in it. The processes must be gone.
    pub(super) fn remove(&self) {
        self.dirs.iter().for_each(|dir| remove_tree(dir));
    }
}

/// Ends what still runs in the cgroups of a lab that is no more, and removes them.
pub(super) fn clear(lab: &str) {
    for hierarchy in hierarchies() {
        let dir = hierarchy.join(PARENT).join(lab);
        if dir.join("cgroup.kill").exists() {
            let _ = fs::write(dir.join("cgroup.kill"), "1");
            poll(Duration::from_secs(10), || {
                let events = fs::read_to_string(dir.join("cgroup.events")).ok()?;
                events.lines().any(|line| line == "populated 0").then_some(())
            });
        }
        remove_tree(&dir);
        // Only the last lab of several can do this.
        let _ = fs::remove_dir(hierarchy.join(PARENT));
    }
}

/// The cgroups that labs have made and not removed: `lab` names.
pub(super) fn all() -> Vec<String> {
    let mut names = Vec::new();
    for hierarchy in hierarchies() {
        let entries = fs::read_dir(hierarchy.join(PARENT)).into_iter().flatten().flatten();
        let dirs = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
        names.extend(dirs.map(|e| e.file_name().to_string_lossy().into_owned()));
    }
    names
}

/// Only directories can be removed there; their files go with them.
fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // The kernel lets go of a cgroup a moment after its last process.
    poll(Duration::from_secs(5), || (fs::remove_dir(dir).is_ok() || !dir.exists()).then_some(()));
}

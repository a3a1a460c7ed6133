//! What a lab leaves when it is killed: a directory with the disks of its hosts, an empty one in `/run`, and empty
//! cgroups. Its processes, mounts and network namespaces go with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::lab::stage_of;
use super::{cgroup, machine, rootfs};

/// The directory of one lab, held by a lock as long as the lab lives.
pub(super) struct RunDir {
    pub(super) name: String,
    pub(super) path: PathBuf,
    _lock: Flock<File>,
}

const LOCK: &str = "lock";
const DOOR: &str = "door";

impl RunDir {
    /// A new one, after those that nobody holds any more have been cleared.
    pub(super) fn create(story: &str) -> RunDir {
        let parent = rootfs::cache().join("run");
        fs::create_dir_all(&parent).unwrap_or_else(|e| panic!("cannot create {}: {e}", parent.display()));
        // Held while looking and creating: two that start at once must not clear each other.
        let door = lock(&parent.join(DOOR), FlockArg::LockExclusive).expect("the door of the run directory");
        clear_dead(&parent);
        let name = format!("{story}-{}", machine::random_hex(3));
        let path = parent.join(&name);
        fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
        let held = lock(&path.join(LOCK), FlockArg::LockExclusiveNonblock).expect("a lock nobody knows of");
        drop(door);
        RunDir { name, path, _lock: held }
    }

    pub(super) fn remove(&self) {
        // The lock goes last, and behind the door: another lab would take a directory without it for one that nobody holds.
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten().filter(|e| e.file_name() != LOCK) {
            remove(&entry.path());
        }
        let _door = self.path.parent().and_then(|parent| lock(&parent.join(DOOR), FlockArg::LockExclusive));
        remove(&self.path);
    }
}

fn lock(path: &Path, how: FlockArg) -> Option<Flock<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
    Flock::lock(file, how).ok()
}

fn clear_dead(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        if lock(&path.join(LOCK), FlockArg::LockExclusiveNonblock).is_some() {
            eprintln!("lab: removing what a killed run has left: {}", path.display());
            let name = entry.file_name().to_string_lossy().into_owned();
            cgroup::clear(&name);
            let _ = fs::remove_dir(stage_of(&name));
            remove(&path);
        }
    }
}

fn remove(path: &Path) {
    // It must never follow a mount that is still there.
    if let Err(e) = machine::try_run("rm", &["-rf", "--one-file-system", "--", machine::text(path)]) {
        eprintln!("lab: {e}");
    }
}

/// Everything on this machine that carries the name of a lab: processes in its cgroups, mounts, cgroups, directories.
pub fn traces(lab: &str) -> Vec<String> {
    let mut found = Vec::new();
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    for process in processes.filter(|e| e.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())) {
        let read = |name: &str| fs::read_to_string(process.path().join(name)).unwrap_or_default();
        // Not all of them are in a cgroup of the lab's: the store has it on its command line.
        let itself = process.file_name().to_string_lossy() == std::process::id().to_string();
        if read("cgroup").contains(lab) || (!itself && read("cmdline").contains(lab)) {
            found.push(format!("process {}: {}", process.path().display(), read("cmdline").replace('\0', " ")));
        }
        found.extend(read("mountinfo").lines().filter(|l| l.contains(lab)).map(|l| format!("mount {l}")));
    }
    found.extend(cgroup::all().into_iter().filter(|name| name == lab).map(|name| format!("cgroup {name}")));
    let dirs = [rootfs::cache().join("run").join(lab), stage_of(lab)];
    found.extend(dirs.iter().filter(|dir| dir.exists()).map(|dir| format!("directory {}", dir.display())));
    found
}

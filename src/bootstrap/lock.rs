//! One run of the gate at a time on a host: two would build in the same staging directory and quarantine each other's work.

use std::fs::File;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys::fs;

const FILE: &str = "bootstrap.lock";

/// Held by the run that may act. The kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct HostLock(#[allow(dead_code, reason = "dropping it releases the lock")] Flock<File>);

/// Takes the right to act on this host; `None` while another run has it.
///
/// # Errors
/// When the file cannot be made or locked.
pub(super) fn take(state_dir: &Path) -> Result<Option<HostLock>> {
    fs::create_dir_all(state_dir, 0o700)?;
    let path = state_dir.join(FILE);
    if !path.exists() {
        match fs::create_new(&path, 0o600) {
            Err(_) if path.exists() => {}
            other => drop(other?),
        }
    }
    let file = File::open(&path).or_fail(Kind::Io, || format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(HostLock(held))),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => {
            Err(Error::new(Kind::Io, format!("cannot lock {}", path.display())).caused_by(std::io::Error::from(e)))
        }
    }
}

/// What a second run by hand is told.
pub(super) fn taken(state_dir: &Path) -> Error {
    let path = state_dir.join(FILE);
    Error::new(
        Kind::Refused,
        format!("another 'lifeboat bootstrap' runs on this host and holds {}; nothing was done", path.display()),
    )
    .hint(format!("let that one end, or see which process it is: fuser -v {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = take(&state).unwrap();
        assert!(first.is_some());
        assert!(take(&state).unwrap().is_none());
        drop(first);
        assert!(take(&state).unwrap().is_some());
        assert_eq!(taken(&state).kind(), Kind::Refused);
    }
}

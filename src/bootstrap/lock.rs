//! One gate at a time on a host: two of them would remove each other's staging directory, with the started mark already taken.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys::fs;

const FILE: &str = "bootstrap.lock";

/// The right to change this host's data dir. Dropping it, or the end of the process, gives it back.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "dropping it releases the lock")] Flock<std::fs::File>);

/// Takes the lock; `None` while another process has it.
///
/// # Errors
/// When the lock file cannot be made or locked.
pub(super) fn try_take(state_dir: &Path) -> Result<Option<Lock>> {
    fs::create_dir_all(state_dir, 0o755)?;
    let path = state_dir.join(FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .or_fail(Kind::Io, || format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(Lock(held))),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => {
            Err(Error::new(Kind::Io, format!("cannot lock {}", path.display())).caused_by(std::io::Error::from(e)))
        }
    }
}

/// What to say when another process has it.
pub(super) fn taken(state_dir: &Path) -> Error {
    Error::new(
        Kind::Refused,
        format!("another 'lifeboat bootstrap' is at work on this host (it holds {})", state_dir.join(FILE).display()),
    )
    .hint("wait for it to end; 'systemctl status lifeboat-bootstrap' or 'pgrep -a lifeboat' shows it")
}

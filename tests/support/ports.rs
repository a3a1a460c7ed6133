//! Ports on 127.0.0.1 that no other test process takes, whatever runs in parallel.
//!
//! Asking the kernel for a free port and closing it again leaves a gap in which another test, or an outgoing
//! connection, gets the same one. These ports lie below the range of outgoing connections and are held by a lock file.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A reserved port; free again when the value is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: Flock<File>,
}

impl Port {
    /// Reserves a port that nobody listens on.
    pub fn reserve() -> Port {
        let dir = lock_dir();
        let start = u16::from_le_bytes(random());
        (0..COUNT)
            .map(|i| FIRST + (u32::from(start) + u32::from(i)).rem_euclid(u32::from(COUNT)) as u16)
            .find_map(|number| try_reserve(&dir, number))
            .unwrap_or_else(|| panic!("no free port in {FIRST}..{} on 127.0.0.1", FIRST + COUNT))
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

fn try_reserve(dir: &std::path::Path, number: u16) -> Option<Port> {
    let path = dir.join(number.to_string());
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).ok()?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
    // A lock says nothing of programs that are not ours.
    TcpListener::bind(("127.0.0.1", number)).ok()?;
    Some(Port { number, _lock: lock })
}

fn lock_dir() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("lifeboat-test-ports-{}", nix::unistd::geteuid()));
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
    dir
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel's random source");
    bytes
}

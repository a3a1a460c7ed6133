//! Failures of a store directory, in the words of the port.
//!
//! It exists so that "the object is missing" and "the directory is missing" (a share that is not mounted) never look alike.

use std::error::Error as _;
use std::io::{Error as IoError, ErrorKind};
use std::path::Path;

use crate::error::Error;
use crate::ports::{StoreError, StoreErrorKind};

/// `what` is the whole message ("cannot read dir:///x/key").
pub(super) fn from_io(root: &Path, what: String, e: IoError) -> StoreError {
    if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
        return if root.is_dir() {
            StoreError::new(StoreErrorKind::NotFound, format!("{what}: there is no such object"))
        } else {
            missing_root(root, what)
        };
    }
    let (kind, hint) = classify(root, &e);
    let out = StoreError::new(kind, what).caused_by(e);
    match hint {
        Some(hint) => out.hint(hint),
        None => out,
    }
}

/// The same for a failure of `sys::fs`, whose own message names the path.
pub(super) fn from_fs(root: &Path, what: String, e: Error) -> StoreError {
    if !root.is_dir() {
        return missing_root(root, what);
    }
    let (kind, hint) = match e.source().and_then(|s| s.downcast_ref::<IoError>()) {
        Some(io) => classify(root, io),
        None => (StoreErrorKind::Unavailable, None),
    };
    let out = StoreError::new(kind, what).caused_by(e);
    match hint {
        Some(hint) => out.hint(hint),
        None => out,
    }
}

fn missing_root(root: &Path, what: String) -> StoreError {
    StoreError::new(
        StoreErrorKind::NoSuchBucket,
        format!("{what}: the store directory {} does not exist", root.display()),
    )
    .hint(format!(
        "if it is a mount point, mount it; if this is the first start, create it: install -d -m 0700 {}",
        root.display()
    ))
}

fn classify(root: &Path, e: &IoError) -> (StoreErrorKind, Option<String>) {
    let root = root.display();
    // The standard library has no stable name for it.
    let symbolic_link = e.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32);
    match e.kind() {
        ErrorKind::PermissionDenied => (
            StoreErrorKind::Denied,
            Some(format!(
                "the user that runs lifeboat needs to read and write in {root}, which must have hard links (not vfat): ls -ld {root}"
            )),
        ),
        ErrorKind::ReadOnlyFilesystem => {
            (StoreErrorKind::Denied, Some(format!("{root} is mounted read-only: findmnt -T {root}")))
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            (StoreErrorKind::Unavailable, Some(format!("make room: df -h {root}; lifeboat prune --dry-run")))
        }
        kind if symbolic_link || kind == ErrorKind::IsADirectory => (
            StoreErrorKind::Rejected,
            Some(format!("something that is no object of ours has this name below {root}; move it away")),
        ),
        ErrorKind::CrossesDevices => (
            StoreErrorKind::Rejected,
            Some(format!("a directory below {root} is a mount point of its own; the store must be one file system")),
        ),
        _ => (StoreErrorKind::Unavailable, None),
    }
}

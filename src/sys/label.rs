//! SELinux labels of files. Where there is no SELinux, nothing here does anything.
//!
//! It exists because what is built for etcd must carry the label of etcd's data, or etcd may not open it. It may not know a policy.

use std::io;
use std::path::Path;

use crate::error::{Kind, Result, ResultExt};

const ATTRIBUTE: &str = "security.selinux";

/// The label of a file; `None` where there are none.
///
/// # Errors
/// When the file cannot be asked.
pub fn of(path: &Path) -> Result<Option<Vec<u8>>> {
    get(path, ATTRIBUTE)
}

/// Gives the label to a file or directory.
///
/// # Errors
/// When the kernel refuses it.
pub fn set(path: &Path, label: &[u8]) -> Result<()> {
    put(path, ATTRIBUTE, label)
}

fn get(path: &Path, attribute: &str) -> Result<Option<Vec<u8>>> {
    match xattr::get(path, attribute) {
        // A file system without attributes.
        Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(None),
        other => other.or_fail(Kind::Io, || format!("cannot ask for the {attribute} of {}", path.display())),
    }
}

fn put(path: &Path, attribute: &str, value: &[u8]) -> Result<()> {
    xattr::set(path, attribute, value).or_fail(Kind::Io, || {
        format!("cannot set the {attribute} of {} to {:?}", path.display(), String::from_utf8_lossy(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By an attribute that every user may set: that of SELinux belongs to the kernel's policy.
    #[test]
    fn an_attribute_is_read_and_set() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "").unwrap();
        assert_eq!(get(&path, "user.label").unwrap(), None);
        put(&path, "user.label", b"system_u:object_r:etcd_var_lib_t:s0\0").unwrap();
        assert_eq!(get(&path, "user.label").unwrap().unwrap(), b"system_u:object_r:etcd_var_lib_t:s0\0");
        assert!(get(&dir.path().join("nothing"), "user.label").is_err());
        assert_eq!(get(Path::new("/proc/self/cmdline"), "user.label").unwrap(), None, "no attributes there");
    }
}

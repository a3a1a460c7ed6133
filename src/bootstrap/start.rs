//! How etcd is going to be started on this host, as far as a rule needs it. Reads only.
//!
//! With kubeadm nothing starts etcd before its static pod manifest is there. The flags of etcd's unit are not read yet.

use std::io;
use std::path::Path;

use super::Settings;
use crate::core::decide::ManagedBy;
use crate::core::facts::{CauseCode, Observed, StartFlags};

pub(super) fn observe(settings: &Settings) -> Observed<StartFlags> {
    if settings.policy.managed_by != ManagedBy::Kubeadm {
        return Observed::unknown(CauseCode::NotLooked, "the flags of etcd's unit are not looked at yet");
    }
    manifest(&settings.manifest)
}

fn manifest(path: &Path) -> Observed<StartFlags> {
    let present = match path.symlink_metadata() {
        Ok(_) => true,
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Observed::unknown(CauseCode::LocalIo, format!("cannot stat {}: {e}", path.display())),
    };
    Observed::Known(StartFlags {
        read_from: path.display().to_string(),
        manifest_present: Some(present),
        ..StartFlags::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_cannot_be_looked_at_is_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("etcd.yaml");
        let present = |path: &Path| manifest(path).known().and_then(|flags| flags.manifest_present);
        assert_eq!(present(&file), Some(false));
        assert_eq!(present(&dir.path().join("no/such/dir/etcd.yaml")), Some(false));
        std::fs::write(&file, "kind: Pod").unwrap();
        assert_eq!(present(&file), Some(true));
        assert_eq!(present(&file.join("below-a-file")), None);
    }
}

//! How etcd is going to be started, as far as it is looked at: with kubeadm, whether there is a static pod for it yet.

use std::io;

use super::Settings;
use crate::core::facts::{Cause, CauseCode, Observed, StartFlags};

/// Looks. "There is no manifest" needs an answer of the file system.
pub(super) fn observe(settings: &Settings) -> Observed<StartFlags> {
    let Some(manifest) = &settings.etcd_manifest else {
        return Observed::unknown(CauseCode::NotLooked, "the flags of etcd's unit are not looked at yet");
    };
    let present = match manifest.metadata() {
        Ok(_) => true,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => false,
        Err(e) => {
            return Observed::Unknown(Cause {
                code: CauseCode::LocalIo,
                text: format!("{} cannot be looked at: {e}", manifest.display()),
                hint: None,
            });
        }
    };
    Observed::Known(StartFlags {
        read_from: manifest.display().to_string(),
        manifest_present: Some(present),
        ..StartFlags::default()
    })
}

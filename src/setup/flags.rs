//! The flags that etcd will see at its next start, as facts for the gate.
//!
//! What cannot be told for certain (a script, a specifier, a variable) is left out: the gate refuses a start only for what is there in plain words.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{ManagedBy, Settings};
use crate::core::facts::{CauseCode, Observed, StartFlags};

use super::etcd_version;
use super::judge::environment_is_given;
use super::machine::{Disk, Machine};
use super::start::{Start, certain};
use super::systemctl;

/// systemd answers in milliseconds, and a gate does not wait for long.
const LIMIT: Duration = Duration::from_secs(5);

/// How etcd is going to be started. Reads only.
pub async fn start_flags(settings: &Settings) -> Observed<StartFlags> {
    let machine = Machine { root: None };
    let present = match settings.etcd.managed_by {
        ManagedBy::Kubeadm => match manifest_present(&settings.etcd.manifest) {
            Observed::Known(present) => Some(present),
            Observed::Unknown(cause) => return Observed::Unknown(cause),
        },
        ManagedBy::K3s | ManagedBy::Rke2 => {
            return Observed::unknown(CauseCode::NotLooked, "k3s and rke2 give etcd its flags themselves");
        }
        ManagedBy::Systemd => None,
    };
    let unit = match settings.etcd.managed_by {
        ManagedBy::Systemd if !systemctl::is_running() => {
            let etcd_version = etcd_version::of_start(settings, None).await;
            if etcd_version.known().is_none() {
                return Observed::unknown(CauseCode::NotLooked, "systemd does not run this host");
            }
            let read_from = "nowhere, since systemd does not run this host".to_owned();
            return Observed::Known(StartFlags {
                etcd_version: Some(etcd_version),
                read_from,
                ..StartFlags::default()
            });
        }
        ManagedBy::Systemd => match tokio::time::timeout(LIMIT, systemctl::etcd_unit(&settings.etcd.unit)).await {
            Ok(Ok(unit)) => unit,
            Ok(Err(e)) => return Observed::unknown(CauseCode::LocalIo, e.one_line()),
            Err(_) => return Observed::unknown(CauseCode::NoAnswer, "systemd did not answer in time"),
        },
        _ => None,
    };
    match machine.start(settings, unit) {
        Ok(start) => {
            let etcd_version = Some(etcd_version::of_start(settings, start.as_ref()).await);
            Observed::Known(StartFlags { etcd_version, ..facts(settings, start.as_ref(), present, &machine) })
        }
        Err(e) => Observed::unknown(CauseCode::LocalIo, e.one_line()),
    }
}

fn manifest_present(path: &Path) -> Observed<bool> {
    match path.symlink_metadata() {
        Ok(_) => Observed::Known(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Observed::Known(false),
        Err(e) => Observed::unknown(CauseCode::LocalIo, format!("cannot stat {}: {e}", path.display())),
    }
}

/// What of it is certain. A directory that is the configured one under another name is told by the configured name.
pub(super) fn facts(
    settings: &Settings,
    start: Option<&Start>,
    manifest_present: Option<bool>,
    disk: &dyn Disk,
) -> StartFlags {
    let etcd = &settings.etcd;
    let manifest = || etcd.manifest.display().to_string();
    let Some(start) = start.filter(|s| s.is_etcd()) else {
        let read_from = if manifest_present.is_some() { manifest() } else { etcd.unit.clone() };
        return StartFlags { read_from, manifest_present, ..StartFlags::default() };
    };
    // Our own variables win over others of the same name; a flag or a configuration file wins over ours.
    let given = etcd.managed_by == ManagedBy::Systemd && environment_is_given(start);
    let set = |flag: &str| {
        let set = if given { start.flag(flag).map(str::to_owned) } else { start.value(flag) };
        set.filter(|value| certain(value))
    };
    let dir = |flag: &str, ours: Option<&PathBuf>| {
        let theirs = set(flag).map(PathBuf::from).filter(|dir| dir.is_absolute())?;
        if ours.is_some_and(|ours| start.names(flag, ours)) {
            return None;
        }
        let same = ours.is_some_and(|ours| disk.real(ours) == disk.real(&theirs));
        Some(if same { ours.unwrap_or(&theirs).display().to_string() } else { theirs.display().to_string() })
    };
    let inside = etcd.data_dir.join("member/wal");
    let wal_dir = match &etcd.wal_dir {
        Some(ours) => dir("wal-dir", Some(ours)),
        None => dir("wal-dir", None).filter(|theirs| disk.real(Path::new(theirs)) != disk.real(&inside)),
    };
    let forced = start.flag("force-new-cluster").map(|v| v != "false");
    StartFlags {
        read_from: if manifest_present.is_some() { manifest() } else { start.source.clone() },
        data_dir: dir("data-dir", Some(&etcd.data_dir)),
        wal_dir,
        force_new_cluster: forced.unwrap_or_else(|| start.value("force-new-cluster").as_deref() == Some("true")),
        initial_cluster: set("initial-cluster"),
        initial_cluster_state: set("initial-cluster-state"),
        manifest_present,
        etcd_version: None,
    }
}

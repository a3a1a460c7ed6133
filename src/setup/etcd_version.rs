//! Which etcd will run on this host: the program that its unit starts is asked, or the image in kubeadm's manifest read.
//!
//! It exists because nobody keeps an old etcd from data of a newer one. What cannot be found out is unknown, never too old: a program that only
//! others than root and we can change is not run, and none is run for longer than a moment.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::config::{ManagedBy, Settings};
use crate::core::facts::{CauseCode, LocalEtcd, Observed};
use crate::core::select::Release;
use crate::sys::exec;

use super::machine::Machine;
use super::start::Start;
use super::systemctl;

/// It prints a line and ends, in milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// The etcd of this host; without a configuration the one in PATH. Reads, and runs `etcd --version`.
pub async fn etcd_version(settings: Option<&Settings>) -> Observed<LocalEtcd> {
    let Some(settings) = settings else { return in_path().await };
    let asks_systemd = settings.etcd.managed_by == ManagedBy::Systemd && systemctl::is_running();
    let unit = match asks_systemd {
        true => match tokio::time::timeout(LIMIT, systemctl::etcd_unit(&settings.etcd.unit)).await {
            Ok(Ok(unit)) => unit,
            Ok(Err(e)) => return Observed::unknown(CauseCode::LocalIo, e.one_line()),
            Err(_) => return Observed::unknown(CauseCode::NoAnswer, "systemd did not answer in time"),
        },
        false => None,
    };
    match (Machine { root: None }).start(settings, unit) {
        Ok(start) => of_start(settings, start.as_ref()).await,
        Err(e) => Observed::unknown(CauseCode::LocalIo, e.one_line()),
    }
}

/// The same, where it is known already how etcd is started.
pub(super) async fn of_start(settings: &Settings, start: Option<&Start>) -> Observed<LocalEtcd> {
    if let Some(program) = &settings.etcd.program {
        return ask(program).await;
    }
    match (settings.etcd.managed_by, start) {
        (ManagedBy::K3s | ManagedBy::Rke2, _) => {
            Observed::unknown(CauseCode::NotLooked, "k3s and rke2 bring an etcd of their own")
        }
        (ManagedBy::Kubeadm, _) => of_image(&settings.etcd.manifest),
        (ManagedBy::Systemd, None) => in_path().await,
        (ManagedBy::Systemd, Some(start)) => match start.program() {
            Some(program) if program.is_absolute() => ask(&program).await,
            Some(_) => in_path().await,
            None => Observed::unknown(
                CauseCode::NotLooked,
                format!("what {} starts is not etcd itself; etcd.program can name that", start.source),
            ),
        },
    }
}

async fn in_path() -> Observed<LocalEtcd> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|p| p.is_absolute() && p.is_file());
    match found {
        Some(program) => ask(&program).await,
        None => Observed::unknown(CauseCode::NotLooked, "there is no etcd in PATH"),
    }
}

/// A program as it lay on the disk when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp(PathBuf, [u64; 3], (i64, i64));

/// The last answer: a gate looks every few seconds, and the same file gives the same answer.
static LAST: Mutex<Option<(Stamp, LocalEtcd)>> = Mutex::new(None);

async fn ask(program: &Path) -> Observed<LocalEtcd> {
    let shown = program.display();
    let meta = match std::fs::metadata(program) {
        Ok(meta) => meta,
        Err(e) => return Observed::unknown(CauseCode::LocalIo, format!("cannot look at {shown}: {e}")),
    };
    let me = nix::unistd::geteuid().as_raw();
    if ![0, me].contains(&meta.uid()) || meta.mode() & 0o022 != 0 {
        let text = format!("{shown} can be changed by other users, so that it is not run to ask for its version");
        return Observed::unknown(CauseCode::Denied, text);
    }
    let stamp = Stamp(program.to_owned(), [meta.dev(), meta.ino(), meta.size()], (meta.mtime(), meta.mtime_nsec()));
    let last = || LAST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, known)) = last().as_ref().filter(|(of, _)| *of == stamp) {
        return Observed::Known(known.clone());
    }
    let out = match exec::run(&program.to_string_lossy(), &["--version"], LIMIT).await {
        Ok(out) => out,
        Err(e) => return Observed::unknown(CauseCode::Failed, e.one_line()),
    };
    match version_in(&out.stdout).filter(|_| out.code == Some(0)) {
        Some(version) => {
            let known = LocalEtcd { version, found_in: shown.to_string() };
            *last() = Some((stamp, known.clone()));
            Observed::Known(known)
        }
        None => Observed::unknown(CauseCode::Failed, format!("{shown} --version tells no version of etcd")),
    }
}

/// `etcd Version: 3.5.16`
fn version_in(text: &str) -> Option<String> {
    let version = text.lines().find_map(|l| l.strip_prefix("etcd Version:"))?.trim();
    Release::of(version).map(|_| version.to_owned())
}

fn of_image(manifest: &Path) -> Observed<LocalEtcd> {
    let shown = manifest.display();
    match std::fs::read_to_string(manifest) {
        Ok(text) => match tag_in(&text) {
            Some(version) => Observed::Known(LocalEtcd { version, found_in: shown.to_string() }),
            None => Observed::unknown(CauseCode::NotLooked, format!("the image in {shown} tells no version of etcd")),
        },
        Err(e) => Observed::unknown(CauseCode::LocalIo, format!("cannot read {shown}: {e}")),
    }
}

/// `3.5.21` of `image: registry.k8s.io/etcd:3.5.21-0`, of `image: quay.io/coreos/etcd:v3.5.21@sha256:...`.
fn tag_in(manifest: &str) -> Option<String> {
    let images = manifest.lines().filter_map(|l| l.trim().trim_start_matches("- ").strip_prefix("image:"));
    let names = images.map(|i| i.trim().trim_matches(['"', '\'']).rsplit('/').next().unwrap_or_default());
    let tag = names.filter_map(|name| name.strip_prefix("etcd:")).next()?;
    let tag = tag.split('@').next()?.trim_start_matches('v');
    let version = tag.split('-').next()?;
    Release::of(version).map(|_| version.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_tag_of_the_image_is_the_version() {
        for (line, version) in [
            ("    image: registry.k8s.io/etcd:3.5.21-0", Some("3.5.21")),
            ("  - image: \"quay.io/coreos/etcd:v3.6.4@sha256:0123\"", Some("3.6.4")),
            ("    image: mirror:5000/etcd:3.4.13-0", Some("3.4.13")),
            ("    image: registry.k8s.io/etcd@sha256:0123", None),
            ("    image: registry.k8s.io/etcd:latest", None),
            ("    image: mirror:5000/etcd-wrapper:3.5.1", None),
            ("    imagePullPolicy: IfNotPresent", None),
        ] {
            assert_eq!(tag_in(&format!("spec:\n{line}\n")).as_deref(), version, "{line}");
        }
    }

    #[tokio::test]
    async fn a_program_is_asked_anew_only_when_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("etcd");
        let write = |script: &str, mode: u32| {
            std::fs::write(&program, format!("#!/bin/sh\necho x >>{}/asked\n{script}\n", dir.path().display()))
                .unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let asked = || std::fs::read_to_string(dir.path().join("asked")).unwrap_or_default().lines().count();
        write("echo 'etcd Version: 3.5.16'; echo 'Git SHA: x'", 0o755);
        for _ in 0..3 {
            assert_eq!(ask(&program).await.known().unwrap().version, "3.5.16");
        }
        assert_eq!(asked(), 1);
        write("echo 'etcd Version: 3.6.16'", 0o755);
        assert_eq!(ask(&program).await.known().unwrap().version, "3.6.16");
        for (script, mode, words) in [
            ("echo 'etcd Version: unknown'", 0o755, "tells no version"),
            ("echo 'etcd Version: 3.5.1'; exit 1", 0o755, "tells no version"),
            ("echo 'etcd Version: 3.5.1'", 0o777, "changed by other users"),
            ("echo 'etcd Version: 3.5.1'", 0o644, "cannot start"),
        ] {
            write(script, mode);
            match ask(&program).await {
                Observed::Unknown(cause) => assert!(cause.text.contains(words), "{script}: {}", cause.text),
                Observed::Known(known) => panic!("{script}: {known:?}"),
            }
        }
        std::fs::remove_file(&program).unwrap();
        assert!(ask(&program).await.known().is_none());
    }
}

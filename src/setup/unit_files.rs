//! Reads unit files by hand, below a root directory where no systemd runs: an image that is being built.
//!
//! It exists so that `setup --root` is as careful there as on a running host. Specifiers are left as they are; a value
//! with one in it counts as not known. It may not write.

use std::path::{Component, Path, PathBuf};

use crate::error::{Kind, Result, ResultExt};

use super::start::EtcdUnit;
use super::systemctl::Units;
use super::{GATE, Note, syntax, within};

/// Where systemd looks for units; earlier ones win.
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// What the unit files below `root` say.
pub(super) fn observe(root: &Path, unit: &str) -> Result<Units> {
    let mut units = Units { gate_installed: find(root, GATE).is_some(), ..Units::default() };
    match find(root, unit) {
        Some(path) => units.etcd = Some(read(root, unit, &path)?),
        None => units.notes.push(Note::warning(format!(
            "there is no {unit} below {} yet: it will wait for the gate when it comes; run 'lifeboat setup' again then, so that its flags are looked at",
            root.display()
        ))),
    }
    Ok(units)
}

/// The file of a unit: its own, or that of its template. A masked unit has none.
fn find(root: &Path, unit: &str) -> Option<PathBuf> {
    let template = unit.split_once('@').map(|(name, _)| format!("{name}@.service"));
    let names = std::iter::once(unit.to_owned()).chain(template);
    names.into_iter().find_map(|name| {
        // The first folder that has the name decides, also when it masks the unit by a link to /dev/null or an empty file.
        let at = FOLDERS.iter().map(|folder| Path::new(folder).join(&name));
        let first = at.into_iter().find(|path| within(Some(root), path).symlink_metadata().is_ok())?;
        let path = resolve(root, &first);
        path.metadata().is_ok_and(|m| m.is_file() && m.len() > 0).then_some(path)
    })
}

/// Follows symbolic links as they count below `root`.
fn resolve(root: &Path, path: &Path) -> PathBuf {
    let mut at = path.to_owned();
    for _ in 0..8 {
        let Ok(target) = std::fs::read_link(within(Some(root), &at)) else { break };
        at = at.parent().unwrap_or(Path::new("/")).join(target);
    }
    let mut clean = PathBuf::from("/");
    for component in at.components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            Component::Normal(part) => clean.push(part),
            _ => {}
        }
    }
    within(Some(root), &clean)
}

fn read(root: &Path, unit: &str, path: &Path) -> Result<EtcdUnit> {
    let mut files = Vec::new();
    let template = unit.split_once('@').map(|(name, _)| format!("{name}@.service.d"));
    let all = ["service.d".to_owned()].into_iter().chain(template).chain([format!("{unit}.d")]);
    let dirs = all.flat_map(|of| FOLDERS.iter().rev().map(move |folder| Path::new(folder).join(&of)));
    for dir in dirs {
        for entry in std::fs::read_dir(within(Some(root), &dir)).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            if path.extension().is_some_and(|e| e == "conf") && name != super::FILE_NAME {
                // The same name in a folder that wins replaces it.
                files.retain(|(n, _)| *n != name);
                files.push((name, path));
            }
        }
    }
    files.sort();
    let mut service = EtcdUnit { working_directory: Some(PathBuf::from("/")), ..EtcdUnit::default() };
    for path in std::iter::once(path.to_owned()).chain(files.into_iter().map(|(_, path)| path)) {
        let text = std::fs::read_to_string(&path).or_fail(Kind::Io, || format!("cannot read {}", path.display()))?;
        add(&mut service, &text);
    }
    Ok(service)
}

/// Adds what one file says. An empty value takes back what came before.
pub(super) fn add(service: &mut EtcdUnit, text: &str) {
    let mut section = String::new();
    for line in logical_lines(text) {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| section == "[Service]") else { continue };
        let value = value.trim();
        match (key.trim(), value.is_empty()) {
            ("ExecStart", _) => {
                service.words = syntax::words(value);
                if let Some(program) = service.words.first_mut() {
                    *program = program.trim_start_matches(['@', '-', ':', '+', '!']).to_owned();
                }
            }
            ("Environment", true) => service.environment.clear(),
            ("Environment", false) => service.environment.extend(
                syntax::words(value).iter().filter_map(|w| w.split_once('=').map(|(n, v)| (n.into(), v.into()))),
            ),
            ("EnvironmentFile", true) => service.environment_files.clear(),
            ("EnvironmentFile", false) => service.environment_files.push(value.trim_start_matches('-').into()),
            ("User", _) => service.user = value.to_owned(),
            ("WorkingDirectory", _) => {
                let dir = value.trim_start_matches('-');
                let dir = PathBuf::from(if dir.is_empty() { "/" } else { dir });
                service.working_directory = Some(dir).filter(|d| d.is_absolute() && !value.contains('%'));
            }
            _ => {}
        }
    }
}

/// Lines without comments, continued ones joined.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with(['#', ';']) || trimmed.is_empty() && !open {
            continue;
        }
        let (part, more) = trimmed.strip_suffix('\\').map_or((trimmed, false), |p| (p.trim_end(), true));
        match lines.last_mut().filter(|_| open) {
            Some(last) => {
                last.push(' ');
                last.push_str(part);
            }
            None => lines.push(part.to_owned()),
        }
        open = more;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_decides_also_by_a_mask() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        std::fs::write(at("usr/lib/systemd/system/a.service"), "[Service]\nExecStart=/usr/bin/etcd\n").unwrap();
        assert!(find(root.path(), "a.service").is_some());
        std::os::unix::fs::symlink("/dev/null", at("etc/systemd/system/a.service")).unwrap();
        assert_eq!(find(root.path(), "a.service"), None);
        std::fs::write(at("usr/lib/systemd/system/b.service"), "[Service]\nExecStart=/usr/bin/etcd\n").unwrap();
        std::fs::write(at("run/systemd/system/b.service"), "").unwrap();
        assert_eq!(find(root.path(), "b.service"), None);
    }

    #[test]
    fn drop_ins_of_a_template_and_of_all_services_count() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("usr/lib/systemd/system/etcd@.service", "[Service]\nExecStart=/usr/bin/etcd\n"),
            ("etc/systemd/system/service.d/1.conf", "[Service]\nEnvironment=A=1\n"),
            ("etc/systemd/system/etcd@.service.d/2.conf", "[Service]\nEnvironment=B=2\n"),
            ("etc/systemd/system/etcd@x.service.d/3.conf", "[Service]\nEnvironment=C=3\n"),
        ] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let unit = observe(root.path(), "etcd@x.service").unwrap().etcd.unwrap();
        let names: Vec<&str> = unit.environment.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["A", "B", "C"]);
    }
}

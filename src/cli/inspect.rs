//! `lifeboat inspect`: what is in a snapshot file or a data dir. Needs no configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::args::InspectArgs;
use super::render::{self, Printer};
use crate::codec;
use crate::datadir::inspect_dir::{DirState, inspect_dir};
use crate::datadir::inspect_file::{SnapshotInfo, inspect_file};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::snapshot::fetch;
use crate::sys::{fs, random};

#[derive(Serialize)]
struct FileReport {
    path: String,
    compressed: bool,
    #[serde(flatten)]
    info: SnapshotInfo,
}

#[derive(Serialize)]
struct DirReport {
    path: String,
    state: String,
}

pub(super) async fn run(args: &InspectArgs, printer: &Printer) -> Result<ExitCode> {
    let path = args.path.clone();
    let meta = std::fs::metadata(&path).or_fail(Kind::NotFound, || format!("cannot open {}", path.display()))?;
    if meta.is_dir() {
        let (dir, wal) = (path.clone(), args.wal_dir.clone());
        let state = tokio::task::spawn_blocking(move || inspect_dir(&dir, wal.as_deref()))
            .await
            .or_fail(Kind::Internal, || "the inspection was interrupted")??;
        let damaged = matches!(state, DirState::Damaged { .. });
        printer.report(&DirReport { path: path.display().to_string(), state: describe(&state) }, |r| {
            render::fields(&[("data dir", r.path.clone()), ("state", r.state.clone())])
        })?;
        return Ok(if damaged { ExitCode::from(Kind::Verification.exit_code()) } else { ExitCode::SUCCESS });
    }
    let report = tokio::task::spawn_blocking(move || inspect_any(&path))
        .await
        .or_fail(Kind::Internal, || "the inspection was interrupted")?
        .map_err(|e| match (e.kind(), e.hint_text()) {
            (Kind::Verification, None) => e.hint("it cannot be restored; another one: lifeboat ls"),
            _ => e,
        })?;
    let sound = report.info.trailer_ok != Some(false);
    printer.report(&report, people)?;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(Kind::Verification.exit_code()) })
}

/// A compressed file is decompressed beside the system's temporary files, and removed again.
fn inspect_any(path: &Path) -> Result<FileReport> {
    let scratch = Scratch(std::env::temp_dir().join(format!("lifeboat-scratch-{}", random::nonce()?)));
    let mut reader = fetch::open_file(path, fs::free_space(&std::env::temp_dir())?)?;
    let compressed = codec_of(path)?;
    let info = if compressed {
        fs::create_dir(&scratch.0, 0o700)?;
        let plain = scratch.0.join("snapshot.db");
        let mut file = fs::create_new(&plain, 0o600)?;
        std::io::copy(&mut reader, &mut file).map_err(|e| {
            fetch::error_of(e, || format!("cannot decompress {} into {}", path.display(), plain.display()))
        })?;
        // The scratch file is nobody's concern.
        let of_path = |e: Error| {
            let text = e.message().replace(&plain.display().to_string(), &path.display().to_string());
            let renamed = Error::new(e.kind(), text);
            match e.advice() {
                Some(hint) => renamed.hint(hint),
                None => renamed,
            }
        };
        inspect_file(&plain).map_err(of_path)?
    } else {
        inspect_file(path)?
    };
    Ok(FileReport { path: path.display().to_string(), compressed, info })
}

fn codec_of(path: &Path) -> Result<bool> {
    let mut head = [0u8; 32];
    let file = std::fs::File::open(path).or_fail(Kind::Io, || format!("cannot open {}", path.display()))?;
    let n = std::os::unix::fs::FileExt::read_at(&file, &mut head, 0)
        .or_fail(Kind::Io, || format!("cannot read {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    codec::detect(&name, head.get(..n).unwrap_or_default())
        .map(|c| c != crate::core::model::Compression::None)
        .map_err(|e| Error::new(Kind::Verification, format!("{} is no snapshot: {e}", path.display())).hint(e.hint))
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_scratch(&self.0) {
            render::note(&format!("warning: {}", e.one_line()));
        }
    }
}

fn describe(state: &DirState) -> String {
    match state {
        DirState::Absent => "absent".into(),
        DirState::Empty => "empty: no member".into(),
        DirState::InUse => "in use: an etcd runs on it".into(),
        DirState::Damaged { what } => format!("DAMAGED: {what}"),
        DirState::Healthy(m) => {
            let members: Vec<String> = m
                .voters
                .iter()
                .chain(&m.learners)
                .map(|v| format!("{} {} {}", v.id, v.name, v.peer_urls.join(",")))
                .collect();
            format!(
                "member {} of cluster {}, revision {}; members: {}",
                m.member_id,
                m.cluster_id,
                m.revision,
                members.join("; ")
            )
        }
    }
}

fn people(r: &FileReport) -> String {
    let i = &r.info;
    let trailer = match i.trailer_ok {
        Some(true) => "sha256 present and right".to_owned(),
        Some(false) => "sha256 present and WRONG: the file is damaged".to_owned(),
        None => "no sha256: a copied db file, not a snapshot; it may be torn".to_owned(),
    };
    let none = || "-".to_owned();
    let members: Vec<String> = i.members.iter().map(|m| format!("{} {}", m.id, m.name)).collect();
    let alarms: Vec<String> = i.alarms.iter().map(ToString::to_string).collect();
    render::fields(&[
        ("file", format!("{}{}", r.path, if r.compressed { " (compressed)" } else { "" })),
        ("size", format!("{} ({} bytes)", render::bytes(i.size), i.size)),
        ("digest", trailer),
        ("revision", i.revision.to_string()),
        ("compacted", i.compact_revision.map_or_else(none, |r| r.to_string())),
        ("live keys", i.live_keys.to_string()),
        ("total keys", format!("{} (as etcdutl 3.5 counts: items of all buckets)", i.total_keys)),
        ("status hash", format!("{:x} (as 'etcdutl snapshot status')", i.status_hash)),
        (
            "hashkv",
            format!(
                "{} (at revision {}, compacted at {})",
                i.hash_kv.hash, i.hash_kv.revision, i.hash_kv.compact_revision
            ),
        ),
        ("storage version", i.storage_version.clone().unwrap_or_else(none)),
        ("cluster version", i.cluster_version.clone().unwrap_or_else(none)),
        ("members", members.join("; ")),
        ("auth", if i.auth_enabled { "on".into() } else { "off".into() }),
        ("alarms", if alarms.is_empty() { none() } else { alarms.join(", ") }),
        ("pages", format!("{} of {} bytes, {} in use", i.pages, i.page_size, i.reachable_pages)),
    ])
}

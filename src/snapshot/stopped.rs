//! A snapshot of a member whose etcd does not run, read from its db file: the data that a requested restore is about to replace.
//!
//! etcd puts what was written into the db ten times a second, so the last writes before it ended may stand in its WAL alone. They are not in here; the
//! directory itself, which stays on the host, has them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::Digest;
use tokio::sync::{mpsc, watch};

use super::payload::{self, Part, Piece};
use super::save::{self, SaveRequest, Saved, Source, Taken};
use super::spool::Spool;
use super::stream::{PIECE, QUEUE};
use crate::bolt::reader::{Image, ReadAt};
use crate::catalog::records::Records;
use crate::core::manifest::Voter;
use crate::core::model::SnapshotName;
use crate::datadir::inspect_dir::{DirState, MemberDir, inspect_dir};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::ports::Clock;
use crate::sys::background;

/// A manifest must name a version; a cluster that never had quorum has none.
const NO_VERSION: &str = "unknown";

/// Saves what the db of a stopped member holds into the spool. It is restored by name only: what the others had beyond it is not known.
/// When it returns `Ok`, payload and manifest are durable there.
///
/// # Errors
/// [`Kind::Refused`] when this is no whole member, or an etcd runs on it; [`Kind::Verification`] or [`Kind::Io`] otherwise. Nothing is left behind.
pub async fn save_stopped(
    data_dir: &Path,
    wal_dir: Option<&Path>,
    records: &Records,
    clock: &dyn Clock,
    spool: &Spool,
    request: &SaveRequest,
) -> Result<Saved> {
    let (started, began) = (clock.now(), clock.monotonic());
    let _lock = spool.lock()?;
    let (dir, wal) = (data_dir.to_path_buf(), wal_dir.map(Path::to_path_buf));
    let member = background::run("inspect", move || inspect_dir(&dir, wal.as_deref())).await?;
    let member = match member {
        DirState::Healthy(member) => *member,
        DirState::InUse => return Err(not_saved(data_dir, "an etcd runs on it")),
        DirState::Absent | DirState::Empty => return Err(not_saved(data_dir, "it holds no data")),
        DirState::Damaged { what } => return Err(not_saved(data_dir, &what)),
    };
    let wanted =
        SnapshotName::from_start(&request.prefix, started).or_fail(Kind::Usage, || "cannot name the snapshot")?;
    let name = spool.free_name(&wanted)?;
    let (part, file) = Part::create(spool, spool.part(&name))?;
    let (db, spool_of, path) = (data_dir.join("member/snap/db"), spool.clone(), part.path().to_path_buf());
    let (format, from) = (request.format(), db.display().to_string());
    let (pieces, queue) = mpsc::channel(QUEUE);
    let feeder = background::start("read", move || feed(&db, &pieces))?;
    let written = background::run("digest", move || {
        payload::write(&spool_of, &path, file, format, &from, queue, watch::Sender::new(0))
    })
    .await;
    // Why the file could not be read says more than that its pieces ended.
    feeder.await.or_fail(Kind::Internal, || "the reader of the db panicked")??;
    let written = written?;
    let source = source(member);
    let warnings = Vec::new();
    save::commit(records, clock, spool, request, Taken { name, started, began, written, part, source, warnings })
}

fn not_saved(data_dir: &Path, why: &str) -> Error {
    Error::new(Kind::Refused, format!("{} cannot be saved: {why}", data_dir.display()))
        .hint("the directory is kept on this host as it is")
}

fn source(member: MemberDir) -> Source {
    let voter = |m: crate::datadir::buckets::StoredMember| Voter { name: m.name, id: m.id, peer_urls: m.peer_urls };
    Source {
        cluster_id: member.cluster_id,
        member_id: member.member_id,
        etcd_version: member.cluster_version.unwrap_or_else(|| NO_VERSION.to_owned()),
        storage_version: member.storage_version,
        quorum: false,
        hash_kv: None,
        voters: member.voters.into_iter().map(voter).collect(),
    }
}

/// The image, as far as its pages go, and etcd's digest behind it.
fn feed(db: &PathBuf, pieces: &mpsc::Sender<Piece>) -> Result<()> {
    let image = Image::open(db)?;
    let file = std::fs::File::open(db).or_fail(Kind::Io, || format!("cannot open {}", db.display()))?;
    let mut digest = sha2::Sha256::new();
    let mut at = 0u64;
    while at < image.image_len() {
        let len = usize::try_from(image.image_len().saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0u8; len];
        ReadAt::read_exact_at(&file, &mut piece, at).or_fail(Kind::Io, || format!("cannot read {}", db.display()))?;
        digest.update(&piece);
        at = at.saturating_add(len as u64);
        // A writer that stopped says why itself.
        if pieces.blocking_send(Piece::Data(Bytes::from(piece))).is_err() {
            return Ok(());
        }
    }
    let trailer = Bytes::copy_from_slice(&digest.finalize());
    for last in [Piece::Data(trailer), Piece::End] {
        if pieces.blocking_send(last).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

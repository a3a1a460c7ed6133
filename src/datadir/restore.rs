//! Builds the data dir of a member from a snapshot, or of a new empty cluster, and puts it into place.
//!
//! What comes out is what `etcdutl snapshot restore` of 3.5 writes, byte for byte where etcd looks. It is built in a
//! staging directory, verified and fsynced there; the rename of `member/` is the only step that makes it count. It never
//! overwrites or removes member data.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bolt::check::check;
use crate::bolt::editor::{self, Edit, Items};
use crate::bolt::reader::{Bucket, Image};
use crate::core::manifest::Manifest;
use crate::core::model::{ClusterId, MemberId, Revision, Sha256};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys;

use super::buckets::{
    ALARM, AUTH, AUTH_ROLES, AUTH_USERS, Alarm, AlarmKind, CLUSTER, CONSISTENT_INDEX, KEY, LEASE, MEMBERS,
    MEMBERS_REMOVED, META, RevisionKey, SCHEDULED_COMPACTION, SmallFacts, StoredMember, TERM, read_small,
};
use super::hash::{HashKv, hash_kv, hash_kv_with};
use super::ids::{cluster_id_of, member_id};
use super::inspect_file::{Content, Gathered};
use super::received::{copy, verify};
use super::staged::Dirs;
use super::urls::{find_me, normalize};
use super::{damaged, snap, wal};

pub use super::install::{check_target, install, load};
pub use super::urls::InitialMember;

/// Page size of a db that starts empty; etcd reads it from the file.
const NEW_PAGE_SIZE: u32 = 4096;
/// Written last into a staging directory: it says that the rest is complete.
pub(super) const RECORD_NAME: &str = "staged.json";

/// Whose data dir is built, and what is changed in the snapshot on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreSpec {
    /// The members of the new cluster.
    pub members: Vec<InitialMember>,
    /// Name of the member that this data dir is for.
    pub me: String,
    /// Peer URLs that the member advertises, when they were given: they must be those in `members`.
    pub advertised: Option<Vec<String>>,
    /// Cluster token.
    pub token: String,
    /// Adds this to the revision. Goes only with `mark_compacted`, as with etcdutl.
    pub bump_revision: Option<u64>,
    /// Marks everything up to the bumped revision as compacted, so that watchers start anew.
    pub mark_compacted: bool,
    /// Drops NOSPACE alarms from the snapshot. CORRUPT alarms stay: they are about the data.
    pub drop_alarms: bool,
    /// Where the WAL is to go, when it is not inside the data dir.
    pub wal_dir: Option<PathBuf>,
}

/// What is known of the snapshot beforehand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// Bytes of the snapshot, trailer included.
    pub size: Option<u64>,
    /// Its SHA-256, trailer included.
    pub sha256: Option<Sha256>,
    /// HashKV that the server gave for it.
    pub hash_kv: Option<HashKv>,
}

impl From<&Manifest> for Expected {
    fn from(m: &Manifest) -> Self {
        let hash_kv =
            m.hash_kv.map(|h| HashKv { hash: h.hash, revision: h.revision, compact_revision: h.compact_revision });
        Expected { size: Some(m.raw.size), sha256: Some(m.raw.sha256), hash_kv }
    }
}

/// A data dir in staging, complete and fsynced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// The new cluster.
    pub cluster_id: ClusterId,
    /// The member whose data dir it is.
    pub member_id: MemberId,
    /// Revision that the member starts with.
    pub revision: Revision,
    /// Revision of the snapshot; 0 for a new empty cluster.
    pub snapshot_revision: Revision,
    /// SHA-256 of the snapshot, trailer included.
    pub snapshot_sha256: Option<Sha256>,
    /// Whether the snapshot's own digest was there and right. Without it only the structure was checked.
    pub digest_verified: bool,
    /// Keys that live in it.
    pub live_keys: u64,
    /// The hash that `etcdutl snapshot status` prints for the built db.
    pub status_hash: u32,
    /// The HashKV that was asked for and found equal.
    pub hash_kv: Option<HashKv>,
    /// Alarms that are still in it.
    pub alarms: Vec<Alarm>,
    /// Alarms that were dropped.
    pub dropped_alarms: Vec<Alarm>,
    /// Whether auth is on.
    pub auth_enabled: bool,
    /// Version of the storage format.
    pub storage_version: Option<String>,
    /// A separate WAL, in staging near its place.
    pub staged_wal: Option<PathBuf>,
}

/// The cluster that is to be, with the ids that follow from it.
struct Plan {
    /// By ascending id.
    members: Vec<StoredMember>,
    me: MemberId,
    cluster: ClusterId,
    bump: Option<i64>,
}

fn plan(spec: &RestoreSpec) -> Result<Plan> {
    let members = normalize(spec.members.clone())?;
    let me = find_me(&members, &spec.me, spec.advertised.as_deref())?;
    let me = member_id(&me.peer_urls, &spec.token);
    let bump = match (spec.bump_revision, spec.mark_compacted) {
        (None | Some(0), false) => None,
        (Some(n), true) if n > 0 => Some(i64::try_from(n).map_err(|_| too_far(n))?),
        _ => {
            return Err(Error::new(Kind::Usage, "--bump-revision and --mark-compacted go together")
                .hint("give both, as in --bump-revision 1000000000 --mark-compacted, or neither"));
        }
    };
    let mut stored: Vec<_> = members
        .into_iter()
        .map(|m| StoredMember {
            id: member_id(&m.peer_urls, &spec.token),
            peer_urls: m.peer_urls,
            is_learner: false,
            name: m.name,
            client_urls: Vec::new(),
        })
        .collect();
    stored.sort_by_key(|m| m.id);
    let ids: Vec<_> = stored.iter().map(|m| m.id).collect();
    if ids.windows(2).any(|w| w.first() == w.last()) {
        return Err(Error::new(
            Kind::Config,
            "two members of the initial cluster have the same id: their URLs collide",
        ));
    }
    Ok(Plan { me, cluster: cluster_id_of(&ids), members: stored, bump })
}

fn too_far(n: u64) -> Error {
    Error::new(Kind::Usage, format!("--bump-revision {n} does not fit: revisions end at {}", i64::MAX))
        .hint("1000000000 is more than enough for any snapshot")
}

/// The ids that a spec leads to, without building anything.
///
/// # Errors
/// `Config` or `Usage` when the spec is not valid.
pub fn ids(spec: &RestoreSpec) -> Result<(ClusterId, MemberId)> {
    plan(spec).map(|p| (p.cluster, p.me))
}

/// Builds a member's data dir in `staging_dir` from a snapshot. `image` is the decompressed snapshot, read to its end.
///
/// `staging_dir` is missing or empty, lies on the file system of the data dir, and has a name that
/// [`sys::fs::remove_scratch`] accepts. After `Ok` everything in it is verified and fsynced. After `Err` it holds no
/// record, so [`load`] and [`install`] refuse it; the caller removes it.
///
/// # Errors
/// `Config`/`Usage` for a wrong spec; `Verification` for a snapshot that is not what it should be; `Io`.
pub fn build(
    image: &mut dyn Read,
    expected: &Expected,
    skip_hash_check: bool,
    staging_dir: &Path,
    spec: &RestoreSpec,
) -> Result<Built> {
    let plan = plan(spec)?;
    let dirs = Dirs::create(staging_dir, spec.wal_dir.as_deref())?;
    let db = dirs.snap.join("db");
    let file = sys::fs::create_new(&db, 0o600)?;
    let digest = copy(image, expected, &file, &db)?;
    verify(&digest, expected, skip_hash_check)?;
    crate::failpoint!("restore.after_copy");

    let source = Image::new(&file, &db.display().to_string())?;
    if digest.trailer.is_some() && source.image_len() != digest.image_len {
        return Err(damaged(format!(
            "the snapshot has {} bytes, but its meta record speaks of {}",
            digest.image_len,
            source.image_len()
        )));
    }
    let edit = prepare(&source, &plan, spec.drop_alarms)?;
    editor::apply(&file, &db, &edit.edit)?;
    crate::failpoint!("restore.after_edit");
    let facts = Facts {
        snapshot_revision: edit.snapshot_revision,
        dropped_alarms: edit.dropped_alarms,
        sha256: Some(digest.file_sha256),
        digest_verified: digest.is_sound(),
        hash_kv: expected.hash_kv,
    };
    complete(&file, &db, &plan, &dirs, staging_dir, facts)
}

/// Builds the data dir of a member of a new, empty cluster in `staging_dir`, so that etcd starts it whatever its flags
/// say about the initial cluster.
///
/// # Errors
/// As [`build`].
pub fn build_empty(staging_dir: &Path, spec: &RestoreSpec) -> Result<Built> {
    let plan = plan(spec)?;
    let dirs = Dirs::create(staging_dir, spec.wal_dir.as_deref())?;
    let db = dirs.snap.join("db");
    let file = sys::fs::create_new(&db, 0o600)?;
    editor::create(&file, &db, NEW_PAGE_SIZE)?;
    let mut edit = Edit::default();
    for bucket in [KEY, LEASE, ALARM, AUTH, AUTH_USERS, AUTH_ROLES] {
        edit.replace(bucket, Items::new());
    }
    put_membership(&mut edit, &plan, Items::new());
    editor::apply(&file, &db, &edit)?;
    let facts = Facts {
        snapshot_revision: Revision(0),
        dropped_alarms: Vec::new(),
        sha256: None,
        digest_verified: false,
        hash_kv: None,
    };
    complete(&file, &db, &plan, &dirs, staging_dir, facts)
}

struct Prepared {
    edit: Edit,
    snapshot_revision: Revision,
    dropped_alarms: Vec<Alarm>,
}

/// Works out what has to change in the db of a snapshot.
fn prepare(source: &Image<&File>, plan: &Plan, drop_alarms: bool) -> Result<Prepared> {
    let buckets = source.buckets(&mut source.seen())?;
    let find = |name: &[u8]| buckets.iter().find(|(n, _)| n == name).map(|(_, b)| b);
    let small = |name: &[u8]| find(name).map(|b| read_small(source, b)).transpose();
    let key = find(KEY).ok_or_else(|| source.bad("it has no bucket \"key\": it is no snapshot of etcd"))?;

    let mut edit = Edit::default();
    let mut facts = SmallFacts::default();
    let mut meta = small(META)?.unwrap_or_default();
    for (k, v) in &meta {
        source.in_image(facts.take(META, k, v))?;
    }
    let last = last_revision(source, key)?;
    if let Some(bump) = plan.bump {
        let main = last.unwrap_or(1).checked_add(bump).ok_or_else(|| too_far(bump.cast_unsigned()))?;
        let bumped = RevisionKey { main, sub: 0, tombstone: false }.encode();
        meta.insert(SCHEDULED_COMPACTION.to_vec(), bumped.clone());
        edit.append(KEY, Items::from([(bumped, Vec::new())]));
    }
    let mut dropped_alarms = Vec::new();
    if let Some(mut alarms) = small(ALARM)?.filter(|_| drop_alarms) {
        for key in alarms.keys() {
            let alarm = source.in_image(Alarm::decode(key))?;
            dropped_alarms.extend(Some(alarm).filter(|a| a.kind == AlarmKind::NoSpace));
        }
        alarms.retain(|key, _| Alarm::decode(key).is_ok_and(|a| a.kind != AlarmKind::NoSpace));
        edit.replace(ALARM, alarms);
    }
    put_membership(&mut edit, plan, meta);
    if find(CLUSTER).is_some() {
        // The version in it stays; only a missing bucket is made.
        let kept = small(CLUSTER)?.unwrap_or_default();
        edit.replace(CLUSTER, kept);
    }
    Ok(Prepared { edit, snapshot_revision: Revision(facts.revision(last)), dropped_alarms })
}

/// The revision of the last change in the `key` bucket.
pub(super) fn last_revision<R: crate::bolt::reader::ReadAt>(image: &Image<R>, key: &Bucket) -> Result<Option<i64>> {
    let Some(last) = image.last_key(key)? else { return Ok(None) };
    let at = RevisionKey::decode(&last)
        .ok_or_else(|| image.bad(format!("{} in bucket key is no revision", last.escape_ascii())))?;
    Ok(Some(at.main))
}

fn put_membership(edit: &mut Edit, plan: &Plan, mut meta: Items) {
    let members = plan.members.iter().map(|m| (format!("{:016x}", m.id.0).into_bytes(), m.encode())).collect();
    meta.insert(CONSISTENT_INDEX.to_vec(), (plan.members.len() as u64).to_be_bytes().to_vec());
    meta.insert(TERM.to_vec(), 1u64.to_be_bytes().to_vec());
    edit.replace(META, meta);
    edit.replace(MEMBERS, members);
    edit.replace(MEMBERS_REMOVED, Items::new());
    edit.replace(CLUSTER, Items::new());
}

struct Facts {
    snapshot_revision: Revision,
    dropped_alarms: Vec<Alarm>,
    sha256: Option<Sha256>,
    digest_verified: bool,
    /// What the server said of the data.
    hash_kv: Option<HashKv>,
}

/// HashKV of the db that was built, when it is what the server said.
fn check_hash(image: &Image<&File>, wanted: HashKv, snapshot: Revision, content: &Gathered) -> Result<()> {
    let found = if wanted.revision == snapshot {
        hash_kv_with(image, wanted.revision, wanted.compact_revision, &content.newest)?
    } else {
        hash_kv(image, wanted.revision, wanted.compact_revision)?
    };
    if found == wanted {
        return Ok(());
    }
    Err(damaged(format!(
        "the data differ from the server's: HashKV at revision {} (compacted at {}) is {}, not {}",
        wanted.revision, wanted.compact_revision, found.hash, wanted.hash
    )))
}

/// Checks the db that was built, writes the rest of the data dir, fsyncs it all and puts the record into it.
fn complete(file: &File, db: &Path, plan: &Plan, dirs: &Dirs, staging_dir: &Path, facts: Facts) -> Result<Built> {
    let image = Image::new(file, &db.display().to_string())?;
    // A bump adds a change of the nameless key, which the server of a cluster that was bumped before has one of in its HashKV.
    let mut content = Content::with_keys_at(facts.snapshot_revision);
    check(&image, &mut content)?;
    let content = content.finish(&image)?;
    if let Some(wanted) = facts.hash_kv {
        check_hash(&image, wanted, facts.snapshot_revision, &content)?;
    }

    let snap_file = dirs.snap.join(snap::file_name(plan.members.len()));
    let snap_bytes = snap::encode(&plan.members);
    let out = sys::fs::create_new(&snap_file, 0o600)?;
    out.write_all_at(&snap_bytes, 0).or_fail(Kind::Io, || format!("cannot write {}", snap_file.display()))?;
    wal::write_restored(&dirs.wal, &plan.members, plan.me, plan.cluster)?;
    if let Some(staged) = &dirs.staged_wal {
        sys::fs::sync_tree(staged)?;
        sys::fs::sync_dir(sys::fs::parent(staged))?;
    }
    sys::fs::sync_tree(staging_dir)?;
    crate::failpoint!("restore.before_record");

    let built = Built {
        cluster_id: plan.cluster,
        member_id: plan.me,
        revision: content.revision,
        snapshot_revision: facts.snapshot_revision,
        snapshot_sha256: facts.sha256,
        digest_verified: facts.digest_verified,
        live_keys: content.live_keys,
        status_hash: content.status_hash,
        hash_kv: facts.hash_kv,
        alarms: content.small.alarms,
        dropped_alarms: facts.dropped_alarms,
        auth_enabled: content.small.auth_enabled,
        storage_version: content.small.storage_version,
        staged_wal: dirs.staged_wal.clone(),
    };
    let record = serde_json::to_vec_pretty(&built).or_fail(Kind::Internal, || "cannot encode the staging record")?;
    sys::fs::write_atomic(&staging_dir.join(RECORD_NAME), &record, 0o600)?;
    sys::fs::sync_dir(sys::fs::parent(staging_dir))?;
    Ok(built)
}

//! One snapshot of the local member, from the stream to a whole entry in the spool. It does not talk to the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::early;
use super::effort::Effort;
use super::payload::{Format, Part, Written};
use super::spool::Spool;
use super::stream;
use crate::catalog::keys;
use crate::catalog::records::Records;
use crate::core::health::{self, Observation, Unfit};
use crate::core::manifest::{HashKv, KIND_SNAPSHOT, Manifest, Origin, Voter};
use crate::core::model::{ClusterId, Compression, Generation, MemberId, NodeName, Revision, SnapshotName, Timestamp};
use crate::core::record::RecordKind;
use crate::datadir::buckets::{Alarm, AlarmKind};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::ports::{Clock, Etcd, EtcdErrorKind, MemberStatus};
use crate::sys;

/// What to save, and what is known around it.
#[derive(Debug, Clone)]
pub struct SaveRequest {
    /// The name is this and the start in UTC: the schedule's name, or what a person gave.
    pub prefix: String,
    /// Who asked.
    pub origin: Origin,
    /// Stream format of the payload.
    pub compression: Compression,
    /// Whether it is shipped next, so that its upload may begin with it.
    pub ships: bool,
    /// What it may use.
    pub effort: Effort,
    /// The life that the cluster is in; 0 when no plan is known.
    pub generation: Generation,
    /// This host.
    pub node: NodeName,
    /// Free labels.
    pub tags: BTreeMap<String, String>,
    /// Whether to ask etcd for HashKV at the snapshot's revision (it reads its whole key space for that).
    pub hash_check: bool,
    /// The greatest revision that is known to be saved, with its generation.
    pub newest_known: Option<(Generation, Revision)>,
}

impl SaveRequest {
    pub(super) fn format(&self) -> Format {
        Format { compression: self.compression, threads: self.effort.compression_threads }
    }
}

/// A whole entry in the spool.
#[derive(Debug, Clone)]
pub struct Saved {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its payload.
    pub payload: PathBuf,
    /// What a person should read, though the snapshot is good.
    pub warnings: Vec<String>,
    /// How long it took, by the monotonic clock.
    pub took: Duration,
}

/// Takes a snapshot into the spool. When it returns `Ok`, payload and manifest are durable there.
///
/// # Errors
/// [`Kind::Refused`] for an unfit member or while another snapshot is being taken; [`Kind::Etcd`], [`Kind::Verification`] or [`Kind::Io`] otherwise.
/// Nothing is left behind.
pub async fn save(
    etcd: &dyn Etcd,
    records: &Records,
    clock: &dyn Clock,
    spool: &Spool,
    request: &SaveRequest,
) -> Result<Saved> {
    let (started, began) = (clock.now(), clock.monotonic());
    let _lock = spool.lock()?;
    let status = etcd.status().await?;
    refuse_unfit(etcd, &status)?;
    let mut warnings = Vec::new();
    let floor = quorum(etcd, &mut warnings).await?;
    let voters = voters(etcd, &mut warnings).await;

    let wanted =
        SnapshotName::from_start(&request.prefix, started).or_fail(Kind::Usage, || "cannot name the snapshot")?;
    let name = spool.free_name(&wanted)?;
    crate::failpoint!("save.before_stream");
    let (tell, early) = match request.ships {
        true => early::begin(records, spool, &name, request.compression),
        false => (watch::Sender::new(0), None),
    };
    let (written, part) = stream::stream(etcd, spool, &name, request, tell).await?;
    crate::failpoint!("save.after_fsync");
    // The alarm may have been raised after the member was asked.
    if written.facts.alarms.iter().any(|a| a.kind == AlarmKind::Corrupt) {
        return Err(corrupt(etcd.endpoint()));
    }

    let revision = written.facts.revision;
    if let Some(floor) = floor
        && revision < floor
    {
        return Err(Error::new(
            Kind::Etcd,
            format!(
                "the snapshot from {} was thrown away: it ends at revision {revision}, and the cluster had {floor} before it began",
                etcd.endpoint()
            ),
        )
        .hint("this member lags behind; look at: etcdctl endpoint status --cluster"));
    }
    if health::regressed(request.newest_known, request.generation, revision) {
        let (_, known) = request.newest_known.unwrap_or_default();
        warnings.push(format!(
            "revision {revision} is less than half of {known}, which was saved before in the same generation: was the cluster emptied?"
        ));
    }
    let hash_kv = if request.hash_check { hash(etcd, revision, &mut warnings).await } else { None };
    let source = Source {
        cluster_id: status.cluster_id,
        member_id: status.member_id,
        etcd_version: status.version,
        storage_version: status.storage_version,
        quorum: floor.is_some(),
        hash_kv,
        voters,
    };
    let saved =
        commit(records, clock, spool, request, Taken { name, started, began, written, part, source, warnings })?;
    spool.hand_over(early);
    Ok(saved)
}

/// What is known of the member that a snapshot is from.
pub(super) struct Source {
    pub(super) cluster_id: ClusterId,
    pub(super) member_id: MemberId,
    pub(super) etcd_version: String,
    /// When the file itself does not say it.
    pub(super) storage_version: Option<String>,
    pub(super) quorum: bool,
    pub(super) hash_kv: Option<HashKv>,
    pub(super) voters: Vec<Voter>,
}

/// A payload that is written, and all that its manifest says.
pub(super) struct Taken {
    pub(super) name: SnapshotName,
    pub(super) started: Timestamp,
    pub(super) began: Duration,
    pub(super) written: Written,
    pub(super) part: Part,
    pub(super) source: Source,
    pub(super) warnings: Vec<String>,
}

/// Makes a written payload a whole entry of the spool.
pub(super) fn commit(
    records: &Records,
    clock: &dyn Clock,
    spool: &Spool,
    request: &SaveRequest,
    taken: Taken,
) -> Result<Saved> {
    let Taken { name, started, began, written, part, source, warnings } = taken;
    let manifest = Manifest {
        name,
        kind: KIND_SNAPSHOT.to_owned(),
        origin: request.origin,
        generation: request.generation,
        cluster_id: source.cluster_id,
        member_id: source.member_id,
        node: request.node.clone(),
        etcd_version: source.etcd_version,
        storage_version: written.facts.storage_version.clone().or(source.storage_version),
        revision: written.facts.revision,
        compact_revision: written.facts.compact_revision,
        raw: written.raw,
        stored: written.stored,
        compression: request.compression,
        encryption: Vec::new(),
        started,
        ended: clock.now(),
        quorum: source.quorum,
        hash_kv: source.hash_kv,
        tags: request.tags.clone(),
        token_fingerprint: records.token_fingerprint().to_owned(),
        auth: written.facts.auth_enabled,
        alarms: alarm_names(&written.facts.alarms),
        voters: source.voters,
    };
    manifest.check().or_fail(Kind::Internal, || format!("the manifest of {} makes no sense", manifest.name))?;
    let payload = place(spool, records, &manifest, part)?;
    for warning in &warnings {
        tracing::warn!(snapshot = %manifest.name, "{warning}");
    }
    Ok(Saved { manifest, payload, warnings, took: clock.monotonic().saturating_sub(began) })
}

/// etcd's names of them, each once.
fn alarm_names(alarms: &[Alarm]) -> Vec<String> {
    let mut names: Vec<String> = alarms
        .iter()
        .map(|a| match a.kind {
            AlarmKind::NoSpace => "NOSPACE".to_owned(),
            AlarmKind::Corrupt => "CORRUPT".to_owned(),
            AlarmKind::Other => "OTHER".to_owned(),
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The manifest first, the payload's name last: see [`super::spool`].
fn place(spool: &Spool, records: &Records, manifest: &Manifest, part: Part) -> Result<PathBuf> {
    let sealed = records.seal(RecordKind::Manifest, &keys::manifest(&manifest.name), manifest.generation, manifest)?;
    spool.write_manifest(&manifest.name, &sealed)?;
    let payload = spool.payload(manifest);
    if let Err(e) = give_name(&part, &payload) {
        let _ = spool.discard_manifest(&manifest.name);
        return Err(e);
    }
    part.keep();
    crate::failpoint!("save.after_rename");
    Ok(payload)
}

fn give_name(part: &Part, payload: &Path) -> Result<()> {
    crate::failpoint!("save.after_manifest");
    sys::fs::rename_new(part.path(), payload)
}

fn refuse_unfit(etcd: &dyn Etcd, status: &MemberStatus) -> Result<()> {
    let endpoint = etcd.endpoint();
    let observed = Observation { is_learner: status.is_learner, errors: &status.errors };
    match health::fit(&observed) {
        Ok(()) => Ok(()),
        Err(Unfit::Learner) => {
            Err(Error::new(Kind::Refused, format!("{endpoint} is a learner and may lag; it is not snapshotted"))
                .hint("take the snapshot on a voting member"))
        }
        Err(Unfit::Corrupt) => Err(corrupt(endpoint)),
        Err(other) => Err(Error::new(Kind::Refused, format!("{endpoint} is not snapshotted: {other}"))
            .hint("take the snapshot on another member")),
    }
}

fn corrupt(endpoint: &str) -> Error {
    Error::new(
        Kind::Refused,
        format!("{endpoint} has the CORRUPT alarm: its data may be the wrong ones, so it is not snapshotted"),
    )
    .hint("see which member differs: etcdctl alarm list; etcdctl endpoint hashkv --cluster")
}

/// The revision that the snapshot must reach; `None` without quorum.
async fn quorum(etcd: &dyn Etcd, warnings: &mut Vec<String>) -> Result<Option<Revision>> {
    match etcd.linearizable_read().await {
        Ok(revision) => Ok(Some(revision)),
        Err(e) if matches!(e.kind, EtcdErrorKind::NoQuorum | EtcdErrorKind::Unreachable) => {
            warnings.push(format!("emergency snapshot without quorum, restored only by name: {e}"));
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

async fn voters(etcd: &dyn Etcd, warnings: &mut Vec<String>) -> Vec<Voter> {
    match etcd.members().await {
        Ok(members) => members
            .into_iter()
            .filter(|m| !m.is_learner)
            .map(|m| Voter { name: m.name, id: m.id, peer_urls: m.peer_urls })
            .collect(),
        Err(e) => {
            warnings.push(format!("the manifest names no voters: {e}"));
            Vec::new()
        }
    }
}

async fn hash(etcd: &dyn Etcd, revision: Revision, warnings: &mut Vec<String>) -> Option<HashKv> {
    match etcd.hash_kv(revision).await {
        Ok((hash, compact_revision)) => Some(HashKv { hash, compact_revision, revision }),
        Err(e) => {
            warnings.push(format!("the manifest has no HashKV: {e}"));
            None
        }
    }
}

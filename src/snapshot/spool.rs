//! The spool: whole snapshots on this host's disk, on their way to the store.
//!
//! Files of an entry, all 0600: `<name>.db.gz` (payload), `<name>.manifest.json` (sealed manifest, still to be shipped) or
//! `<name>.shipped.json` (the same, shipped). An entry exists exactly when the payload and one of the manifests are there. The payload
//! is renamed into place last, after the manifest is durable; so a power cut leaves an entry, or a `<name>.part` beside its manifest
//! that [`Spool::clean`] can finish, or rubbish that it removes. What was not shipped is never removed.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::fcntl::{Flock, FlockArg};

use crate::catalog::keys;
use crate::catalog::records::Records;
use crate::core::manifest::{Manifest, PAYLOAD_FORMATS, payload_file};
use crate::core::model::{Sha256, SnapshotName};
use crate::core::record::{MAX_RECORD_BYTES, RecordKind};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys;

use super::early::Handover;

const PART: &str = ".part";
const WAITING: &str = ".manifest.json";
const SHIPPED: &str = ".shipped.json";
const LOCK: &str = "save.lock";

/// The spool may share a file system with etcd, which must never find it full.
pub const DEFAULT_RESERVE: u64 = 256 * 1024 * 1024;
/// Shipped snapshots that stay on the host.
pub const DEFAULT_KEEP: usize = 5;

/// The spool directory of this host.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
    keep: usize,
    reserve: u64,
    pub(super) handover: Handover,
}

/// Held while a snapshot is taken: one at a time on a host.
#[derive(Debug)]
pub struct SpoolLock(#[allow(dead_code, reason = "dropping it releases the lock")] Flock<File>);

/// A whole snapshot in the spool.
#[derive(Debug, Clone)]
pub struct SpoolEntry {
    /// Its manifest, verified.
    pub manifest: Manifest,
    /// The manifest as it is, or will be, stored.
    pub sealed: Bytes,
    /// The payload's path.
    pub payload: PathBuf,
    /// Whether it is in the store.
    pub shipped: bool,
}

/// What is in the spool.
#[derive(Debug, Default)]
pub struct SpoolListing {
    /// Whole snapshots, oldest first.
    pub entries: Vec<SpoolEntry>,
    /// Files that look like ours and cannot be followed, with the reason. They are left alone.
    pub problems: Vec<(PathBuf, String)>,
}

impl Spool {
    /// Opens the spool, creating the directory (0700) when it is missing. `keep` shipped snapshots stay; while a snapshot is written, `reserve`
    /// bytes of the file system stay free.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(dir: &Path, keep: usize, reserve: u64) -> Result<Self> {
        sys::fs::create_dir_all(dir, 0o700).map_err(|e| e.hint("check node.state_dir and its owner"))?;
        Ok(Spool { dir: dir.to_path_buf(), keep, reserve, handover: Handover::default() })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes that stay free.
    pub fn reserve(&self) -> u64 {
        self.reserve
    }

    /// Takes the right to take a snapshot on this host.
    ///
    /// # Errors
    /// [`Kind::Refused`] while another process of ours takes one.
    pub fn lock(&self) -> Result<SpoolLock> {
        let path = self.dir.join(LOCK);
        if !path.exists() {
            match self.create(&path) {
                Err(_) if path.exists() => {}
                other => drop(other?),
            }
        }
        let file = File::open(&path).or_fail(Kind::Io, || format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(SpoolLock(held)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                Err(Error::new(Kind::Refused, format!("another snapshot is being taken into {}", self.dir.display()))
                    .hint("wait for it to end; see it with: lifeboat ls --local"))
            }
            Err((_, e)) => {
                Err(Error::new(Kind::Io, format!("cannot lock {}", path.display())).caused_by(std::io::Error::from(e)))
            }
        }
    }

    /// A new file, 0600, that belongs to the directory's owner: root may take a snapshot by hand, and the daemon must be able to ship it.
    pub(crate) fn create(&self, path: &Path) -> Result<File> {
        let file = sys::fs::create_new(path, 0o600)?;
        self.give_to_owner(&file, path)?;
        Ok(file)
    }

    fn give_to_owner(&self, file: &File, path: &Path) -> Result<()> {
        let dir = fs::metadata(&self.dir).or_fail(Kind::Io, || format!("cannot stat {}", self.dir.display()))?;
        let own = file.metadata().or_fail(Kind::Io, || format!("cannot stat {}", path.display()))?;
        if dir.uid() == own.uid() {
            return Ok(());
        }
        std::os::unix::fs::fchown(file, Some(dir.uid()), Some(dir.gid()))
            .or_fail(Kind::Io, || format!("cannot give {} to the owner of its directory", path.display()))
    }

    pub(crate) fn part(&self, name: &SnapshotName) -> PathBuf {
        self.dir.join(format!("{name}{PART}"))
    }

    pub(crate) fn payload(&self, manifest: &Manifest) -> PathBuf {
        self.dir.join(manifest.payload_file())
    }

    fn waiting(&self, name: &SnapshotName) -> PathBuf {
        self.dir.join(format!("{name}{WAITING}"))
    }

    fn shipped(&self, name: &SnapshotName) -> PathBuf {
        self.dir.join(format!("{name}{SHIPPED}"))
    }

    /// `wanted`, or the first of `wanted-2`, `wanted-3`, ... that has no file here.
    ///
    /// # Errors
    /// When a hundred are taken, or the name gets too long.
    pub fn free_name(&self, wanted: &SnapshotName) -> Result<SnapshotName> {
        let taken = |name: &SnapshotName| {
            [self.part(name), self.waiting(name), self.shipped(name)].iter().any(|p| p.exists())
                || PAYLOAD_FORMATS.iter().any(|c| self.dir.join(payload_file(name, *c)).exists())
        };
        if !taken(wanted) {
            return Ok(wanted.clone());
        }
        for n in 2..100 {
            let name = suffixed(wanted, n)?;
            if !taken(&name) {
                return Ok(name);
            }
        }
        Err(Error::new(Kind::Io, format!("{} holds a hundred snapshots named {wanted}", self.dir.display())))
    }

    /// Writes the sealed manifest of an entry whose payload follows. Durable on return.
    pub(crate) fn write_manifest(&self, name: &SnapshotName, sealed: &[u8]) -> Result<()> {
        let path = self.waiting(name);
        if !sys::fs::write_create_only(&path, sealed, 0o600)? {
            return Err(Error::new(Kind::Io, format!("{} exists already", path.display())));
        }
        let file = File::open(&path).or_fail(Kind::Io, || format!("cannot open {}", path.display()))?;
        self.give_to_owner(&file, &path)
    }

    /// Takes back a manifest whose payload did not follow.
    pub(crate) fn discard_manifest(&self, name: &SnapshotName) -> Result<()> {
        sys::fs::remove_file(&self.waiting(name))
    }

    /// Gives an entry another name, with the manifest that goes with it. Whole at every instant.
    pub(crate) fn rename_entry(&self, old: &SpoolEntry, new: &Manifest, sealed: &[u8]) -> Result<SpoolEntry> {
        self.write_manifest(&new.name, sealed)?;
        let payload = self.payload(new);
        sys::fs::rename_new(&old.payload, &payload)?;
        sys::fs::remove_file(&self.waiting(&old.manifest.name))?;
        Ok(SpoolEntry { manifest: new.clone(), sealed: Bytes::copy_from_slice(sealed), payload, shipped: false })
    }

    /// Notes that an entry is in the store.
    pub(crate) fn mark_shipped(&self, name: &SnapshotName) -> Result<()> {
        let (from, to) = (self.waiting(name), self.shipped(name));
        // Another process of ours may have shipped the very same entry meanwhile.
        if !from.exists() && to.exists() {
            return Ok(());
        }
        sys::fs::rename(&from, &to)
    }

    /// Removes shipped entries beyond the newest `keep`; gives their names.
    ///
    /// # Errors
    /// When the spool cannot be read or a file cannot be removed.
    pub fn trim(&self, records: &Records) -> Result<Vec<SnapshotName>> {
        let shipped: Vec<SpoolEntry> = self.list(records)?.entries.into_iter().filter(|e| e.shipped).collect();
        let surplus = shipped.len().saturating_sub(self.keep);
        let mut removed = Vec::new();
        for entry in shipped.into_iter().take(surplus) {
            // The payload first: without it the other file means nothing, the other way round it would be a riddle.
            sys::fs::remove_file(&entry.payload)?;
            sys::fs::remove_file(&self.shipped(&entry.manifest.name))?;
            removed.push(entry.manifest.name);
        }
        Ok(removed)
    }

    /// Everything that is here.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self, records: &Records) -> Result<SpoolListing> {
        let mut listing = SpoolListing::default();
        for path in self.files()? {
            let Some((name, shipped)) = manifest_of(&path) else { continue };
            let read = self.read_sealed(&path, &name, records);
            match read {
                Ok((manifest, sealed)) => {
                    let payload = self.payload(&manifest);
                    if payload.exists() {
                        listing.entries.push(SpoolEntry { manifest, sealed, payload, shipped });
                    }
                }
                Err(why) => listing.problems.push((path, why)),
            }
        }
        listing
            .entries
            .sort_by(|a, b| (a.manifest.started, &a.manifest.name).cmp(&(b.manifest.started, &b.manifest.name)));
        Ok(listing)
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let cannot = || format!("cannot read the spool {}", self.dir.display());
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir).or_fail(Kind::Io, cannot)? {
            files.push(entry.or_fail(Kind::Io, cannot)?.path());
        }
        files.sort();
        Ok(files)
    }

    fn read_sealed(
        &self,
        path: &Path,
        name: &SnapshotName,
        records: &Records,
    ) -> std::result::Result<(Manifest, Bytes), String> {
        let mut sealed = Vec::new();
        File::open(path)
            .and_then(|f| f.take(MAX_RECORD_BYTES).read_to_end(&mut sealed))
            .map_err(|e| format!("cannot read it: {e}"))?;
        let (manifest, generation): (Manifest, _) =
            records.unseal(RecordKind::Manifest, &keys::manifest(name), &sealed).map_err(|e| e.to_string())?;
        manifest.check().map_err(|e| e.to_string())?;
        if &manifest.name != name || manifest.generation != generation {
            return Err("its name or generation differs from what was signed".into());
        }
        Ok((manifest, Bytes::from(sealed)))
    }

    /// Puts the spool in order after a crash: finishes entries of which only the last rename is missing, removes half-written files.
    /// Does nothing while a snapshot is being taken. Call it when the daemon starts.
    ///
    /// # Errors
    /// When the directory cannot be read or a file cannot be removed.
    pub fn clean(&self, records: &Records) -> Result<Vec<PathBuf>> {
        let _held = match self.lock() {
            Ok(held) => held,
            Err(e) if e.kind() == Kind::Refused => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut removed = Vec::new();
        for path in self.files()? {
            let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let rubbish = if let Some(name) = file.strip_suffix(PART) {
                match SnapshotName::new(name) {
                    Ok(name) => !self.finish(&name, records)?,
                    // Temporary files of `sys::fs` start with a dot.
                    Err(_) => file.starts_with('.'),
                }
            } else if let Some((name, _)) = manifest_of(&path) {
                !self.part(&name).exists() && self.payload_is_gone(&path, &name, records)
            } else {
                false
            };
            if rubbish {
                sys::fs::remove_file(&path)?;
                removed.push(path);
            }
        }
        Ok(removed)
    }

    /// A manifest that cannot be read is never rubbish.
    fn payload_is_gone(&self, path: &Path, name: &SnapshotName, records: &Records) -> bool {
        self.read_sealed(path, name, records).is_ok_and(|(manifest, _)| !self.payload(&manifest).exists())
    }

    /// Whether the `.part` was whole, as its manifest says, and is an entry now.
    fn finish(&self, name: &SnapshotName, records: &Records) -> Result<bool> {
        let Ok((manifest, _)) = self.read_sealed(&self.waiting(name), name, records) else { return Ok(false) };
        let part = self.part(name);
        let (size, sha256) = digest_file(&part)?;
        if size != manifest.stored.size || sha256 != manifest.stored.sha256 {
            return Ok(false);
        }
        sys::fs::rename_new(&part, &self.payload(&manifest))?;
        Ok(true)
    }
}

/// `<name>` and whether it is shipped, for the path of a manifest.
fn manifest_of(path: &Path) -> Option<(SnapshotName, bool)> {
    let file = path.file_name()?.to_str()?;
    let (name, shipped) = match file.strip_suffix(WAITING) {
        Some(name) => (name, false),
        None => (file.strip_suffix(SHIPPED)?, true),
    };
    Some((SnapshotName::new(name).ok()?, shipped))
}

/// `name-n`.
pub(crate) fn suffixed(name: &SnapshotName, n: u32) -> Result<SnapshotName> {
    name.with_suffix(n).or_fail(Kind::Usage, || format!("the snapshot name {name} leaves no room for a suffix"))
}

/// Size and digest of a local file, in constant memory.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn digest_file(path: &Path) -> Result<(u64, Sha256)> {
    use sha2::Digest;
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).or_fail(Kind::Io, cannot)?;
    let mut digest = sha2::Sha256::new();
    let mut buffer = vec![0u8; 256 * 1024];
    let mut size = 0u64;
    loop {
        let n = file.read(&mut buffer).or_fail(Kind::Io, cannot)?;
        match buffer.get(..n) {
            Some([]) | None => return Ok((size, Sha256(digest.finalize().into()))),
            Some(piece) => digest.update(piece),
        }
        size = size.saturating_add(n as u64);
    }
}

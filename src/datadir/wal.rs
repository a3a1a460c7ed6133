//! etcd's write-ahead log: writes the one of a restored member, and looks at an existing one
//! (`server/storage/wal/{wal,encoder,decoder}.go`).
//!
//! A frame is `u64 length`, the record, padding to 8 bytes; the top byte of the length is `0x80 | padding` when there is
//! padding. A record is `type, crc, data`; crc is CRC-32C over the data of all records so far, and a record of type crc
//! at the head of each file carries on the value of the file before.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, fallocate};

use crate::core::model::{ClusterId, MemberId};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys;

use super::buckets::StoredMember;
use super::damaged;
use super::protobuf::{Message, fields};
use super::snap::conf_state;

/// Bytes that etcd gives a segment at once (64 MB, not MiB).
pub const SEGMENT_BYTES: u64 = 64 * 1000 * 1000;
/// Longest record that is read. etcd writes requests of some MiB.
const MAX_RECORD: u64 = 256 << 20;
/// Segments that are looked at. etcd keeps five.
const MAX_SEGMENTS: usize = 4096;
/// Records at the head of a segment before its metadata must have come.
const SECTOR: u64 = 512;

const METADATA: u64 = 1;
const ENTRY: u64 = 2;
const STATE: u64 = 3;
const CRC: u64 = 4;
const SNAPSHOT: u64 = 5;

/// Builds the bytes of a segment.
#[derive(Default)]
struct Encoder {
    bytes: Vec<u8>,
    crc: u32,
}

impl Encoder {
    fn record(&mut self, kind: u64, data: Option<&[u8]>) {
        self.crc = crc32c::crc32c_append(self.crc, data.unwrap_or_default());
        let mut record = Message::new().number(1, kind).number(2, u64::from(self.crc));
        if let Some(data) = data {
            record = record.bytes(3, data);
        }
        let record = record.encode();
        let padding = (8 - record.len() % 8) % 8;
        let mut length = record.len() as u64;
        if padding != 0 {
            length |= (0x80 | padding as u64) << 56;
        }
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(record);
        self.bytes.resize(self.bytes.len() + padding, 0);
    }
}

/// The records of a restored member's log. `members` by ascending id, `me` one of them.
fn restored_log(members: &[StoredMember], me: MemberId, cluster: ClusterId) -> Vec<u8> {
    let mut out = Encoder::default();
    out.record(CRC, None);
    out.record(METADATA, Some(&Message::new().number(1, me.0).number(2, cluster.0).encode()));
    out.record(SNAPSHOT, Some(&Message::new().number(1, 0).number(2, 0).encode()));
    for (index, member) in members.iter().enumerate() {
        let change =
            Message::new().number(1, 0).number(2, 0).number(3, member.id.0).bytes(4, &member.encode()).encode();
        let entry = Message::new().number(1, 1).number(2, 1).number(3, index as u64 + 1).bytes(4, &change);
        out.record(ENTRY, Some(&entry.encode()));
    }
    let count = members.len() as u64;
    let vote = members.first().map_or(0, |m| m.id.0);
    out.record(STATE, Some(&Message::new().number(1, 1).number(2, vote).number(3, count).encode()));
    let snapshot = Message::new().number(1, count).number(2, 1).bytes(3, &conf_state(members));
    out.record(SNAPSHOT, Some(&snapshot.encode()));
    out.bytes
}

/// Name of the first segment of a log.
pub fn first_segment_name() -> String {
    format!("{:016x}-{:016x}.wal", 0, 0)
}

/// Writes the log of a restored member into the directory `dir`, which exists and is empty, and fsyncs the file.
///
/// # Errors
/// `Io`, a full disk included: the whole segment is reserved.
pub fn write_restored(dir: &Path, members: &[StoredMember], me: MemberId, cluster: ClusterId) -> Result<()> {
    let path = dir.join(first_segment_name());
    let file = sys::fs::create_new(&path, 0o600)?;
    reserve(&file, SEGMENT_BYTES)
        .or_fail(Kind::Io, || format!("cannot reserve {SEGMENT_BYTES} bytes for {}", path.display()))?;
    let log = restored_log(members, me, cluster);
    file.write_all_at(&log, 0).or_fail(Kind::Io, || format!("cannot write {}", path.display()))?;
    file.sync_all().or_fail(Kind::Io, || format!("cannot fsync {}", path.display()))
}

/// Gives a file `len` bytes of zeros that the disk has room for.
pub(super) fn reserve(file: &File, len: u64) -> io::Result<()> {
    let signed = i64::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    if signed == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, signed) {
        // As etcd does: some file systems cannot reserve.
        Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOSYS) => file.set_len(len),
        other => other.map_err(io::Error::from),
    }
}

/// `raftpb.HardState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// Raft term.
    pub term: u64,
    /// The member that was voted for.
    pub vote: u64,
    /// Committed index.
    pub commit: u64,
}

/// What a log says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalInfo {
    /// The member that wrote it.
    pub member_id: MemberId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Number of segments.
    pub segments: usize,
    /// The last hard state in the last segment.
    pub hard_state: Option<HardState>,
    /// Whether the last record was cut off by a crash. etcd mends that by itself.
    pub torn: bool,
}

/// The segments of a log, by sequence number. Empty when there is no log; files of other names do not count.
///
/// # Errors
/// `Io` when the directory cannot be read; `NotFound` of the directory itself is an empty list.
pub fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let failed = || format!("cannot read directory {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound) => return Ok(Vec::new()),
        other => other.or_fail(Kind::Io, failed)?,
    };
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.or_fail(Kind::Io, failed)?;
        let name = entry.file_name();
        if let Some(sequence) = name.to_str().and_then(parse_name) {
            out.push((sequence, entry.path()));
        }
        if out.len() > MAX_SEGMENTS {
            return Err(damaged(format!("{} holds more than {MAX_SEGMENTS} segments", dir.display())));
        }
    }
    out.sort();
    Ok(out)
}

fn parse_name(name: &str) -> Option<u64> {
    let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
    let number = |s: &str| u64::from_str_radix(s, 16).ok().filter(|_| s.len() == 16);
    number(index)?;
    number(sequence)
}

/// Looks at the heads of all segments and through the last one.
///
/// # Errors
/// `Verification` when there is no segment, their numbers have a gap, they disagree about who wrote them, or etcd would
/// refuse a record; `Io` when reading fails.
pub fn inspect(dir: &Path) -> Result<WalInfo> {
    let segments = segments(dir)?;
    let Some((first, _)) = segments.first() else {
        return Err(damaged(format!("{} holds no WAL", dir.display())));
    };
    let gap = segments.iter().enumerate().any(|(i, (sequence, _))| first.checked_add(i as u64) != Some(*sequence));
    if gap {
        return Err(damaged(format!("a segment is missing in {}", dir.display())));
    }
    let mut info: Option<WalInfo> = None;
    for (index, (_, path)) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        let found = read_segment(path, last)?;
        if info.as_ref().is_some_and(|i| (i.member_id, i.cluster_id) != (found.member_id, found.cluster_id)) {
            return Err(damaged(format!("{} was written by another member than the segment before", path.display())));
        }
        info = Some(WalInfo { segments: segments.len(), ..found });
    }
    info.ok_or_else(|| damaged(format!("{} holds no WAL", dir.display())))
}

fn read_segment(path: &Path, to_the_end: bool) -> Result<WalInfo> {
    let file = File::open(path).or_fail(Kind::Io, || format!("cannot open {}", path.display()))?;
    let len = file.metadata().or_fail(Kind::Io, || format!("cannot stat {}", path.display()))?.len();
    read_records(BufReader::with_capacity(64 << 10, file), len, path, to_the_end)
}

/// The last segment of a log, from memory.
///
/// # Errors
/// As [`inspect`].
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn inspect_bytes(segment: &[u8]) -> Result<WalInfo> {
    read_records(segment, segment.len() as u64, Path::new("segment"), true)
}

fn read_records(source: impl Read, len: u64, path: &Path, to_the_end: bool) -> Result<WalInfo> {
    let mut reader = Records { source, path, len, at: 0, crc: 0, fresh: true };
    let (mut ids, mut hard_state, mut torn) = (None, None, false);
    loop {
        match reader.next()? {
            Next::Record(METADATA, data) => ids = Some(parse_ids(&data).map_err(|e| reader.bad(&e.one_line()))?),
            Next::Record(STATE, data) => hard_state = Some(parse_state(&data).map_err(|e| reader.bad(&e.one_line()))?),
            Next::Record(..) => {}
            Next::Torn => torn = true,
            Next::End => {}
        }
        let ended = torn || reader.ended();
        if ended || (ids.is_some() && !to_the_end) {
            let (member_id, cluster_id) =
                ids.ok_or_else(|| damaged(format!("{} does not say whose log it is", path.display())))?;
            return Ok(WalInfo { member_id, cluster_id, segments: 1, hard_state, torn });
        }
    }
}

fn parse_ids(data: &[u8]) -> Result<(MemberId, ClusterId)> {
    let (mut member, mut cluster) = (0, 0);
    for field in fields(data) {
        match field? {
            (1, v) => member = v.varint()?,
            (2, v) => cluster = v.varint()?,
            _ => {}
        }
    }
    Ok((MemberId(member), ClusterId(cluster)))
}

fn parse_state(data: &[u8]) -> Result<HardState> {
    let mut out = HardState::default();
    for field in fields(data) {
        match field? {
            (1, v) => out.term = v.varint()?,
            (2, v) => out.vote = v.varint()?,
            (3, v) => out.commit = v.varint()?,
            _ => {}
        }
    }
    Ok(out)
}

enum Next {
    Record(u64, Vec<u8>),
    Torn,
    End,
}

/// Reads the frames of one segment in order.
struct Records<'a, R> {
    source: R,
    path: &'a Path,
    len: u64,
    at: u64,
    crc: u32,
    /// No record was read yet: the value to go on from comes with the first one.
    fresh: bool,
}

impl<R: Read> Records<'_, R> {
    fn bad(&self, what: &str) -> Error {
        damaged(format!("{} is damaged at byte {}: {what}", self.path.display(), self.at))
    }

    fn ended(&self) -> bool {
        self.at == u64::MAX
    }

    fn end(&mut self) -> Next {
        self.at = u64::MAX;
        Next::End
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<()> {
        self.source.read_exact(buf).or_fail(Kind::Io, || format!("cannot read {}", self.path.display()))
    }

    fn next(&mut self) -> Result<Next> {
        let left = self.len.saturating_sub(self.at);
        if left == 0 {
            return Ok(self.end());
        }
        if left < 8 {
            return Ok(Next::Torn);
        }
        let mut field = [0u8; 8];
        self.read(&mut field)?;
        let field = u64::from_le_bytes(field);
        if field == 0 {
            return Ok(self.end());
        }
        let record_len = field & 0x00ff_ffff_ffff_ffff;
        // etcd takes the padding from the low three bits when the sign bit is set.
        let padding = if field >> 63 == 1 { field >> 56 & 7 } else { 0 };
        let frame = record_len.saturating_add(padding);
        if frame > left - 8 {
            return Ok(Next::Torn);
        }
        if frame > MAX_RECORD {
            return Err(self.bad("a record is longer than any that etcd writes"));
        }
        let mut data = vec![0; usize::try_from(frame).unwrap_or(0)];
        self.read(&mut data)?;
        let record = data.get(..usize::try_from(record_len).unwrap_or(0)).unwrap_or_default();
        match self.decode(record) {
            Some((kind, data)) => {
                self.at += 8 + frame;
                self.fresh = false;
                Ok(Next::Record(kind, data))
            }
            None if is_torn(&data, self.at + 8) => Ok(Next::Torn),
            None => Err(self.bad("a record does not match its checksum")),
        }
    }

    fn decode(&mut self, record: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (mut kind, mut crc, mut data) = (0, 0, &[][..]);
        for field in fields(record) {
            match field.ok()? {
                (1, v) => kind = v.varint().ok()?,
                (2, v) => crc = u32::try_from(v.varint().ok()?).ok()?,
                (3, v) => data = v.bytes().ok()?,
                _ => {}
            }
        }
        if kind == CRC {
            let goes_on = self.fresh || crc == self.crc;
            self.crc = crc;
            return goes_on.then(|| (kind, Vec::new()));
        }
        let sum = crc32c::crc32c_append(self.crc, data);
        if sum != crc || self.fresh {
            return None;
        }
        self.crc = sum;
        Some((kind, data.to_vec()))
    }
}

/// Whether a write was cut off by a crash: then a whole sector of it is zero (`decoder.go`, `isTornEntry`).
fn is_torn(data: &[u8], mut offset: u64) -> bool {
    let mut rest = data;
    while !rest.is_empty() {
        let here = (SECTOR - offset % SECTOR) as usize;
        let (sector, later) = rest.split_at(here.min(rest.len()));
        if sector.iter().all(|b| *b == 0) {
            return true;
        }
        offset += sector.len() as u64;
        rest = later;
    }
    false
}

//! Which members lie on a disk, told by the heads of their write-ahead logs. An own reading of etcd's format, not the product's.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// A member whose log and database are there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberOnDisk {
    pub cluster_id: u64,
    pub member_id: u64,
    /// Where etcd would start it, and not moved aside.
    pub in_place: bool,
}

impl fmt::Display for MemberOnDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {:x} of cluster {:x}", self.member_id, self.cluster_id)
    }
}

/// Every member in a data dir, in place or moved aside. One that cannot be read is none.
pub fn members_on(data_dir: &Path) -> BTreeSet<MemberOnDisk> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(data_dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let in_place = name == "member";
        let is_member = in_place || name.starts_with("member.quarantine-");
        if !is_member || !entry.path().join("snap/db").is_file() {
            continue;
        }
        let logs = fs::read_dir(entry.path().join("wal")).into_iter().flatten().flatten().map(|e| e.path());
        // etcd may purge one of them at any time.
        let ids = logs.filter(|p| p.extension().is_some_and(|e| e == "wal")).find_map(|p| head_of(&p));
        found.extend(ids.map(|(member_id, cluster_id)| MemberOnDisk { cluster_id, member_id, in_place }));
    }
    found
}

/// Member and cluster of a log: each file begins with a record of the checksum so far (type 4) and one of these two (type 1).
fn head_of(log: &Path) -> Option<(u64, u64)> {
    let mut head = Vec::new();
    File::open(log).ok()?.take(512).read_to_end(&mut head).ok()?;
    let mut rest = head.as_slice();
    for wanted in [4, 1] {
        let (length, after) = rest.split_first_chunk::<8>()?;
        let length = u64::from_le_bytes(*length);
        // The highest byte tells how much padding follows.
        let padding = if length >> 63 == 1 { (length >> 56) & 0x7 } else { 0 };
        let (size, padding) = (usize::try_from(length & 0x00ff_ffff_ffff_ffff).ok()?, usize::try_from(padding).ok()?);
        let record = fields(after.get(..size)?)?;
        let field = |n: u64| record.iter().find(|(number, ..)| *number == n);
        if field(1)?.1 != wanted {
            return None;
        }
        if wanted == 1 {
            let ids = fields(field(3)?.2)?;
            let id = |n: u64| ids.iter().find(|(number, ..)| *number == n).map(|(_, value, _)| *value);
            return Some((id(1)?, id(2)?));
        }
        rest = after.get(size + padding..)?;
    }
    None
}

/// The fields of a protobuf message: number, value of a number, bytes of a text.
fn fields(mut message: &[u8]) -> Option<Vec<(u64, u64, &[u8])>> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let (key, after) = number(message)?;
        let (value, after) = number(after)?;
        let (text, after) = match key & 7 {
            0 => (&[][..], after),
            2 => after.split_at_checked(usize::try_from(value).ok()?)?,
            _ => return None,
        };
        all.push((key >> 3, value, text));
        message = after;
    }
    Some(all)
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(10).position(|b| b & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0, |value, b| (value << 7) | u64::from(b & 0x7f));
    Some((value, &bytes[end + 1..]))
}

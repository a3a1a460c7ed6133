//! Digests that etcd's tools and servers print, computed offline: HashKV, the hash of `snapshot status`, key counts.
//!
//! HashKV needs to know which changes are the newest of their keys. That takes one bit per change and a table of keys;
//! the table is kept below a bound by going over the file again for the keys that did not fit.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use crate::bolt::reader::{Bucket, Image, ReadAt};
use crate::core::model::Revision;
use crate::error::{Error, Kind, Result};

use super::buckets::{KEY, KeyValue, RevisionKey};

/// Keys in the table at the same time: about 32 bytes each.
const MAX_KEYS: usize = 1 << 20;

/// HashKV as a server answers it. Two of them can be compared only at the same compact revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HashKv {
    /// CRC-32C.
    pub hash: u32,
    /// Changes up to this revision count.
    pub revision: Revision,
    /// Up to this revision only the newest change of each key counts. -1: nothing was compacted.
    pub compact_revision: Revision,
}

/// Which changes of the `key` bucket are the newest of their keys at some revision, deletions left out.
pub struct Newest {
    bits: Vec<u64>,
    count: u64,
    nameless: bool,
}

impl Newest {
    /// Number of keys that live. The nameless one is left out: etcd takes no such key from a client, it is what a bump of the revision
    /// writes, and no client ever sees it.
    pub fn live_keys(&self) -> u64 {
        self.count - u64::from(self.nameless)
    }

    fn insert(&mut self, ordinal: u64) {
        let index = usize::try_from(ordinal / 64).unwrap_or(usize::MAX);
        // One bit per change that was read: bounded by the file.
        if index >= self.bits.len() && index < usize::MAX {
            self.bits.resize(index + 1, 0);
        }
        if let Some(word) = self.bits.get_mut(index) {
            *word |= 1 << (ordinal % 64);
            self.count += 1;
        }
    }

    fn contains(&self, ordinal: u64) -> bool {
        let word = usize::try_from(ordinal / 64).ok().and_then(|i| self.bits.get(i));
        word.is_some_and(|w| w & (1 << (ordinal % 64)) != 0)
    }
}

/// Finds the newest changes at one revision. Feed it every item of the `key` bucket in order, as often as it asks.
pub struct NewestFinder {
    revision: i64,
    max_keys: usize,
    /// Digest of a user key -> number of its newest change so far.
    table: HashMap<(u64, u64), u64>,
    ordinal: u64,
    /// Keys whose digest ends in `suffix` (`bits` wide) are looked at in this round.
    bits: u32,
    suffix: u64,
    later: Vec<(u32, u64)>,
    found: Newest,
}

impl NewestFinder {
    /// Looks at changes up to `revision`.
    pub fn new(revision: Revision) -> Self {
        NewestFinder::with_limit(revision, MAX_KEYS)
    }

    fn with_limit(revision: Revision, max_keys: usize) -> Self {
        NewestFinder {
            revision: revision.0,
            max_keys,
            table: HashMap::new(),
            ordinal: 0,
            bits: 0,
            suffix: 0,
            later: Vec::new(),
            found: Newest { bits: Vec::new(), count: 0, nameless: false },
        }
    }

    /// Takes the next change.
    pub fn take(&mut self, at: RevisionKey, user_key: &[u8]) {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        let key = digest(user_key);
        if at.main > self.revision || !self.is_in_round(key) {
            return;
        }
        if user_key.is_empty() {
            self.found.nameless = !at.tombstone;
        }
        if at.tombstone {
            self.table.remove(&key);
            return;
        }
        self.table.insert(key, ordinal);
        while self.table.len() > self.max_keys && self.bits < 48 {
            self.later.push((self.bits + 1, self.suffix | 1 << self.bits));
            self.bits += 1;
            let (bits, suffix) = (self.bits, self.suffix);
            self.table.retain(|k, _| k.0 & ((1 << bits) - 1) == suffix);
        }
    }

    fn is_in_round(&self, key: (u64, u64)) -> bool {
        key.0 & ((1 << self.bits) - 1) == self.suffix
    }

    /// Ends a round. `true`: all items are to be fed once more.
    pub fn needs_another_round(&mut self) -> bool {
        for ordinal in self.table.values() {
            self.found.insert(*ordinal);
        }
        self.table.clear();
        self.ordinal = 0;
        match self.later.pop() {
            Some((bits, suffix)) => {
                (self.bits, self.suffix) = (bits, suffix);
                true
            }
            None => false,
        }
    }

    /// What was found, when no round is needed any more.
    pub fn into_newest(self) -> Newest {
        self.found
    }
}

/// 128 bits, so that two keys of one file never share a digest by chance.
fn digest(key: &[u8]) -> (u64, u64) {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(key);
        hasher.finish()
    };
    (half(0), half(1))
}

/// Decodes an item of the `key` bucket.
///
/// # Errors
/// `Verification` when the key is no revision or the value no `mvccpb.KeyValue`.
pub fn decode_item<'a>(key: &[u8], value: &'a [u8]) -> Result<(RevisionKey, KeyValue<'a>)> {
    let at = RevisionKey::decode(key)
        .ok_or_else(|| super::damaged(format!("{} in bucket key is no revision", key.escape_ascii())))?;
    let kv = KeyValue::decode(value)
        .map_err(|e| e.context(format!("the change at revision {}.{} is malformed", at.main, at.sub)))?;
    Ok((at, kv))
}

fn key_bucket<R: ReadAt>(image: &Image<R>) -> Result<Option<Bucket>> {
    Ok(image.buckets(&mut image.seen())?.into_iter().find(|(name, _)| name == KEY).map(|(_, bucket)| bucket))
}

/// Is given a change, and its key and value as they are stored.
type Visit<'a> = dyn FnMut(RevisionKey, KeyValue<'_>, &[u8], &[u8]) + 'a;

fn each_change<R: ReadAt>(image: &Image<R>, bucket: &Bucket, visit: &mut Visit<'_>) -> Result<()> {
    image.walk(bucket, &mut image.seen(), &mut |item| {
        let (at, kv) = image.in_image(decode_item(item.key, item.value))?;
        visit(at, kv, item.key, item.value);
        Ok(())
    })
}

/// The newest change of each key that lives at `revision`.
///
/// # Errors
/// `Verification` when the image is damaged; `Io`.
pub fn newest<R: ReadAt>(image: &Image<R>, revision: Revision) -> Result<Newest> {
    let Some(bucket) = key_bucket(image)? else { return Ok(Newest { bits: Vec::new(), count: 0, nameless: false }) };
    let mut finder = NewestFinder::new(revision);
    loop {
        each_change(image, &bucket, &mut |at, kv, _, _| finder.take(at, kv.key))?;
        if !finder.needs_another_round() {
            return Ok(finder.into_newest());
        }
    }
}

/// HashKV at `revision` as a server answers it whose compact revision is `compact_revision` (-1 for none).
///
/// # Errors
/// `Usage` when `revision` lies before `compact_revision`; `Verification` when the image is damaged; `Io`.
pub fn hash_kv<R: ReadAt>(image: &Image<R>, revision: Revision, compact_revision: Revision) -> Result<HashKv> {
    if revision < compact_revision {
        return Err(Error::new(
            Kind::Usage,
            format!("HashKV at revision {revision} does not exist after a compaction at {compact_revision}"),
        ));
    }
    let keep = newest(image, revision)?;
    hash_kv_with(image, revision, compact_revision, &keep)
}

/// As [`hash_kv`], when the newest changes at `revision` are known already.
///
/// # Errors
/// `Verification` when the image is damaged; `Io`.
pub fn hash_kv_with<R: ReadAt>(
    image: &Image<R>,
    revision: Revision,
    compact_revision: Revision,
    keep: &Newest,
) -> Result<HashKv> {
    let mut crc = crc32c::crc32c(KEY);
    let mut ordinal = 0;
    if let Some(bucket) = key_bucket(image)? {
        each_change(image, &bucket, &mut |at, _, key, value| {
            let this = ordinal;
            ordinal += 1;
            let superseded = at.main <= compact_revision.0 && keep.count > 0 && !keep.contains(this);
            let compacted_away = at.main == compact_revision.0 && at.tombstone;
            if at.main <= revision.0 && !superseded && !compacted_away {
                crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, key), value);
            }
        })?;
    }
    Ok(HashKv { hash: crc, revision, compact_revision })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However small the table, the same changes are found as with a table of all keys.
        #[test]
        fn a_small_table_finds_the_same(
            changes in prop::collection::vec((0u8..40, any::<bool>()), 0..300),
            limit in 1usize..20,
            revision in 0i64..300,
        ) {
            let run = |limit| {
                let mut finder = NewestFinder::with_limit(Revision(revision), limit);
                let mut rounds = 0;
                loop {
                    for (index, (key, tombstone)) in changes.iter().enumerate() {
                        let at = RevisionKey { main: index as i64, sub: 0, tombstone: *tombstone };
                        // Number 0 stands for the key without a name.
                        finder.take(at, if *key == 0 { &[] } else { std::slice::from_ref(key) });
                    }
                    rounds += 1;
                    if !finder.needs_another_round() {
                        return (finder.into_newest(), rounds);
                    }
                }
            };
            let ((small, _), (large, rounds)) = (run(limit), run(usize::MAX));
            prop_assert_eq!(rounds, 1);
            prop_assert_eq!(small.live_keys(), large.live_keys());
            for ordinal in 0..changes.len() as u64 {
                prop_assert_eq!(small.contains(ordinal), large.contains(ordinal), "change {}", ordinal);
            }
            let mut model = std::collections::BTreeMap::new();
            for (index, (key, tombstone)) in changes.iter().enumerate().take(revision as usize + 1) {
                if *tombstone { model.remove(key); } else { model.insert(key, index as u64); }
            }
            prop_assert_eq!(large.live_keys(), model.keys().filter(|k| ***k != 0).count() as u64);
            prop_assert!(model.values().all(|o| large.contains(*o)));
        }
    }
}

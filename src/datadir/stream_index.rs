//! What a snapshot is, found while it passes by: its exact revision above all, without keeping the image anywhere.

use crate::bolt::page::{LeafItem, PageId};
use crate::bolt::reader::Bucket;
use crate::bolt::stream_index::{Digest, StreamIndex};
use crate::core::model::Revision;
use crate::error::Result;

use super::buckets::{ALARM, AUTH, Alarm, KEY, META, RevisionKey, SmallFacts};
use super::damaged;

/// What the image of a snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// Bytes per page.
    pub page_size: u32,
    /// Number of pages.
    pub pages: u64,
    /// The revision: that of the last change, or of a compaction after it; 1 for an empty store.
    pub revision: Revision,
    /// The highest revision that a compaction was begun or finished at.
    pub compact_revision: Option<Revision>,
    /// Version of the storage format, from etcd 3.6 on.
    pub storage_version: Option<String>,
    /// Whether auth is on.
    pub auth_enabled: bool,
    /// Alarms that a restore would bring back.
    pub alarms: Vec<Alarm>,
}

/// Where the changes are.
enum Changes {
    Inline(Option<i64>),
    Tree(PageId),
}

/// What is kept of a leaf of the root bucket. Free pages hold old ones, so it may be stale and malformed.
struct RootLeaf {
    changes: Option<Changes>,
    /// A problem in it counts only if the leaf turns out to be a real one.
    small: Result<Option<Box<SmallFacts>>>,
}

struct EtcdDigest;

impl Digest for EtcdDigest {
    type Root = RootLeaf;

    fn last_key(&self, key: &[u8]) -> Option<u64> {
        RevisionKey::decode(key).map(|r| r.main.cast_unsigned())
    }

    fn root_leaf(&self, items: &mut dyn Iterator<Item = LeafItem<'_>>) -> RootLeaf {
        let mut changes = None;
        let mut small = Ok(None);
        for item in items {
            match item.key {
                KEY => changes = decode_changes(item.value),
                META | AUTH | ALARM => {
                    small = small.and_then(|facts: Option<Box<SmallFacts>>| {
                        let mut facts = facts.unwrap_or_default();
                        take_small(&mut facts, item.key, item.value)?;
                        Ok(Some(facts))
                    });
                }
                _ => {}
            }
        }
        RootLeaf { changes, small }
    }
}

fn decode_changes(value: &[u8]) -> Option<Changes> {
    let bucket = Bucket::decode(value).ok()?;
    if let Some(root) = bucket.root() {
        return Some(Changes::Tree(root));
    }
    let page = bucket.inline_page()?.ok()?;
    match page.leaf_items().last() {
        None => Some(Changes::Inline(None)),
        Some(last) => RevisionKey::decode(last.key).map(|r| Changes::Inline(Some(r.main))),
    }
}

/// These buckets are always inline in practice: an alarm or two, one byte of auth, some 200 bytes of meta.
fn take_small(facts: &mut SmallFacts, name: &[u8], value: &[u8]) -> Result<()> {
    let Some(page) = Bucket::decode(value)?.inline_page() else {
        return Err(damaged(format!("bucket {} is too large to be read from a stream", name.escape_ascii())));
    };
    for item in page?.leaf_items() {
        facts.take(name, item.key, item.value)?;
    }
    Ok(())
}

/// Finds a snapshot's revision and state while its image passes by. Memory: about 9 bytes per page.
pub struct RevisionIndex {
    index: StreamIndex<EtcdDigest>,
}

impl Default for RevisionIndex {
    fn default() -> Self {
        RevisionIndex::new()
    }
}

impl RevisionIndex {
    /// An index of nothing yet.
    pub fn new() -> Self {
        RevisionIndex { index: StreamIndex::new(EtcdDigest) }
    }

    /// Takes the next bytes of the image, in pieces of any size, without the trailer
    /// ([`super::trailer::TrailerSplitter`] cuts that off).
    ///
    /// # Errors
    /// `Verification` when this is no bolt image, or longer than it says.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.index.push(bytes)
    }

    /// Ends the image.
    ///
    /// # Errors
    /// `Verification` when it is not complete or what is looked for is not where it should be.
    pub fn finish(self) -> Result<StreamFacts> {
        let indexed = self.index.finish()?;
        let mut facts = SmallFacts::default();
        let mut last = None;
        let mut found = Vec::new();
        let (page_size, pages) = (indexed.meta.page_size, indexed.meta.high_water);
        for root in &indexed.roots {
            match root.changes {
                Some(Changes::Inline(revision)) => last = revision,
                Some(Changes::Tree(page)) => last = indexed.last_of(page)?.map(u64::cast_signed),
                None => {}
            }
        }
        for root in indexed.roots {
            found.extend(root.small?);
        }
        for small in found {
            facts.compact_revision = facts.compact_revision.max(small.compact_revision);
            facts.storage_version = facts.storage_version.or(small.storage_version);
            facts.auth_enabled |= small.auth_enabled;
            facts.alarms.extend(small.alarms);
        }
        Ok(StreamFacts {
            page_size,
            pages,
            revision: Revision(facts.revision(last)),
            compact_revision: facts.compact_revision.map(Revision),
            storage_version: facts.storage_version,
            auth_enabled: facts.auth_enabled,
            alarms: facts.alarms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: &[u8] = include_bytes!("../../tests/fixtures/formats/etcd-3.5.30.db");

    #[test]
    fn pieces_of_any_size_give_the_same_facts() {
        let image = &SNAPSHOT[..SNAPSHOT.len() - 32];
        for size in [1, 7, 79, 80, 81, 4095, 4096, 4097, 32 << 10, image.len()] {
            let mut index = RevisionIndex::new();
            image.chunks(size).for_each(|c| index.push(c).unwrap());
            let facts = index.finish().unwrap();
            assert_eq!(
                (facts.revision, facts.compact_revision),
                (Revision(45), Some(Revision(20))),
                "pieces of {size}"
            );
            assert_eq!((facts.page_size, facts.pages), (4096, 6));
            assert!(!facts.auth_enabled && facts.alarms.is_empty() && facts.storage_version.is_none());
        }
    }

    #[test]
    fn a_stream_that_ends_early_or_late_is_refused() {
        let image = &SNAPSHOT[..SNAPSHOT.len() - 32];
        for cut in (0..image.len()).step_by(97) {
            let mut index = RevisionIndex::new();
            let pushed = index.push(&image[..cut]);
            assert!(pushed.and_then(|()| index.finish()).is_err(), "cut at {cut}");
        }
        let mut index = RevisionIndex::new();
        index.push(image).unwrap();
        assert!(index.push(&[0; 4096]).is_err());
    }
}

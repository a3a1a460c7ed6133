//! Finds the right edge of a bucket in an image that passes by once, as a stream that is kept nowhere.
//!
//! The meta pages come first, so the root page is known from the start; any other page may come before the pages that
//! refer to it, and free pages hold stale content that looks just like theirs. So each page leaves a note of 9 bytes (a
//! branch: its last child; a leaf: what the caller's digest makes of its last key), and at the end only the notes on the
//! way from the root count.

use std::collections::{BTreeMap, HashMap};

use crate::error::Result;

use super::damaged;
use super::page::{
    ELEMENT_LEN, Extent, HEADER_LEN, LeafItem, META_PAGE_LEN, Meta, Page, PageHeader, PageId, PageKind, extent, u64_at,
};
use super::reader::MAX_RUN;

/// Levels of a tree.
const MAX_DEPTH: usize = 64;
/// Longest key whose digest is taken. etcd's revisions have 18 bytes.
const MAX_KEY: usize = 64;
/// Notes on pages that may be leaves of the root bucket, stale ones included.
const MAX_ROOT_LEAVES: usize = 1 << 18;
/// Ranges of bytes that are waited for at the same time.
const MAX_WANTED: usize = 1 << 16;
/// Bytes of the root page with its overflow.
const MAX_ROOT_PAGE: usize = 4 << 20;

/// What the caller makes of keys and buckets. Called with stale content too, so it may not fail.
pub trait Digest {
    /// What is kept of a leaf that holds buckets. Should be small: free pages may hold thousands of old ones.
    type Root;

    /// The digest of the last key of a leaf; `None` for a key that is no business of the caller's.
    fn last_key(&self, key: &[u8]) -> Option<u64>;

    /// The digest of a leaf that holds buckets (elements of the root bucket).
    fn root_leaf(&self, items: &mut dyn Iterator<Item = LeafItem<'_>>) -> Self::Root;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    /// Neither branch nor leaf, or its last element was not found.
    Nothing,
    Branch,
    Leaf,
    EmptyLeaf,
    /// A leaf whose last key meant nothing to the caller.
    OtherLeaf,
}

#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// The descriptor of a page's last element.
    LastElement(PageHeader),
    /// The last key of a leaf.
    LastKey,
}

/// Bytes of the image that are needed and are yet to come, filed under the offset of the first that is missing.
struct Wanted {
    len: usize,
    got: Vec<u8>,
    purpose: Purpose,
}

/// The index. Feed it the image from its first byte on, without a snapshot's trailer.
pub struct StreamIndex<D: Digest> {
    digest: D,
    meta: Option<Meta>,
    first: Option<Meta>,
    page_size: usize,
    /// The page that is being received.
    page: Vec<u8>,
    /// Number of that page.
    at: PageId,
    values: Vec<u64>,
    notes: Vec<Note>,
    wanted: BTreeMap<(u64, PageId), Wanted>,
    root_leaves: HashMap<PageId, D::Root>,
    root_page: Vec<u8>,
    root_page_len: usize,
    /// The leaves of the root bucket, once the root page has been received.
    leaves: Option<Vec<PageId>>,
}

/// What was found, once the image is complete.
pub struct Indexed<R> {
    /// The meta record that counts.
    pub meta: Meta,
    /// What was kept of each leaf of the root bucket, in key order.
    pub roots: Vec<R>,
    values: Vec<u64>,
    notes: Vec<Note>,
}

impl<D: Digest> StreamIndex<D> {
    /// An index of nothing yet.
    pub fn new(digest: D) -> Self {
        StreamIndex {
            digest,
            meta: None,
            first: None,
            page_size: 0,
            page: Vec::new(),
            at: 0,
            values: Vec::new(),
            notes: Vec::new(),
            wanted: BTreeMap::new(),
            root_leaves: HashMap::new(),
            root_page: Vec::new(),
            root_page_len: 0,
            leaves: None,
        }
    }

    /// Takes the next bytes of the image.
    ///
    /// # Errors
    /// `Verification` when it does not start with a valid meta record, or goes on past the end that this speaks of.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let goal = if self.page_size == 0 { META_PAGE_LEN } else { self.page_size };
            let (now, later) = bytes.split_at(bytes.len().min(goal.saturating_sub(self.page.len())));
            bytes = later;
            self.page.extend_from_slice(now);
            if self.page.len() < goal {
                return Ok(());
            }
            if self.page_size == 0 {
                let first = self.page.get(HEADER_LEN..).and_then(Meta::decode);
                let first =
                    first.ok_or_else(|| damaged("the snapshot stream does not start with a valid bolt meta page"))?;
                self.page_size = first.page_size as usize;
                self.first = Some(first);
                continue;
            }
            let page = std::mem::take(&mut self.page);
            self.take_page(&page)?;
            self.page = page;
            self.page.clear();
            self.at += 1;
        }
        Ok(())
    }

    fn take_page(&mut self, page: &[u8]) -> Result<()> {
        if self.at == 1 {
            let second = page.get(HEADER_LEN..).and_then(Meta::decode);
            self.meta = Meta::newest(self.first, second.filter(|m| m.page_size as usize == self.page_size));
        }
        if self.meta.is_some_and(|m| self.at >= m.high_water) {
            return Err(damaged(format!("the snapshot stream goes on past page {}, its last one", self.at)));
        }
        self.values.push(0);
        self.notes.push(Note::Nothing);
        if self.at < 2 {
            return Ok(());
        }
        self.feed_wanted(page);
        self.collect_root(page)?;
        let Some(header) = PageHeader::decode(page).filter(|h| h.id == self.at) else { return Ok(()) };
        match (header.kind, header.count.checked_sub(1)) {
            (PageKind::Leaf, None) => self.note(self.at, Note::EmptyLeaf, 0),
            (PageKind::Leaf | PageKind::Branch, Some(last)) => {
                let start = self.offset(self.at) + (HEADER_LEN + last * ELEMENT_LEN) as u64;
                self.want(page, start, ELEMENT_LEN, self.at, Purpose::LastElement(header));
                self.keep_root_leaf(header, page);
            }
            _ => {}
        }
        Ok(())
    }

    fn offset(&self, page: PageId) -> u64 {
        page.saturating_mul(self.page_size as u64)
    }

    fn note(&mut self, page: PageId, note: Note, value: u64) {
        let Ok(index) = usize::try_from(page) else { return };
        if let (Some(n), Some(v)) = (self.notes.get_mut(index), self.values.get_mut(index)) {
            (*n, *v) = (note, value);
        }
    }

    /// Takes `len` bytes at `start` from the current page, or waits for the pages that have them.
    fn want(&mut self, current: &[u8], start: u64, len: usize, owner: PageId, purpose: Purpose) {
        let here = start.checked_sub(self.offset(self.at)).and_then(|s| usize::try_from(s).ok());
        if let Some(bytes) = here.and_then(|s| current.get(s..s.checked_add(len)?)) {
            return self.resolve(current, bytes, owner, purpose);
        }
        if self.wanted.len() < MAX_WANTED {
            // What has passed is only looked for in the current page: elements lie in ascending order.
            let got = here.and_then(|s| current.get(s..)).unwrap_or_default().to_vec();
            let next = start.saturating_add(got.len() as u64);
            self.wanted.insert((next, owner), Wanted { len, got, purpose });
        }
    }

    fn resolve(&mut self, current: &[u8], bytes: &[u8], owner: PageId, purpose: Purpose) {
        match purpose {
            Purpose::LastElement(header) if header.kind == PageKind::Branch => {
                if let Some(child) = u64_at(bytes, 8) {
                    self.note(owner, Note::Branch, child);
                }
            }
            Purpose::LastElement(header) => {
                let descriptor_at = HEADER_LEN + (header.count - 1) * ELEMENT_LEN;
                let run = (u64::from(header.overflow) + 1).saturating_mul(self.page_size as u64).min(MAX_RUN);
                let Some(Extent { key_at, value_at, end }) = extent(PageKind::Leaf, bytes, descriptor_at) else {
                    return;
                };
                let inside = key_at >= descriptor_at + ELEMENT_LEN && end as u64 <= run;
                if !inside {
                    return;
                }
                self.note(owner, Note::OtherLeaf, 0);
                if value_at - key_at <= MAX_KEY {
                    let start = self.offset(owner).saturating_add(key_at as u64);
                    self.want(current, start, value_at - key_at, owner, Purpose::LastKey);
                }
            }
            Purpose::LastKey => {
                if let Some(value) = self.digest.last_key(bytes) {
                    self.note(owner, Note::Leaf, value);
                }
            }
        }
    }

    /// Hands the current page to what waits for bytes in it.
    fn feed_wanted(&mut self, page: &[u8]) {
        let start = self.offset(self.at);
        let end = start.saturating_add(page.len() as u64);
        while let Some(entry) = self.wanted.first_entry() {
            let (next, owner) = *entry.key();
            if next >= end {
                return;
            }
            let mut wanted = entry.remove();
            let from = usize::try_from(next.saturating_sub(start)).unwrap_or(page.len());
            let missing = wanted.len.saturating_sub(wanted.got.len());
            let here = page.get(from..).unwrap_or_default();
            wanted.got.extend_from_slice(here.get(..missing).unwrap_or(here));
            if wanted.got.len() == wanted.len {
                self.resolve(page, &wanted.got, owner, wanted.purpose);
            } else {
                self.wanted.insert((end, owner), wanted);
            }
        }
    }

    /// Collects the root page itself with its overflow.
    fn collect_root(&mut self, page: &[u8]) -> Result<()> {
        let Some(meta) = self.meta else { return Ok(()) };
        if self.at == meta.root {
            let header = PageHeader::decode(page).filter(|h| h.id == self.at);
            let header = header.ok_or_else(|| damaged(format!("the root page {} has no valid header", self.at)))?;
            let len = (header.overflow as usize).saturating_add(1).saturating_mul(self.page_size);
            if len > MAX_ROOT_PAGE {
                return Err(damaged(format!("the root page {} claims to have {len} bytes", self.at)));
            }
            self.root_page_len = len;
        }
        if self.root_page.len() < self.root_page_len {
            self.root_page.extend_from_slice(page);
            if self.root_page.len() >= self.root_page_len {
                let root = Page::parse(self.root_page.clone())?;
                let leaves: Vec<PageId> = root.branch_items().map(|b| b.child).collect();
                self.root_leaves.retain(|page, _| leaves.contains(page));
                self.leaves = Some(leaves);
            }
        }
        Ok(())
    }

    /// Leaves that hold buckets may be leaves of the root bucket, when that is a branch.
    fn keep_root_leaf(&mut self, header: PageHeader, page: &[u8]) {
        let full = self.root_leaves.len() >= MAX_ROOT_LEAVES;
        if full || header.kind != PageKind::Leaf || header.overflow != 0 || Some(self.at) == self.meta.map(|m| m.root) {
            return;
        }
        if self.leaves.as_ref().is_some_and(|leaves| !leaves.contains(&self.at)) {
            return;
        }
        if page.get(HEADER_LEN) != Some(&1) {
            return;
        }
        let Ok(page) = Page::parse(page.to_vec()) else { return };
        if page.leaf_items().all(|i| i.is_bucket) {
            let root = self.digest.root_leaf(&mut page.leaf_items());
            self.root_leaves.insert(self.at, root);
        }
    }

    /// Ends the image.
    ///
    /// # Errors
    /// `Verification` when it is not complete, or the root bucket is not found in it.
    pub fn finish(mut self) -> Result<Indexed<D::Root>> {
        let meta = self.meta.ok_or_else(|| damaged("the snapshot stream ended before its two meta pages"))?;
        if self.at != meta.high_water || !self.page.is_empty() {
            return Err(damaged(format!(
                "the snapshot stream ended after {} of {} pages of {} bytes",
                self.at, meta.high_water, meta.page_size
            )));
        }
        let root = Page::parse(std::mem::take(&mut self.root_page))?;
        let mut roots = Vec::new();
        match root.kind() {
            PageKind::Leaf => roots.push(self.digest.root_leaf(&mut root.leaf_items())),
            _ => {
                for child in root.branch_items().map(|b| b.child) {
                    let kept = self.root_leaves.remove(&child);
                    roots.push(kept.ok_or_else(|| damaged(format!("page {child} is no leaf of the root bucket")))?);
                }
            }
        }
        Ok(Indexed { meta, roots, values: self.values, notes: self.notes })
    }
}

impl<R> Indexed<R> {
    /// What the digest made of the last key of the tree that starts at page `root`; `None` when it is empty.
    ///
    /// # Errors
    /// `Verification` when the way to it is broken, or the last key meant nothing to the digest.
    pub fn last_of(&self, root: PageId) -> Result<Option<u64>> {
        let mut at = root;
        for _ in 0..MAX_DEPTH {
            let index = usize::try_from(at).unwrap_or(usize::MAX);
            match (self.notes.get(index), self.values.get(index)) {
                (Some(Note::Branch), Some(child)) => at = *child,
                (Some(Note::Leaf), Some(value)) => return Ok(Some(*value)),
                (Some(Note::EmptyLeaf), _) if at == root => return Ok(None),
                _ => return Err(damaged(format!("page {at} of the snapshot stream is not what its tree says"))),
            }
        }
        Err(damaged(format!("the tree at page {root} of the snapshot stream is too deep")))
    }
}

//! Pages and meta records, decoded from bytes that nobody vouches for and encoded as bolt writes them.
//!
//! Layout (little endian): a page is `u64 id | u16 flags | u16 count | u32 overflow`, then `count` elements of 16 bytes,
//! then keys and values in the order of their elements. A page with `overflow = n` goes on over the next `n` pages.

use crate::error::Result;

use super::damaged;

/// Number of a page: its offset in the file divided by the page size.
pub type PageId = u64;

/// Bytes of a page header.
pub const HEADER_LEN: usize = 16;
/// Bytes of an element's descriptor, of branch and leaf alike.
pub const ELEMENT_LEN: usize = 16;
/// Bytes of a meta record, which follows the header of pages 0 and 1.
pub const META_LEN: usize = 64;
/// Bytes of a bucket's header in the value of its element: root page and sequence.
pub const BUCKET_LEN: usize = 16;
/// Bytes at the start of the file that are enough to decode the first meta record.
pub const META_PAGE_LEN: usize = HEADER_LEN + META_LEN;
/// In a meta record: there is no list of free pages on disk; whoever opens the file rebuilds it by walking the tree.
pub const NO_FREELIST: PageId = u64::MAX;
/// Flag of a leaf element whose value is a bucket.
pub const BUCKET_FLAG: u32 = 0x01;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

/// Whether bolt can have written a file with this page size: a power of two from 1 KiB to 64 KiB.
pub fn plausible_page_size(size: u32) -> bool {
    size.is_power_of_two() && (1024..=65_536).contains(&size)
}

/// A meta record: where the tree of a transaction starts. Two of them take turns; the valid one with the higher
/// transaction id counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Bytes per page. That of the machine that created the file, not of this one.
    pub page_size: u32,
    /// Root page of the bucket that holds all buckets.
    pub root: PageId,
    /// Sequence of that bucket; etcd leaves it at 0.
    pub sequence: u64,
    /// Page of the list of free pages, or [`NO_FREELIST`].
    pub freelist: PageId,
    /// High-water mark: the first page number that was never allocated.
    pub high_water: PageId,
    /// Transaction id.
    pub txid: u64,
}

impl Meta {
    /// Decodes the record that follows a meta page's header. `None` when magic, version, checksum or page size are wrong.
    pub fn decode(record: &[u8]) -> Option<Meta> {
        let sums_up = u64_at(record, 56)? == fnv1a(record.get(..56)?);
        let meta = Meta {
            page_size: u32_at(record, 8)?,
            root: u64_at(record, 16)?,
            sequence: u64_at(record, 24)?,
            freelist: u64_at(record, 32)?,
            high_water: u64_at(record, 40)?,
            txid: u64_at(record, 48)?,
        };
        let known = u32_at(record, 0)? == MAGIC && u32_at(record, 4)? == VERSION;
        (known && sums_up && plausible_page_size(meta.page_size)).then_some(meta)
    }

    /// The whole meta page number `id` (0 or 1), padded to the page size.
    pub fn encode_page(&self, id: PageId) -> Vec<u8> {
        let mut page = header(id, PageKind::Meta, 0, 0);
        page.extend(MAGIC.to_le_bytes());
        page.extend(VERSION.to_le_bytes());
        page.extend(self.page_size.to_le_bytes());
        page.extend(0u32.to_le_bytes());
        for field in [self.root, self.sequence, self.freelist, self.high_water, self.txid] {
            page.extend(field.to_le_bytes());
        }
        let sum = fnv1a(page.get(HEADER_LEN..).unwrap_or_default());
        page.extend(sum.to_le_bytes());
        page.resize(self.page_size as usize, 0);
        page
    }

    /// The one of two records that counts: the valid one with the higher transaction id.
    pub fn newest(a: Option<Meta>, b: Option<Meta>) -> Option<Meta> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.txid > a.txid { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// FNV-1a, 64 bits: the checksum of a meta record.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// References to other pages.
    Branch,
    /// Keys and values.
    Leaf,
    /// One of the two meta records.
    Meta,
    /// The list of free pages.
    Freelist,
}

impl PageKind {
    fn from_flags(flags: u16) -> Option<Self> {
        match flags {
            0x01 => Some(PageKind::Branch),
            0x02 => Some(PageKind::Leaf),
            0x04 => Some(PageKind::Meta),
            0x10 => Some(PageKind::Freelist),
            _ => None,
        }
    }

    fn flags(self) -> u16 {
        match self {
            PageKind::Branch => 0x01,
            PageKind::Leaf => 0x02,
            PageKind::Meta => 0x04,
            PageKind::Freelist => 0x10,
        }
    }
}

/// The first 16 bytes of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// The page's own number.
    pub id: PageId,
    /// What it holds.
    pub kind: PageKind,
    /// Number of elements.
    pub count: usize,
    /// Number of further pages that belong to this one.
    pub overflow: u32,
}

impl PageHeader {
    /// `None` when the bytes are too few or the flags are not exactly one of the known ones.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(PageHeader {
            id: u64_at(bytes, 0)?,
            kind: PageKind::from_flags(u16_at(bytes, 8)?)?,
            count: usize::from(u16_at(bytes, 10)?),
            overflow: u32_at(bytes, 12)?,
        })
    }
}

fn header(id: PageId, kind: PageKind, count: u16, overflow: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN);
    out.extend(id.to_le_bytes());
    out.extend(kind.flags().to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(overflow.to_le_bytes());
    out
}

/// One element of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafItem<'a> {
    /// Whether the value is a bucket (header, and the page itself when it is inline).
    pub is_bucket: bool,
    /// Key, or name of the bucket.
    pub key: &'a [u8],
    /// Value.
    pub value: &'a [u8],
}

/// One element of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BranchItem<'a> {
    /// Lower bound of the keys below `child`.
    pub key: &'a [u8],
    /// The page below.
    pub child: PageId,
}

/// Where an element's key and value lie in the page's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) key_at: usize,
    pub(super) value_at: usize,
    pub(super) end: usize,
}

/// Reads the descriptor of element `index` that starts at `at`. Says where its bytes should be, not that they are there.
pub(super) fn extent(kind: PageKind, descriptor: &[u8], at: usize) -> Option<Extent> {
    let (pos, key_len, value_len) = match kind {
        PageKind::Leaf => (u32_at(descriptor, 4)?, u32_at(descriptor, 8)?, u32_at(descriptor, 12)?),
        PageKind::Branch => (u32_at(descriptor, 0)?, u32_at(descriptor, 4)?, 0),
        PageKind::Meta | PageKind::Freelist => return None,
    };
    let key_at = at.checked_add(pos as usize)?;
    let value_at = key_at.checked_add(key_len as usize)?;
    Some(Extent { key_at, value_at, end: value_at.checked_add(value_len as usize)? })
}

/// A branch or leaf page with its overflow, every element of which was found to lie inside it.
#[derive(Debug)]
pub struct Page {
    header: PageHeader,
    bytes: Vec<u8>,
}

impl Page {
    /// Takes the bytes of a page and its overflow.
    ///
    /// # Errors
    /// `Verification` when it is neither branch nor leaf, or an element lies outside of the page or overlaps the one
    /// before it (so that the elements together are never larger than the page).
    pub fn parse(bytes: Vec<u8>) -> Result<Page> {
        let header = PageHeader::decode(&bytes).ok_or_else(|| damaged("a page has no valid header"))?;
        let id = header.id;
        if !matches!(header.kind, PageKind::Branch | PageKind::Leaf) {
            return Err(damaged(format!("page {id} is neither a branch nor a leaf")));
        }
        let mut free_from = HEADER_LEN + header.count * ELEMENT_LEN;
        for index in 0..header.count {
            let at = HEADER_LEN + index * ELEMENT_LEN;
            let found = bytes.get(at..).and_then(|d| extent(header.kind, d, at));
            match found {
                Some(e) if e.key_at >= free_from && e.end <= bytes.len() => free_from = e.end,
                _ => {
                    return Err(damaged(format!("page {id}: element {index} of {} lies outside of it", header.count)));
                }
            }
        }
        Ok(Page { header, bytes })
    }

    /// Branch or leaf.
    pub fn kind(&self) -> PageKind {
        self.header.kind
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.header.count
    }

    fn parts(&self, index: usize) -> Option<(&[u8], &[u8], &[u8])> {
        if index >= self.header.count {
            return None;
        }
        let at = HEADER_LEN + index * ELEMENT_LEN;
        let descriptor = self.bytes.get(at..at + ELEMENT_LEN)?;
        let e = extent(self.header.kind, descriptor, at)?;
        Some((descriptor, self.bytes.get(e.key_at..e.value_at)?, self.bytes.get(e.value_at..e.end)?))
    }

    /// Element `index` of a leaf; `None` past the last one or when this is a branch.
    pub fn leaf(&self, index: usize) -> Option<LeafItem<'_>> {
        if self.header.kind != PageKind::Leaf {
            return None;
        }
        let (descriptor, key, value) = self.parts(index)?;
        Some(LeafItem { is_bucket: u32_at(descriptor, 0)? & BUCKET_FLAG != 0, key, value })
    }

    /// Element `index` of a branch; `None` past the last one or when this is a leaf.
    pub fn branch(&self, index: usize) -> Option<BranchItem<'_>> {
        if self.header.kind != PageKind::Branch {
            return None;
        }
        let (descriptor, key, _) = self.parts(index)?;
        Some(BranchItem { key, child: u64_at(descriptor, 8)? })
    }

    /// The elements of a leaf, in order; nothing for a branch.
    pub fn leaf_items(&self) -> impl Iterator<Item = LeafItem<'_>> {
        (0..self.count()).map_while(|i| self.leaf(i))
    }

    /// The elements of a branch, in order; nothing for a leaf.
    pub fn branch_items(&self) -> impl Iterator<Item = BranchItem<'_>> {
        (0..self.count()).map_while(|i| self.branch(i))
    }
}

/// Bytes that a page with these elements takes, header and descriptors included.
pub(super) fn encoded_len<'a>(items: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> usize {
    items.into_iter().fold(HEADER_LEN, |sum, (k, v)| sum + ELEMENT_LEN + k.len() + v.len())
}

/// Encodes a leaf, not padded. `overflow` and `id` are 0 for a page inside a bucket's value.
pub(super) fn encode_leaf(id: PageId, overflow: u32, items: &[LeafItem<'_>]) -> Vec<u8> {
    // The caller splits long before 65,535 elements.
    let mut out = header(id, PageKind::Leaf, items.len() as u16, overflow);
    let mut data_at = HEADER_LEN + items.len() * ELEMENT_LEN;
    for (index, item) in items.iter().enumerate() {
        out.extend(u32::from(item.is_bucket).to_le_bytes());
        out.extend(((data_at - HEADER_LEN - index * ELEMENT_LEN) as u32).to_le_bytes());
        out.extend((item.key.len() as u32).to_le_bytes());
        out.extend((item.value.len() as u32).to_le_bytes());
        data_at += item.key.len() + item.value.len();
    }
    for item in items {
        out.extend(item.key);
        out.extend(item.value);
    }
    out
}

/// Encodes a branch, not padded.
pub(super) fn encode_branch(id: PageId, overflow: u32, items: &[BranchItem<'_>]) -> Vec<u8> {
    let mut out = header(id, PageKind::Branch, items.len() as u16, overflow);
    let mut data_at = HEADER_LEN + items.len() * ELEMENT_LEN;
    for (index, item) in items.iter().enumerate() {
        out.extend(((data_at - HEADER_LEN - index * ELEMENT_LEN) as u32).to_le_bytes());
        out.extend((item.key.len() as u32).to_le_bytes());
        out.extend(item.child.to_le_bytes());
        data_at += item.key.len();
    }
    for item in items {
        out.extend(item.key);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_page_survives_the_round_trip_and_no_bit_of_it_may_change() {
        let meta =
            Meta { page_size: 4096, root: 7, sequence: 0, freelist: NO_FREELIST, high_water: 9, txid: u64::MAX - 1 };
        let page = meta.encode_page(1);
        assert_eq!(page.len(), 4096);
        let record = &page[HEADER_LEN..META_PAGE_LEN];
        assert_eq!(Meta::decode(record), Some(meta));
        for bit in 0..META_LEN * 8 {
            let mut bad = record.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Meta::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn elements_come_back_and_overlapping_ones_are_refused() {
        let items = [
            LeafItem { is_bucket: false, key: b"a", value: b"1" },
            LeafItem { is_bucket: true, key: b"b", value: b"" },
            LeafItem { is_bucket: false, key: b"", value: b"333" },
        ];
        let bytes = encode_leaf(5, 0, &items);
        let page = Page::parse(bytes.clone()).unwrap();
        assert_eq!(page.leaf_items().collect::<Vec<_>>(), items);
        assert!(page.branch(0).is_none() && page.leaf(3).is_none());

        let mut overlapping = bytes.clone();
        overlapping[HEADER_LEN + ELEMENT_LEN + 4] -= 1;
        assert!(Page::parse(overlapping).is_err());
        for cut in 0..bytes.len() {
            assert!(Page::parse(bytes[..cut].to_vec()).is_err(), "cut at {cut}");
        }
    }
}

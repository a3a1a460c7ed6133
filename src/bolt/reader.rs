//! Reads a bolt image through positioned reads: no mmap, so a damaged or shrinking file is an error and not a signal.
//!
//! Every walk marks the pages it passes, so each page is read at most once, cycles end, and work is bounded by the size
//! of the file. Memory is one page with its overflow per level of the tree.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Kind, Result, ResultExt};

pub use super::bucket::Bucket;
use super::damaged;
use super::page::{BranchItem, HEADER_LEN, LeafItem, META_PAGE_LEN, Meta, Page, PageHeader, PageId, PageKind};
pub use super::read_at::ReadAt;

/// Levels of a tree. bolt's branches have at least two children, so real trees stay below 20.
const MAX_DEPTH: usize = 64;
/// Bytes of one page with its overflow. etcd refuses requests of more than some MiB, so no page of it comes near.
pub(super) const MAX_RUN: u64 = 256 << 20;
/// Bytes that the list of buckets may take, inline buckets included.
const MAX_BUCKET_LIST: usize = 16 << 20;

/// The pages that a walk has passed.
pub struct Seen {
    bits: Vec<u64>,
    count: u64,
}

impl Seen {
    /// Marks `pages` pages from `id` on. `false` when one of them was marked before or lies outside of the image.
    pub(super) fn mark(&mut self, id: PageId, pages: u64) -> bool {
        for page in id..id.saturating_add(pages) {
            let bit = 1u64 << (page % 64);
            match usize::try_from(page / 64).ok().and_then(|i| self.bits.get_mut(i)) {
                Some(word) if *word & bit == 0 => *word |= bit,
                _ => return false,
            }
            self.count += 1;
        }
        true
    }

    /// Whether a page was passed.
    pub fn contains(&self, id: PageId) -> bool {
        let word = usize::try_from(id / 64).ok().and_then(|i| self.bits.get(i));
        word.is_some_and(|w| w & (1 << (id % 64)) != 0)
    }

    /// Number of pages passed.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// A branch that a walk is in the middle of.
struct Level {
    page: Page,
    next: usize,
}

/// An open bolt image.
pub struct Image<R> {
    source: R,
    name: String,
    meta: Meta,
    len: u64,
}

impl Image<File> {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// `Io` when it cannot be opened or read; `Verification` as [`Image::new`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).or_fail(Kind::Io, || format!("cannot open {}", path.display()))?;
        Image::new(file, &path.display().to_string())
    }
}

impl<R: ReadAt> Image<R> {
    /// Reads the meta records. `name` is the file's path, for messages.
    ///
    /// # Errors
    /// `Io` when reading fails; `Verification` when there is no valid meta record or the source is shorter than it says.
    pub fn new(source: R, name: &str) -> Result<Self> {
        let len = source.byte_len().or_fail(Kind::Io, || format!("cannot stat {name}"))?;
        let meta = find_meta(&source, name, len)?;
        let image = Image { source, name: name.to_owned(), meta, len };
        let needed = meta.high_water.checked_mul(u64::from(meta.page_size));
        if needed.is_none_or(|n| n > len) {
            return Err(image.bad(format!(
                "it is cut off: it has {len} bytes, its meta record speaks of {} pages of {} bytes",
                meta.high_water, meta.page_size
            )));
        }
        Ok(image)
    }

    /// The meta record that counts.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Bytes of the source, which may be more than the image takes.
    pub fn byte_len(&self) -> u64 {
        self.len
    }

    /// Bytes that the pages take: the length of the image in a snapshot.
    pub fn image_len(&self) -> u64 {
        // Cannot overflow: checked when the image was opened.
        self.meta.high_water.saturating_mul(u64::from(self.meta.page_size))
    }

    /// The path given at opening.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `what` is wrong with this image.
    pub fn bad(&self, what: impl std::fmt::Display) -> Error {
        damaged(format!("{} is damaged: {what}", self.name))
    }

    /// Names the image in a `Verification` error that does not name it yet.
    ///
    /// # Errors
    /// The one given.
    pub fn in_image<T>(&self, found: Result<T>) -> Result<T> {
        found.map_err(|e| if e.kind() == Kind::Verification { self.bad(e.one_line()) } else { e })
    }

    /// A set of passed pages, with the two meta pages in it.
    pub fn seen(&self) -> Seen {
        // One bit per page of a file that exists: 32 KiB per GiB.
        let words = usize::try_from(self.meta.high_water / 64 + 1).unwrap_or(0);
        let mut seen = Seen { bits: vec![0; words], count: 0 };
        seen.mark(0, 2);
        seen
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.source
            .read_exact_at(buf, offset)
            .or_fail(Kind::Io, || format!("cannot read {} bytes at {offset} of {}", buf.len(), self.name))
    }

    /// Reads the page `id` with its overflow, of whatever kind; the header was checked.
    pub(super) fn read_raw(&self, id: PageId) -> Result<(PageHeader, Vec<u8>)> {
        let size = u64::from(self.meta.page_size);
        if id < 2 || id >= self.meta.high_water {
            return Err(self.bad(format!("page {id} is referred to, but pages are 2 to {}", self.meta.high_water)));
        }
        let mut bytes = vec![0; self.meta.page_size as usize];
        self.read(&mut bytes, id * size)?;
        let header = PageHeader::decode(&bytes).ok_or_else(|| self.bad(format!("page {id} has no valid header")))?;
        if header.id != id {
            return Err(self.bad(format!("page {id} says that it is page {}", header.id)));
        }
        let pages = u64::from(header.overflow) + 1;
        if pages > self.meta.high_water - id || pages * size > MAX_RUN {
            return Err(self.bad(format!("page {id} claims to go on over {} more pages", header.overflow)));
        }
        if pages > 1 {
            let first = bytes.len();
            bytes.resize(usize::try_from(pages * size).unwrap_or(first), 0);
            if let Some(rest) = bytes.get_mut(first..) {
                self.read(rest, (id + 1) * size)?;
            }
        }
        Ok((header, bytes))
    }

    fn page(&self, id: PageId) -> Result<Page> {
        let (_, bytes) = self.read_raw(id)?;
        self.in_image(Page::parse(bytes))
    }

    /// Reads a page on behalf of a walk, which may pass it only once.
    fn unseen_page(&self, id: PageId, seen: &mut Seen) -> Result<Page> {
        let (header, bytes) = self.read_raw(id)?;
        if !seen.mark(id, u64::from(header.overflow) + 1) {
            return Err(self.bad(format!("page {id} is reached twice")));
        }
        self.in_image(Page::parse(bytes))
    }

    /// Calls `visit` for each element of a bucket, in key order, and checks that order on the way: keys ascend, and lie
    /// at or above the lower bound that their branch gives. Buckets inside are handed over, not entered.
    ///
    /// # Errors
    /// `Verification` for damage, `Io` for failed reads, and whatever `visit` returns.
    pub fn walk(
        &self,
        bucket: &Bucket,
        seen: &mut Seen,
        visit: &mut dyn FnMut(LeafItem<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut order = Order::default();
        if let Some(page) = bucket.inline_page() {
            return self.walk_leaf(&self.in_image(page)?, &mut order, visit);
        }
        let root = bucket.root().unwrap_or_default();
        let mut path: Vec<Level> = Vec::new();
        let mut at = root;
        loop {
            let page = self.unseen_page(at, seen)?;
            if page.count() == 0 && (page.kind() == PageKind::Branch || at != root) {
                return Err(self.bad(format!("page {at} is empty")));
            }
            match page.kind() {
                PageKind::Branch if path.len() < MAX_DEPTH => path.push(Level { page, next: 0 }),
                PageKind::Branch => return Err(self.bad(format!("page {at} lies too deep"))),
                _ => self.walk_leaf(&page, &mut order, visit)?,
            }
            at = loop {
                let Some(level) = path.last_mut() else { return Ok(()) };
                if let Some(BranchItem { key, child }) = level.page.branch(level.next) {
                    level.next += 1;
                    if !order.lower_bound(key) {
                        return Err(self.bad(format!("the keys of the branch above page {child} are out of order")));
                    }
                    break child;
                }
                path.pop();
            };
        }
    }

    fn walk_leaf(
        &self,
        page: &Page,
        order: &mut Order,
        visit: &mut dyn FnMut(LeafItem<'_>) -> Result<()>,
    ) -> Result<()> {
        for item in page.leaf_items() {
            if !order.key(item.key) {
                return Err(self.bad(format!("key {} is out of order", item.key.escape_ascii())));
            }
            visit(item)?;
        }
        Ok(())
    }

    /// The buckets at the top, in the order of their names.
    ///
    /// # Errors
    /// As [`Image::walk`]; also when something at the top is no bucket.
    pub fn buckets(&self, seen: &mut Seen) -> Result<Vec<(Vec<u8>, Bucket)>> {
        let mut out = Vec::new();
        let mut bytes = 0usize;
        self.walk(&Bucket::tree(self.meta.root), seen, &mut |item| {
            bytes = bytes.saturating_add(item.key.len() + item.value.len() + 64);
            if !item.is_bucket || bytes > MAX_BUCKET_LIST {
                return Err(self.bad("its list of buckets holds something else, or is too long"));
            }
            out.push((item.key.to_vec(), self.in_image(Bucket::decode(item.value))?));
            Ok(())
        })?;
        Ok(out)
    }

    /// The pages from the root of a bucket down along its right edge; the last one is a leaf.
    ///
    /// # Errors
    /// `Verification` for damage, `Io` for failed reads.
    pub fn right_edge(&self, bucket: &Bucket) -> Result<Vec<Page>> {
        if let Some(page) = bucket.inline_page() {
            return Ok(vec![self.in_image(page)?]);
        }
        let mut at = bucket.root().unwrap_or_default();
        let mut path = Vec::new();
        while path.len() < MAX_DEPTH {
            let page = self.page(at)?;
            let below = page.count().checked_sub(1).and_then(|last| page.branch(last)).map(|b| b.child);
            let ends = page.kind() == PageKind::Leaf;
            path.push(page);
            match below {
                _ if ends => return Ok(path),
                Some(child) => at = child,
                None => return Err(self.bad(format!("branch page {at} is empty"))),
            }
        }
        Err(self.bad("the right edge of a bucket lies too deep"))
    }

    /// The last key of a bucket; `None` when it is empty. Reads one page per level.
    ///
    /// # Errors
    /// As [`Image::right_edge`]; also when the last leaf of a tree is empty.
    pub fn last_key(&self, bucket: &Bucket) -> Result<Option<Vec<u8>>> {
        let path = self.right_edge(bucket)?;
        let last = path.last().and_then(|p| p.leaf(p.count().checked_sub(1)?)).map(|i| i.key.to_vec());
        if last.is_none() && path.len() > 1 {
            return Err(self.bad("the last leaf of a bucket is empty"));
        }
        Ok(last)
    }
}

/// Keys as a walk meets them.
#[derive(Default)]
struct Order {
    last: Option<Vec<u8>>,
    floor: Vec<u8>,
}

impl Order {
    fn key(&mut self, key: &[u8]) -> bool {
        let fits = key >= self.floor.as_slice() && self.last.as_ref().is_none_or(|last| key > last.as_slice());
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        fits
    }

    fn lower_bound(&mut self, key: &[u8]) -> bool {
        let fits = key >= self.floor.as_slice() && self.last.as_ref().is_none_or(|last| key > last.as_slice());
        self.floor.clear();
        self.floor.extend_from_slice(key);
        fits
    }
}

/// Finds the meta record that counts. The page size is in the record itself: when the first one is bad, the second is
/// looked for at each possible page size, as bolt does.
fn find_meta(source: &impl ReadAt, name: &str, len: u64) -> Result<Meta> {
    let record = |page_at: u64| -> Result<Option<Meta>> {
        if page_at + META_PAGE_LEN as u64 > len {
            return Ok(None);
        }
        let mut page = [0u8; META_PAGE_LEN];
        source
            .read_exact_at(&mut page, page_at)
            .or_fail(Kind::Io, || format!("cannot read {META_PAGE_LEN} bytes at {page_at} of {name}"))?;
        Ok(page.get(HEADER_LEN..).and_then(Meta::decode))
    };
    let first = record(0)?;
    let mut second = None;
    match first {
        Some(meta) => second = record(u64::from(meta.page_size))?.filter(|m| m.page_size == meta.page_size),
        None => {
            for size in (10..=16).map(|shift| 1u64 << shift) {
                second = record(size)?.filter(|m| u64::from(m.page_size) == size);
                if second.is_some() {
                    break;
                }
            }
        }
    }
    Meta::newest(first, second)
        .ok_or_else(|| damaged(format!("{name} is no bolt file: neither of its two meta records is valid")))
}

//! Changes a bolt file by appending: no page that is in use is touched, so the old state stays readable until the meta
//! records are replaced.
//!
//! Small buckets are written anew; a big one can only grow at its right edge. Pages that fall out of use need no
//! bookkeeping: the new meta record says that there is no list of free pages, and bolt finds them by itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Error, Kind, Result, ResultExt};

use super::page::{
    BUCKET_LEN, BranchItem, ELEMENT_LEN, HEADER_LEN, LeafItem, Meta, NO_FREELIST, PageId, encode_branch, encode_leaf,
    encoded_len,
};
use super::reader::{Bucket, Image, MAX_RUN};

/// Keys and values of a bucket.
pub type Items = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is to become of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Replace(Items),
    Append(Items),
    Remove,
}

/// A set of changes, applied together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    changes: BTreeMap<Vec<u8>, Change>,
}

impl Edit {
    /// Makes `items` the whole content of the bucket, which is created when it is missing.
    pub fn replace(&mut self, bucket: &[u8], items: Items) {
        self.changes.insert(bucket.to_vec(), Change::Replace(items));
    }

    /// Adds `items` behind the last key of the bucket, which is created when it is missing.
    pub fn append(&mut self, bucket: &[u8], items: Items) {
        self.changes.insert(bucket.to_vec(), Change::Append(items));
    }

    /// Removes the bucket if it is there.
    pub fn remove(&mut self, bucket: &[u8]) {
        self.changes.insert(bucket.to_vec(), Change::Remove);
    }
}

/// Writes an image without any bucket into a new, empty file. Not fsynced: the caller does that.
///
/// # Errors
/// `Io`.
pub fn create(file: &File, path: &Path, page_size: u32) -> Result<()> {
    let mut meta = Meta { page_size, root: 2, sequence: 0, freelist: NO_FREELIST, high_water: 3, txid: 1 };
    let mut bytes = Vec::new();
    for id in [0, 1] {
        // As bolt does: page 0 carries transaction 0, page 1 transaction 1.
        meta.txid = id;
        bytes.extend(meta.encode_page(id));
    }
    bytes.extend(encode_leaf(2, 0, &[]));
    bytes.resize(3 * page_size as usize, 0);
    file.write_all_at(&bytes, 0).or_fail(Kind::Io, || format!("cannot write {}", path.display()))
}

/// Applies `edit` to the image in `file` (open for reading and writing; `path` is for messages). Not fsynced: the caller does that before
/// anything relies on the file, and throws it away if it does not come to that.
///
/// After success both meta records show the new state, so that nothing falls back to the old.
///
/// # Errors
/// `Io`; `Verification` when the image is damaged; `Internal` when appended keys do not lie behind the last one.
pub fn apply(file: &File, path: &Path, edit: &Edit) -> Result<()> {
    let image = Image::new(file, &path.display().to_string())?;
    let old = *image.meta();
    let mut writer = Writer { file, path, page_size: old.page_size as usize, next: old.high_water };

    let mut root_items = BTreeMap::new();
    let mut seen = image.seen();
    image.walk(&Bucket::tree(old.root), &mut seen, &mut |item| {
        if !item.is_bucket {
            return Err(image.bad("there is a key outside of any bucket"));
        }
        root_items.insert(item.key.to_vec(), item.value.to_vec());
        Ok(())
    })?;
    for (name, change) in &edit.changes {
        let present = root_items.get(name).map(|v| Bucket::decode(v)).transpose()?;
        let value = match change {
            Change::Remove => {
                root_items.remove(name);
                continue;
            }
            Change::Replace(items) => writer.bucket(present.map_or(0, |b| b.sequence), items)?,
            Change::Append(items) => match present {
                None => writer.bucket(0, items)?,
                Some(bucket) => writer.append(&image, &bucket, items)?,
            },
        };
        root_items.insert(name.clone(), value);
    }
    let items = root_items.iter().map(|(k, v)| LeafItem { is_bucket: true, key: k, value: v });
    let leaves = writer.leaves(items.collect())?;
    let root = writer.tree(leaves)?;

    let txid = old.txid.checked_add(1).ok_or_else(|| image.bad("its transaction id is exhausted"))?;
    let meta = Meta { root, freelist: NO_FREELIST, high_water: writer.next, txid, ..old };
    writer.write_at(&meta.encode_page(txid % 2), txid % 2)?;
    let other = Meta { txid: old.txid, ..meta };
    writer.write_at(&other.encode_page(old.txid % 2), old.txid % 2)
}

/// A page that was written, as its parent refers to it.
struct Child {
    first_key: Vec<u8>,
    page: PageId,
}

struct Writer<'a> {
    file: &'a File,
    path: &'a Path,
    page_size: usize,
    next: PageId,
}

impl Writer<'_> {
    fn write_at(&self, bytes: &[u8], page: PageId) -> Result<()> {
        let at = page.checked_mul(self.page_size as u64);
        let written = match at {
            Some(at) => self.file.write_all_at(bytes, at),
            None => Err(std::io::ErrorKind::FileTooLarge.into()),
        };
        written.or_fail(Kind::Io, || format!("cannot write {}", self.path.display()))
    }

    /// Puts an encoded page of `len` bytes at the end of the image. `encode` is given its number and overflow.
    fn push(&mut self, len: usize, encode: impl FnOnce(PageId, u32) -> Vec<u8>) -> Result<PageId> {
        if len as u64 > MAX_RUN {
            return Err(Error::new(
                Kind::Internal,
                format!("a page of {len} bytes was to be written to {}", self.path.display()),
            ));
        }
        let pages = len.div_ceil(self.page_size);
        let id = self.next;
        let mut bytes = encode(id, (pages as u32).saturating_sub(1));
        bytes.resize(pages * self.page_size, 0);
        self.write_at(&bytes, id)?;
        self.next += pages as u64;
        Ok(id)
    }

    /// Writes items into as many leaves as they need; one empty leaf for no items.
    fn leaves(&mut self, items: Vec<LeafItem<'_>>) -> Result<Vec<Child>> {
        let sizes = items.iter().map(|i| ELEMENT_LEN + i.key.len() + i.value.len());
        let mut out = Vec::new();
        let mut rest = items.as_slice();
        for count in runs(sizes, self.page_size) {
            let (now, later) = rest.split_at(count.min(rest.len()));
            rest = later;
            let len = encoded_len(now.iter().map(|i| (i.key, i.value)));
            let page = self.push(len, |id, overflow| encode_leaf(id, overflow, now))?;
            out.push(Child { first_key: now.first().map(|i| i.key.to_vec()).unwrap_or_default(), page });
        }
        Ok(out)
    }

    fn branches(&mut self, children: &[Child]) -> Result<Vec<Child>> {
        let sizes = children.iter().map(|c| ELEMENT_LEN + c.first_key.len());
        let mut out = Vec::new();
        let mut rest = children;
        for count in runs(sizes, self.page_size) {
            let (now, later) = rest.split_at(count.min(rest.len()));
            rest = later;
            let items: Vec<_> = now.iter().map(|c| BranchItem { key: &c.first_key, child: c.page }).collect();
            let len = encoded_len(items.iter().map(|i| (i.key, &[][..])));
            let page = self.push(len, |id, overflow| encode_branch(id, overflow, &items))?;
            out.push(Child { first_key: items.first().map(|i| i.key.to_vec()).unwrap_or_default(), page });
        }
        Ok(out)
    }

    /// Puts branches on top until one page is left.
    fn tree(&mut self, mut level: Vec<Child>) -> Result<PageId> {
        loop {
            match level.as_slice() {
                [one] => return Ok(one.page),
                many => level = self.branches(many)?,
            }
        }
    }

    /// Writes a bucket and returns the value of its element: inline under bolt's own rule, else a tree.
    fn bucket(&mut self, sequence: u64, items: &Items) -> Result<Vec<u8>> {
        let leaf_items: Vec<_> = items.iter().map(|(k, v)| LeafItem { is_bucket: false, key: k, value: v }).collect();
        if encoded_len(leaf_items.iter().map(|i| (i.key, i.value))) <= self.page_size / 4 {
            let mut value = bucket_header(0, sequence);
            value.extend(encode_leaf(0, 0, &leaf_items));
            return Ok(value);
        }
        let leaves = self.leaves(leaf_items)?;
        Ok(bucket_header(self.tree(leaves)?, sequence))
    }

    /// Adds items behind the last one of a bucket: the pages on its right edge are written anew, nothing else.
    fn append(&mut self, image: &Image<&File>, bucket: &Bucket, items: &Items) -> Result<Vec<u8>> {
        let behind = match (image.last_key(bucket)?, items.keys().next()) {
            (Some(last), Some(first)) => *first > last,
            _ => true,
        };
        if !behind {
            return Err(Error::new(
                Kind::Internal,
                format!("keys to be added to {} do not lie behind its last one", self.path.display()),
            ));
        }
        let mut edge = image.right_edge(bucket)?;
        let leaf = edge.pop();
        let old: Vec<LeafItem<'_>> = leaf.iter().flat_map(|p| p.leaf_items()).collect();
        if old.iter().any(|i| i.is_bucket) {
            return Err(image.bad("there is a bucket inside a bucket"));
        }
        if bucket.root().is_none() {
            let mut all: Items = old.iter().map(|i| (i.key.to_vec(), i.value.to_vec())).collect();
            all.extend(items.clone());
            return self.bucket(bucket.sequence, &all);
        }
        let new = items.iter().map(|(k, v)| LeafItem { is_bucket: false, key: k, value: v });
        let mut level = self.leaves(old.into_iter().chain(new).collect())?;
        while let Some(branch) = edge.pop() {
            let kept = branch.count().saturating_sub(1);
            let mut children: Vec<Child> =
                branch.branch_items().take(kept).map(|b| Child { first_key: b.key.to_vec(), page: b.child }).collect();
            children.append(&mut level);
            level = self.branches(&children)?;
        }
        Ok(bucket_header(self.tree(level)?, bucket.sequence))
    }
}

fn bucket_header(root: PageId, sequence: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(BUCKET_LEN);
    out.extend(root.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out
}

/// How many items go into each page, one after the other. At least two go into each but the last where there are two:
/// bolt's branches must have two children or more for the tree to end.
fn runs(sizes: impl Iterator<Item = usize>, page_size: usize) -> Vec<usize> {
    let mut out = Vec::new();
    let (mut count, mut bytes) = (0usize, HEADER_LEN);
    for size in sizes {
        if count >= 2 && bytes + size > page_size {
            out.push(count);
            (count, bytes) = (0, HEADER_LEN);
        }
        count += 1;
        bytes = bytes.saturating_add(size);
    }
    out.push(count);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bolt::check::{Visitor, check};
    use proptest::prelude::*;

    type Content = BTreeMap<Vec<u8>, Items>;

    #[derive(Default)]
    struct Collect(Content, Vec<u8>);

    impl Visitor for Collect {
        fn bucket(&mut self, name: &[u8], _: usize) -> Result<()> {
            self.1 = name.to_vec();
            self.0.insert(name.to_vec(), Items::new());
            Ok(())
        }

        fn item(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
            self.0.get_mut(&self.1).unwrap().insert(key.to_vec(), value.to_vec());
            Ok(())
        }
    }

    fn content(path: &Path) -> Content {
        let mut all = Collect::default();
        check(&Image::open(path).unwrap(), &mut all).unwrap();
        all.0
    }

    #[derive(Debug, Clone)]
    enum Op {
        Replace(u8, Items),
        Append(u8, Vec<Vec<u8>>),
        Remove(u8),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let value = || {
            prop_oneof![
                8 => prop::collection::vec(any::<u8>(), 0..40),
                1 => prop::collection::vec(any::<u8>(), 900..5000),
            ]
        };
        let items = prop::collection::btree_map(prop::collection::vec(any::<u8>(), 1..20), value(), 0..60);
        let op = prop_oneof![
            (0u8..4, items).prop_map(|(b, i)| Op::Replace(b, i)),
            (0u8..4, prop::collection::vec(value(), 0..120)).prop_map(|(b, v)| Op::Append(b, v)),
            (0u8..4).prop_map(Op::Remove),
        ];
        prop::collection::vec(op, 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is done, the file holds what a map would hold, and its structure is sound.
        #[test]
        fn edits_do_what_the_same_edits_do_to_a_map(ops in ops(), page_size in prop_oneof![Just(1024u32), Just(4096)]) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("db");
            let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
            create(&file, &path, page_size).unwrap();
            let mut model = Content::new();
            for op in ops {
                let mut edit = Edit::default();
                match op {
                    Op::Replace(b, items) => {
                        edit.replace(&[b], items.clone());
                        model.insert(vec![b], items);
                    }
                    Op::Append(b, values) => {
                        let bucket = model.entry(vec![b]).or_default();
                        let mut key = bucket.keys().next_back().cloned().unwrap_or_default();
                        let mut items = Items::new();
                        for value in values {
                            key.truncate(1);
                            key.resize(1, 0);
                            key.splice(0..0, [0xff; 20]);
                            key.extend((items.len() as u32 + bucket.len() as u32).to_be_bytes());
                            items.insert(key.clone(), value);
                        }
                        let fits = bucket.keys().next_back().zip(items.keys().next()).is_none_or(|(a, b)| b > a);
                        if !fits {
                            edit.append(&[b], items);
                            prop_assert!(apply(&file, &path, &edit).is_err());
                            continue;
                        }
                        edit.append(&[b], items.clone());
                        bucket.extend(items);
                    }
                    Op::Remove(b) => {
                        edit.remove(&[b]);
                        model.remove(&vec![b]);
                    }
                }
                apply(&file, &path, &edit).unwrap();
                prop_assert_eq!(&content(&path), &model);
            }
        }
    }

    #[test]
    fn a_bucket_grows_over_several_levels_and_both_meta_records_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        create(&file, &path, 1024).unwrap();
        let mut model = Items::new();
        for round in 0u32..40 {
            let new: Items = (0..100u32).map(|n| ((round * 1000 + n).to_be_bytes().to_vec(), vec![7; 50])).collect();
            model.extend(new.clone());
            let mut edit = Edit::default();
            edit.append(b"key", new);
            apply(&file, &path, &edit).unwrap();
        }
        assert_eq!(content(&path).get(&b"key"[..]), Some(&model));
        let image = Image::open(&path).unwrap();
        let (_, bucket) = image.buckets(&mut image.seen()).unwrap().remove(0);
        assert!(image.right_edge(&bucket).unwrap().len() >= 3, "the test needs a deep tree");
        assert_eq!(image.last_key(&bucket).unwrap(), model.keys().next_back().cloned());

        let newest = *image.meta();
        for page in [0u64, 1] {
            let mut damaged = std::fs::read(&path).unwrap();
            damaged[page as usize * 1024 + 20] ^= 1;
            let left = Image::new(damaged.as_slice(), "x").unwrap();
            assert_eq!(left.meta().root, newest.root, "page {page} was the only one with the new state");
        }
    }
}

//! The structural check: what bolt's own `Tx.Check` finds, and the order of keys, in one pass over everything reachable.
//!
//! bolt has no checksums on pages, so a sound structure does not prove sound values; digests and HashKV do that.

use crate::error::Result;

use super::page::{HEADER_LEN, NO_FREELIST, PageKind, u64_at};
use super::reader::{Bucket, Image, ReadAt, Seen};

/// Buckets inside buckets; etcd has none.
const MAX_NESTING: usize = 16;

/// Is told what the check passes, in key order.
pub trait Visitor {
    /// A bucket begins. `nesting` is 0 at the top.
    ///
    /// # Errors
    /// Ends the check.
    fn bucket(&mut self, name: &[u8], nesting: usize) -> Result<()>;

    /// A key of the bucket that began last.
    ///
    /// # Errors
    /// Ends the check.
    fn item(&mut self, key: &[u8], value: &[u8]) -> Result<()>;
}

/// What a sound image consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure {
    /// Pages in use, the meta pages included.
    pub reachable_pages: u64,
    /// Pages below the high-water mark.
    pub pages: u64,
}

/// Walks the whole image: no page is reached twice, none lies past the high-water mark, kinds, sizes and the order of
/// keys are right, and no page of a list of free pages is in use.
///
/// # Errors
/// `Verification` that names the first damage; `Io`; whatever the visitor returns.
pub fn check<R: ReadAt>(image: &Image<R>, visitor: &mut dyn Visitor) -> Result<Structure> {
    let mut seen = image.seen();
    for (name, bucket) in image.buckets(&mut seen)? {
        check_bucket(image, &name, &bucket, 0, &mut seen, visitor)?;
    }
    check_freelist(image, &mut seen)?;
    Ok(Structure { reachable_pages: seen.count(), pages: image.meta().high_water })
}

fn check_bucket<R: ReadAt>(
    image: &Image<R>,
    name: &[u8],
    bucket: &Bucket,
    nesting: usize,
    seen: &mut Seen,
    visitor: &mut dyn Visitor,
) -> Result<()> {
    if nesting >= MAX_NESTING {
        return Err(image.bad(format!("bucket {} lies too deep", name.escape_ascii())));
    }
    image.in_image(visitor.bucket(name, nesting))?;
    let mut inner = Vec::new();
    image.walk(bucket, seen, &mut |item| {
        if item.is_bucket {
            inner.push((item.key.to_vec(), image.in_image(Bucket::decode(item.value))?));
            return Ok(());
        }
        image.in_image(visitor.item(item.key, item.value))
    })?;
    for (name, bucket) in inner {
        check_bucket(image, &name, &bucket, nesting + 1, seen, visitor)?;
    }
    Ok(())
}

fn check_freelist<R: ReadAt>(image: &Image<R>, seen: &mut Seen) -> Result<()> {
    let at = image.meta().freelist;
    if at == NO_FREELIST {
        return Ok(());
    }
    let (header, bytes) = image.read_raw(at)?;
    if header.kind != PageKind::Freelist || !seen.mark(at, u64::from(header.overflow) + 1) {
        return Err(image.bad(format!("page {at} should be the list of free pages, and is not or is in use")));
    }
    // 0xffff means that the real number comes first.
    let (count, first) = match header.count {
        0xffff => (u64_at(&bytes, HEADER_LEN).unwrap_or(u64::MAX), HEADER_LEN + 8),
        count => (count as u64, HEADER_LEN),
    };
    let listed = bytes.get(first..).unwrap_or_default();
    if count > (listed.len() / 8) as u64 {
        return Err(image.bad(format!("the list of free pages on page {at} is longer than its page")));
    }
    for index in 0..count as usize {
        let id = u64_at(listed, index * 8).unwrap_or_default();
        if !(2..image.meta().high_water).contains(&id) || seen.contains(id) {
            return Err(image.bad(format!("page {id} is in the list of free pages and in use, or does not exist")));
        }
    }
    Ok(())
}

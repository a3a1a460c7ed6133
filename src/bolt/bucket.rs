//! What the value of an element says that is a bucket.

use super::damaged;
use super::page::{BUCKET_LEN, Page, PageId, PageKind, u64_at};
use crate::error::Result;

/// A bucket: a tree of pages, or one leaf inside the value of its element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// bolt's sequence; etcd leaves it at 0.
    pub sequence: u64,
    body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Body {
    Tree(PageId),
    Inline(Vec<u8>),
}

impl Bucket {
    /// The bucket whose tree starts at page `root`.
    pub fn tree(root: PageId) -> Self {
        Bucket { sequence: 0, body: Body::Tree(root) }
    }

    /// Decodes the value of an element that is a bucket.
    ///
    /// # Errors
    /// `Verification` when it is too short.
    pub fn decode(value: &[u8]) -> Result<Self> {
        match (u64_at(value, 0), u64_at(value, 8)) {
            (Some(0), Some(sequence)) => {
                Ok(Bucket { sequence, body: Body::Inline(value.get(BUCKET_LEN..).unwrap_or_default().to_vec()) })
            }
            (Some(root), Some(sequence)) => Ok(Bucket { sequence, body: Body::Tree(root) }),
            _ => Err(damaged("the header of a bucket is too short")),
        }
    }

    /// The root page; `None` when the bucket is inline.
    pub fn root(&self) -> Option<PageId> {
        match self.body {
            Body::Tree(root) => Some(root),
            Body::Inline(_) => None,
        }
    }

    /// The page of an inline bucket; `None` when the bucket is a tree.
    ///
    /// # Errors
    /// (inside) `Verification` when it is malformed.
    pub fn inline_page(&self) -> Option<Result<Page>> {
        match &self.body {
            Body::Tree(_) => None,
            Body::Inline(bytes) => Some(Page::parse(bytes.clone()).and_then(|p| match p.kind() {
                PageKind::Leaf => Ok(p),
                _ => Err(damaged("an inline bucket is no leaf")),
            })),
        }
    }
}

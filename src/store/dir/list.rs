//! Listing a store directory in the order of whole keys, page by page.
//!
//! It exists because a walk by directory gives another order than S3 does (`a.b` sorts before `a/b`); a token is the last
//! key of the page before. Anything that is no object of ours is skipped; a directory that cannot be read fails the whole.

use std::fs;
use std::io::ErrorKind;

use crate::ports::{ObjectMeta, StoreError, StoreErrorKind, StoreResult};
use crate::store::key;

use super::error::from_io;
use super::files::{Files, describe};
use super::temporary::FOLDER;

/// What is still to be looked at; the last one comes next in key order.
enum Entry {
    /// A file, by key.
    File(String),
    /// A directory, by key with a slash behind it.
    Folder(String),
}

impl Entry {
    fn sort_key(&self) -> &str {
        match self {
            Entry::File(key) | Entry::Folder(key) => key,
        }
    }
}

/// Up to `size` objects behind `token`, and the token of the next page.
pub(super) fn page(
    files: &Files,
    prefix: &str,
    token: Option<&str>,
    size: usize,
) -> StoreResult<(Vec<ObjectMeta>, Option<String>)> {
    key::check_prefix(prefix)
        .map_err(|why| StoreError::new(StoreErrorKind::Rejected, format!("the prefix {prefix:?} is refused: {why}")))?;
    let mut found: Vec<ObjectMeta> = Vec::new();
    let mut stack = children(files, "", prefix, token)?;
    while let Some(entry) = stack.pop() {
        match entry {
            Entry::Folder(folder) => stack.extend(children(files, &folder, prefix, token)?),
            Entry::File(key) => {
                let Some(meta) = stat(files, &key)? else { continue };
                if found.len() == size {
                    let next = found.last().map(|m| m.key.clone());
                    return Ok((found, next));
                }
                found.push(meta);
            }
        }
    }
    Ok((found, None))
}

/// What lies in `folder` and can still matter, last in key order first.
fn children(files: &Files, folder: &str, prefix: &str, token: Option<&str>) -> StoreResult<Vec<Entry>> {
    let what = || format!("cannot list {}", files.show(folder));
    let entries = match fs::read_dir(files.root().join(folder)) {
        Ok(entries) => entries,
        // Removed since its parent was read; the root itself must be there.
        Err(e) if !folder.is_empty() && e.kind() == ErrorKind::NotFound && files.root().is_dir() => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(from_io(files.root(), what(), e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| from_io(files.root(), what(), e))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name == FOLDER {
            continue;
        }
        let key = format!("{folder}{name}");
        if key::check(&key).is_err() {
            continue;
        }
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(from_io(files.root(), what(), e)),
        };
        if kind.is_dir() {
            let key = format!("{key}/");
            let wanted = key.starts_with(prefix) || prefix.starts_with(&key);
            let behind = token.is_none_or(|t| key.as_str() > t || t.starts_with(&key));
            if wanted && behind {
                out.push(Entry::Folder(key));
            }
        } else if kind.is_file() && key.starts_with(prefix) && token.is_none_or(|t| key.as_str() > t) {
            out.push(Entry::File(key));
        }
    }
    out.sort_by(|a, b| b.sort_key().cmp(a.sort_key()));
    Ok(out)
}

fn stat(files: &Files, key: &str) -> StoreResult<Option<ObjectMeta>> {
    match fs::symlink_metadata(files.root().join(key)) {
        Ok(meta) if meta.is_file() => Ok(Some(describe(key, &meta))),
        Ok(_) => Ok(None),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(from_io(files.root(), format!("cannot list {}", files.show(key)), e)),
    }
}

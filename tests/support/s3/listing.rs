//! Listings of objects and of uploads, in pages.

use std::collections::BTreeSet;
use std::ops::Bound;

use s3s::dto::*;
use s3s::{S3Result, s3_error};

use super::state::{Backend, etag, timestamp};

/// One page of ListObjectsV2. The token is the last key of the page before, in hex, so that nobody reads it as a key.
pub(super) fn objects(backend: &Backend, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
    backend.check_bucket(&input.bucket)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = match &input.continuation_token {
        None => input.start_after.clone(),
        Some(token) => Some(
            hex::decode(token)
                .ok()
                .and_then(|b| String::from_utf8(b).ok())
                .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))?,
        ),
    };
    let wanted = input.max_keys.and_then(|n| usize::try_from(n).ok()).unwrap_or(1000);
    let most = wanted.min(backend.page_size);
    let url = input.encoding_type.as_ref().is_some_and(|e| e.as_str() == EncodingType::URL);
    let shown = |key: &str| if url { url_encoded(key) } else { key.to_owned() };

    let state = backend.lock();
    let from = match &after {
        Some(after) if *after >= prefix => Bound::Excluded(after.clone()),
        _ => Bound::Included(prefix.clone()),
    };
    let (mut contents, mut groups, mut last, mut truncated) = (Vec::new(), BTreeSet::new(), None, false);
    for (key, object) in state.objects.range((from, Bound::Unbounded)).take_while(|(k, _)| k.starts_with(&prefix)) {
        let group = input.delimiter.as_deref().filter(|d| !d.is_empty()).and_then(|d| {
            let rest = key.get(prefix.len()..)?;
            rest.find(d).and_then(|at| key.get(..prefix.len() + at + d.len()))
        });
        if let Some(group) = group {
            // A page may end inside a group: it was shown already, and its keys are skipped.
            if groups.contains(group) || after.as_deref().is_some_and(|a| a.starts_with(group)) {
                last = Some(key.clone());
                continue;
            }
        }
        if contents.len() + groups.len() == most {
            truncated = true;
            break;
        }
        last = Some(key.clone());
        match group {
            Some(group) => drop(groups.insert(group.to_owned())),
            None => contents.push(Object {
                key: Some(shown(key)),
                e_tag: etag(&object.etag),
                last_modified: timestamp(object.modified),
                size: i64::try_from(object.size).ok(),
                storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                ..Default::default()
            }),
        }
    }
    drop(state);
    let count = contents.len() + groups.len();
    let common = groups.iter().map(|g| CommonPrefix { prefix: Some(shown(g)) }).collect();
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(shown(&prefix)),
        max_keys: i32::try_from(most).ok(),
        key_count: i32::try_from(count).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(truncated),
        next_continuation_token: last.filter(|_| truncated).map(hex::encode),
        contents: Some(contents),
        common_prefixes: Some(common),
        delimiter: input.delimiter,
        encoding_type: input.encoding_type,
        start_after: input.start_after,
        ..Default::default()
    })
}

/// One page of ListMultipartUploads, in the order of key and upload id.
pub(super) fn uploads(backend: &Backend, input: ListMultipartUploadsInput) -> S3Result<ListMultipartUploadsOutput> {
    backend.check_bucket(&input.bucket)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let wanted = input.max_uploads.and_then(|n| usize::try_from(n).ok()).unwrap_or(1000);
    let most = wanted.min(backend.page_size);
    let state = backend.lock();
    let mut all: Vec<_> = state.uploads.iter().map(|(id, u)| (u.key.clone(), id.clone(), u.initiated)).collect();
    drop(state);
    all.sort();
    all.retain(|(key, id, _)| {
        key.starts_with(&prefix)
            && match (&input.key_marker, &input.upload_id_marker) {
                (None, _) => true,
                (Some(k), None) => key > k,
                (Some(k), Some(i)) => (key, id) > (k, i),
            }
    });
    let truncated = all.len() > most;
    all.truncate(most);
    let next = all.last().filter(|_| truncated).cloned();
    let upload = |(key, id, initiated)| MultipartUpload {
        key: Some(key),
        upload_id: Some(id),
        initiated: timestamp(initiated),
        // No storage class: stores exist that leave it out, and clients that fail on that.
        ..Default::default()
    };
    Ok(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: input.prefix,
        key_marker: input.key_marker,
        upload_id_marker: input.upload_id_marker,
        max_uploads: i32::try_from(most).ok(),
        is_truncated: Some(truncated),
        next_key_marker: next.as_ref().map(|(key, _, _)| key.clone()),
        next_upload_id_marker: next.map(|(_, id, _)| id),
        uploads: Some(all.into_iter().map(upload).collect()),
        ..Default::default()
    })
}

fn url_encoded(key: &str) -> String {
    let mut out = String::new();
    for b in key.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

//! Multipart uploads: parts are files; completing one is a change of records under the lock, nothing is copied.

use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3Result, s3_error};

use super::backend::{Announced, receive};
use super::state::{Backend, Object, State, Upload, etag, timestamp};

fn no_such_upload() -> s3s::S3Error {
    s3_error!(NoSuchUpload, "The specified multipart upload does not exist.")
}

fn find<'a>(state: &'a mut State, id: &str, key: &str) -> S3Result<&'a mut Upload> {
    state.uploads.get_mut(id).filter(|u| u.key == key).ok_or_else(no_such_upload)
}

pub(super) fn create(backend: &Backend, input: CreateMultipartUploadInput) -> S3Result<CreateMultipartUploadOutput> {
    backend.check_bucket(&input.bucket)?;
    let initiated = backend.now();
    let mut state = backend.lock();
    state.uploads_ever += 1;
    let id = format!("upload-{:06}", state.uploads_ever);
    let upload = Upload {
        key: input.key.clone(),
        parts: Default::default(),
        initiated,
        metadata: input.metadata,
        content_type: input.content_type,
    };
    state.uploads.insert(id.clone(), upload);
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        ..Default::default()
    })
}

pub(super) async fn part(backend: &Backend, input: UploadPartInput) -> S3Result<UploadPartOutput> {
    backend.check_bucket(&input.bucket)?;
    if !(1..=10_000).contains(&input.part_number) {
        return Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000"));
    }
    find(&mut backend.lock(), &input.upload_id, &input.key)?;
    let want = Announced { length: input.content_length, md5: input.content_md5, sha256: input.checksum_sha256 };
    let segment = receive(backend, input.body, want).await?;
    let tag = hex::encode(segment.md5);
    // It may have been aborted meanwhile.
    find(&mut backend.lock(), &input.upload_id, &input.key)?.parts.insert(input.part_number, segment);
    Ok(UploadPartOutput { e_tag: etag(&tag), ..Default::default() })
}

pub(super) async fn complete(
    backend: &Backend,
    input: CompleteMultipartUploadInput,
) -> S3Result<CompleteMultipartUploadOutput> {
    backend.check_bucket(&input.bucket)?;
    let named = input.multipart_upload.and_then(|u| u.parts).unwrap_or_default();
    let (modified, least) = (backend.now(), backend.min_part_size);
    let (id, key) = (input.upload_id, input.key);
    let (if_match, if_none_match) = (input.if_match.as_ref(), input.if_none_match.as_ref());
    let tag = backend
        .commit(&key, if_match, if_none_match, |state| {
            let object = assemble(find(state, &id, &key)?, &named, least, modified)?;
            state.uploads.remove(&id);
            let tag = object.etag.clone();
            Ok((object, tag))
        })
        .await?;
    Ok(CompleteMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(key),
        e_tag: etag(&tag),
        ..Default::default()
    })
}

fn assemble(upload: &Upload, named: &[CompletedPart], least: u64, modified: std::time::SystemTime) -> S3Result<Object> {
    if named.is_empty() {
        return Err(s3_error!(MalformedXML, "no part is named"));
    }
    let (mut segments, mut digest, mut size, mut before) = (Vec::new(), Md5::default(), 0, 0);
    for (i, part) in named.iter().enumerate() {
        let number = part.part_number.unwrap_or_default();
        if number <= before {
            return Err(s3_error!(InvalidPartOrder, "The list of parts was not in ascending order."));
        }
        before = number;
        let segment = upload
            .parts
            .get(&number)
            .filter(|s| part.e_tag.as_ref().is_some_and(|t| t.value() == hex::encode(s.md5)))
            .ok_or_else(|| s3_error!(InvalidPart, "part {number} is not there or has another ETag"))?;
        if segment.size < least && i + 1 < named.len() {
            return Err(s3_error!(EntityTooSmall, "part {number} is smaller than {least} bytes"));
        }
        digest.update(segment.md5);
        size += segment.size;
        segments.push(segment.clone());
    }
    Ok(Object {
        size,
        etag: format!("{}-{}", hex::encode(digest.finalize()), segments.len()),
        parts: segments.len(),
        segments,
        modified,
        metadata: upload.metadata.clone(),
        content_type: upload.content_type.clone(),
    })
}

pub(super) fn abort(backend: &Backend, input: AbortMultipartUploadInput) -> S3Result<AbortMultipartUploadOutput> {
    backend.check_bucket(&input.bucket)?;
    let mut state = backend.lock();
    find(&mut state, &input.upload_id, &input.key)?;
    state.uploads.remove(&input.upload_id);
    Ok(AbortMultipartUploadOutput::default())
}

pub(super) fn list(backend: &Backend, input: ListPartsInput) -> S3Result<ListPartsOutput> {
    backend.check_bucket(&input.bucket)?;
    let mut state = backend.lock();
    let upload = find(&mut state, &input.upload_id, &input.key)?;
    let part = |(number, segment): (&i32, &super::state::Segment)| Part {
        part_number: Some(*number),
        e_tag: etag(&hex::encode(segment.md5)),
        size: i64::try_from(segment.size).ok(),
        last_modified: timestamp(upload.initiated),
        ..Default::default()
    };
    let parts = upload.parts.iter().map(part).collect();
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        is_truncated: Some(false),
        parts: Some(parts),
        ..Default::default()
    })
}

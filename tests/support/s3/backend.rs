//! The S3 operations over [`Backend`].

use std::sync::Arc;

use base64::Engine;
use futures::StreamExt;
use md5::Md5;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use super::state::{Backend, Object, Segment, check_conditions, etag, plain_object, timestamp};
use super::{listing, multipart};

pub(super) struct S3Backend(pub(super) Arc<Backend>);

/// Digests that a request announces for its body.
#[derive(Default)]
pub(super) struct Announced {
    pub(super) length: Option<i64>,
    pub(super) md5: Option<String>,
    pub(super) sha256: Option<String>,
}

/// Writes a request's body to a file, outside the lock, and checks it against what was announced.
pub(super) async fn receive(backend: &Backend, body: Option<StreamingBlob>, want: Announced) -> S3Result<Segment> {
    let file = tempfile::NamedTempFile::new_in(backend.dir.path()).map_err(s3s::S3Error::internal_error)?;
    let (file, path) = file.into_parts();
    let mut out = tokio::io::BufWriter::with_capacity(256 << 10, tokio::fs::File::from_std(file));
    let (mut md5, mut sha256, mut size) = (Md5::default(), Sha256::new(), 0u64);
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(broken_body)?;
            md5::Digest::update(&mut md5, &chunk);
            sha256.update(&chunk);
            size += chunk.len() as u64;
            out.write_all(&chunk).await.map_err(s3s::S3Error::internal_error)?;
        }
    }
    out.flush().await.map_err(s3s::S3Error::internal_error)?;
    let md5: [u8; 16] = md5::Digest::finalize(md5).into();
    let base64 = base64::engine::general_purpose::STANDARD;
    if want.length.is_some_and(|n| u64::try_from(n).ok() != Some(size)) {
        return Err(s3_error!(IncompleteBody, "fewer bytes than Content-Length says"));
    }
    if want.md5.is_some_and(|m| m != base64.encode(md5)) {
        return Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."));
    }
    if want.sha256.is_some_and(|s| s != base64.encode(sha256.finalize())) {
        return Err(s3_error!(BadDigest, "The SHA256 you specified did not match what we received."));
    }
    Ok(Segment { file: Arc::new(path), size, md5 })
}

/// The signature covers the digest of the body; what is behind it tells s3s while the body is read.
fn broken_body(e: s3s::StdError) -> s3s::S3Error {
    if !e.to_string().contains("Sha256Mismatch") {
        return s3_error!(IncompleteBody, "the request body broke off: {e}");
    }
    let mut error = s3s::S3Error::new(s3s::S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()));
    error.set_message("The provided 'x-amz-content-sha256' header does not match what was computed.");
    error.set_status_code(hyper::StatusCode::BAD_REQUEST);
    error
}

/// The bytes `from..to` of an object. The files stay as long as the stream does, whatever happens to the object.
fn content(object: &Object, from: u64, to: u64) -> StreamingBlob {
    let mut pieces = Vec::new();
    let mut start = 0;
    for segment in &object.segments {
        let end = start + segment.size;
        let (a, b) = (from.max(start), to.min(end));
        if a < b {
            pieces.push((segment.clone(), a - start, b - a));
        }
        start = end;
    }
    let stream = futures::stream::iter(pieces).then(|(segment, skip, n)| async move {
        let opened = async {
            let mut file = tokio::fs::File::open(&*segment.file).await?;
            file.seek(std::io::SeekFrom::Start(skip)).await?;
            Ok::<_, std::io::Error>(file.take(n))
        };
        match opened.await {
            Ok(reader) => {
                let keep = segment;
                ReaderStream::with_capacity(reader, 64 << 10)
                    .map(move |chunk| {
                        let _ = &keep;
                        chunk
                    })
                    .boxed()
            }
            Err(e) => futures::stream::once(async move { Err(e) }).boxed(),
        }
    });
    StreamingBlob::wrap(sync_wrapper(stream.flatten()))
}

/// `StreamingBlob` wants `Sync`; a channel gives it.
fn sync_wrapper<S>(stream: S) -> impl futures::Stream<Item = std::io::Result<bytes::Bytes>> + Send + Sync
where
    S: futures::Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static,
{
    let (send, receive) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(chunk) = stream.next().await {
            if send.send(chunk).await.is_err() {
                return;
            }
        }
    });
    futures::stream::unfold(receive, |mut receive| async move { receive.recv().await.map(|chunk| (chunk, receive)) })
}

fn no_such_key() -> s3s::S3Error {
    s3_error!(NoSuchKey, "The specified key does not exist.")
}

impl S3Backend {
    fn find(&self, bucket: &str, key: &str) -> S3Result<Object> {
        self.0.check_bucket(bucket)?;
        self.0.lock().objects.get(key).cloned().ok_or_else(no_such_key)
    }
}

fn check_read(object: &Object, if_match: Option<&IfMatch>, if_none_match: Option<&IfNoneMatch>) -> S3Result<()> {
    check_conditions(Some(object), if_match, None)?;
    check_conditions(Some(object), None, if_none_match).map_err(|_| s3_error!(NotModified))
}

#[async_trait::async_trait]
impl S3 for S3Backend {
    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.0.check_bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        self.0.check_bucket(&input.bucket)?;
        let want = Announced { length: input.content_length, md5: input.content_md5, sha256: input.checksum_sha256 };
        let segment = receive(&self.0, input.body, want).await?;
        let object = plain_object(segment, self.0.now(), input.metadata, input.content_type);
        let tag = object.etag.clone();
        let (if_match, if_none_match) = (input.if_match.as_ref(), input.if_none_match.as_ref());
        self.0.commit(&input.key, if_match, if_none_match, |_| Ok((object, ()))).await?;
        Ok(S3Response::new(PutObjectOutput { e_tag: etag(&tag), ..Default::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let object = self.find(&input.bucket, &input.key)?;
        check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let mut part = 0..object.size;
        let mut content_range = None;
        if let Some(range) = input.range {
            part = range.check(object.size)?;
            content_range = Some(format!("bytes {}-{}/{}", part.start, part.end.saturating_sub(1), object.size));
        }
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(content(&object, part.start, part.end)),
            content_length: i64::try_from(part.end - part.start).ok(),
            content_range,
            content_type: object.content_type.clone(),
            e_tag: etag(&object.etag),
            last_modified: timestamp(object.modified),
            metadata: object.metadata.clone(),
            ..Default::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        let object = self.find(&input.bucket, &input.key)?;
        check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(object.size).ok(),
            content_type: object.content_type.clone(),
            e_tag: etag(&object.etag),
            last_modified: timestamp(object.modified),
            metadata: object.metadata,
            ..Default::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        self.0.check_bucket(&input.bucket)?;
        let mut state = self.0.lock();
        check_conditions(state.objects.get(&input.key), input.if_match.as_ref(), None)?;
        state.objects.remove(&input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        listing::objects(&self.0, req.input).map(S3Response::new)
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        multipart::create(&self.0, req.input).map(S3Response::new)
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        multipart::part(&self.0, req.input).await.map(S3Response::new)
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        multipart::complete(&self.0, req.input).await.map(S3Response::new)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        multipart::abort(&self.0, req.input).map(S3Response::new)
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        listing::uploads(&self.0, req.input).map(S3Response::new)
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        multipart::list(&self.0, req.input).map(S3Response::new)
    }
}

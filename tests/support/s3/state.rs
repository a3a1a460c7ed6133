//! What the server stores: one bucket under one mutex, contents in files that are never changed once written.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use md5::{Digest, Md5};
use s3s::dto::{ETag, ETagCondition, Metadata, Timestamp};
use s3s::{S3Result, s3_error};
use tempfile::{TempDir, TempPath};

use super::S3Options;

/// What `If-None-Match` and `If-Match` do on writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// Checked and applied under one lock.
    Atomic,
    /// Checked, but not under the lock that applies the write: several writers can win a race.
    Racy,
    /// Ignored: every write wins.
    Ignored,
}

/// One object, for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Key within the bucket.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// ETag without quotes.
    pub etag: String,
    /// Parts of the multipart upload that made it; 0 for a plain put.
    pub parts: usize,
    /// `x-amz-meta-*`, names in lower case and without the prefix.
    pub metadata: BTreeMap<String, String>,
    /// By the server's clock.
    pub modified: SystemTime,
}

/// Content of a part, in a file of its own that goes when the last user has gone.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) file: Arc<TempPath>,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
}

#[derive(Clone)]
pub(super) struct Object {
    pub(super) segments: Vec<Segment>,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) parts: usize,
    pub(super) modified: SystemTime,
    pub(super) metadata: Option<Metadata>,
    pub(super) content_type: Option<String>,
}

pub(super) struct Upload {
    pub(super) key: String,
    pub(super) parts: BTreeMap<i32, Segment>,
    pub(super) initiated: SystemTime,
    pub(super) metadata: Option<Metadata>,
    pub(super) content_type: Option<String>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) uploads: BTreeMap<String, Upload>,
    pub(super) uploads_ever: u64,
}

pub(super) struct Backend {
    pub(super) bucket: String,
    pub(super) page_size: usize,
    pub(super) min_part_size: u64,
    pub(super) conditions: Conditions,
    pub(super) skew: AtomicI64,
    pub(super) dir: TempDir,
    state: Mutex<State>,
}

impl Backend {
    pub(super) fn new(options: &S3Options) -> Backend {
        Backend {
            bucket: options.bucket.clone(),
            page_size: options.page_size.max(1),
            min_part_size: options.min_part_size,
            conditions: options.conditions,
            skew: AtomicI64::new(0),
            dir: tempfile::Builder::new().prefix("lifeboat-s3-").tempdir().expect("a directory for the S3 server"),
            state: Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's clock.
    pub(super) fn now(&self) -> SystemTime {
        let skew = self.skew.load(Ordering::SeqCst);
        let by = Duration::from_secs(skew.unsigned_abs());
        if skew < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
    }

    pub(super) fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.bucket { Ok(()) } else { Err(s3_error!(NoSuchBucket, "The specified bucket does not exist")) }
    }

    /// Stores `object` under `key` if the conditions hold. The whole point of this server: check and write are one.
    pub(super) async fn commit<T>(
        &self,
        key: &str,
        if_match: Option<&ETagCondition>,
        if_none_match: Option<&ETagCondition>,
        object: impl FnOnce(&mut State) -> S3Result<(Object, T)>,
    ) -> S3Result<T> {
        match self.conditions {
            Conditions::Atomic | Conditions::Ignored => {}
            Conditions::Racy => {
                check_conditions(self.lock().objects.get(key), if_match, if_none_match)?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let mut state = self.lock();
        if self.conditions == Conditions::Atomic {
            check_conditions(state.objects.get(key), if_match, if_none_match)?;
        }
        let (object, answer) = object(&mut state)?;
        state.objects.insert(key.to_owned(), object);
        Ok(answer)
    }

    pub(super) fn objects(&self) -> Vec<Stored> {
        let state = self.lock();
        let stored = |(key, o): (&String, &Object)| Stored {
            key: key.clone(),
            size: o.size,
            etag: o.etag.clone(),
            parts: o.parts,
            metadata: o.metadata.clone().unwrap_or_default().into_iter().collect(),
            modified: o.modified,
        };
        state.objects.iter().map(stored).collect()
    }

    pub(super) fn uploads(&self) -> Vec<(String, String)> {
        self.lock().uploads.iter().map(|(id, u)| (u.key.clone(), id.clone())).collect()
    }

    pub(super) fn read(&self, key: &str) -> Option<Vec<u8>> {
        let object = self.lock().objects.get(key).cloned()?;
        let read = |s: &Segment| fs::read(&*s.file).expect("a stored segment");
        Some(object.segments.iter().flat_map(read).collect())
    }

    pub(super) fn plant(&self, key: &str, body: &[u8]) {
        let mut file = tempfile::NamedTempFile::new_in(self.dir.path()).expect("a file for an object");
        file.write_all(body).expect("write an object");
        let segment =
            Segment { file: Arc::new(file.into_temp_path()), size: body.len() as u64, md5: Md5::digest(body).into() };
        let object = plain_object(segment, self.now(), None, None);
        self.lock().objects.insert(key.to_owned(), object);
    }

    pub(super) fn lose(&self, key: &str) -> bool {
        self.lock().objects.remove(key).is_some()
    }
}

pub(super) fn plain_object(
    segment: Segment,
    modified: SystemTime,
    metadata: Option<Metadata>,
    content_type: Option<String>,
) -> Object {
    let (size, etag) = (segment.size, hex::encode(segment.md5));
    Object { segments: vec![segment], size, etag, parts: 0, modified, metadata, content_type }
}

/// S3's rules: `If-Match` on a key that is not there is 404, every other failure 412.
pub(super) fn check_conditions(
    there: Option<&Object>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    let same = |condition: &ETagCondition, object: &Object| match condition.as_etag() {
        None => true,
        Some(etag) => etag.value() == object.etag,
    };
    let failed = || s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold");
    if let Some(condition) = if_match {
        match there {
            None => return Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
            Some(object) if !same(condition, object) => return Err(failed()),
            Some(_) => {}
        }
    }
    match (if_none_match, there) {
        (Some(condition), Some(object)) if same(condition, object) => Err(failed()),
        _ => Ok(()),
    }
}

pub(super) fn etag(value: &str) -> Option<ETag> {
    Some(ETag::Strong(value.to_owned()))
}

/// S3 keeps whole seconds.
pub(super) fn timestamp(t: SystemTime) -> Option<Timestamp> {
    let seconds = t.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    Some(Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

//! The backends that the contract is tried on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use etcd_lifeboat::config::ConfiguredFile;
use etcd_lifeboat::ports::ObjectStore;
use etcd_lifeboat::store::dir::DirStore;
use etcd_lifeboat::store::s3::{CredentialSource, Limits, S3Options, S3Store};
use etcd_lifeboat::sys::clock::SystemClock;
use futures::future::BoxFuture;
use secrecy::SecretString;

use super::suite::{PART, Place};
use super::support::{self, S3Server, Weed};

/// Folders of a directory.
pub struct Directory(tempfile::TempDir);

impl Directory {
    pub fn new() -> Self {
        Directory(tempfile::tempdir().expect("a directory"))
    }
}

impl Place for Directory {
    fn store(&self, folder: &str, page: u32) -> Arc<dyn ObjectStore> {
        let path = self.0.path().join(folder);
        std::fs::create_dir_all(&path).expect("a folder");
        let store = DirStore::open(path, Arc::new(SystemClock::new())).expect("open");
        Arc::new(store.with_page_size(page as usize))
    }

    fn missing(&self) -> Arc<dyn ObjectStore> {
        Arc::new(DirStore::open(self.0.path().join("not/there"), Arc::new(SystemClock::new())).expect("open"))
    }

    fn refuses_writes_to_missing(&self) -> bool {
        true
    }

    fn leftovers(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async {
            let mut found = Vec::new();
            for folder in std::fs::read_dir(self.0.path()).expect("read").flatten() {
                for entry in std::fs::read_dir(folder.path().join(".lifeboat-tmp")).into_iter().flatten().flatten() {
                    found.push(entry.path().display().to_string());
                }
            }
            found
        })
    }
}

/// Folders of a bucket of an S3 server.
pub struct S3 {
    pub endpoint: String,
    pub bucket: String,
    pub access_key: String,
    pub secret_key: String,
    pub ca_file: Option<PathBuf>,
    pub refuses_writes_to_missing: bool,
}

impl S3 {
    /// A bucket of a SeaweedFS that is started for it.
    pub async fn of_seaweedfs() -> (Weed, S3) {
        let weed = tokio::task::spawn_blocking(Weed::start).await.expect("SeaweedFS");
        let s3 = S3 {
            endpoint: weed.endpoint(),
            bucket: "snapshots".to_owned(),
            access_key: weed.access_key.clone(),
            secret_key: weed.secret_key.clone(),
            ca_file: None,
            // It makes a bucket when something is put into it.
            refuses_writes_to_missing: false,
        };
        weed.create_bucket(&s3.bucket).await;
        (weed, s3)
    }

    /// Options of a store in `folder`, with short pauses.
    pub fn options(&self, folder: &str) -> S3Options {
        S3Options {
            endpoint: self.endpoint.clone(),
            bucket: self.bucket.clone(),
            folder: folder.to_owned(),
            region: None,
            insecure: self.endpoint.starts_with("http://"),
            path_style: None,
            ca_file: self.ca_file.as_ref().map(|p| ConfiguredFile::new("store.s3.ca_file", p)),
            credentials: CredentialSource::Static {
                access_key: self.access_key.clone(),
                secret_key: SecretString::from(self.secret_key.clone()),
                session_token: None,
            },
            limits: Limits {
                part_size: PART,
                backoff: Duration::from_millis(10),
                backoff_cap: Duration::from_millis(200),
                ..Limits::default()
            },
        }
    }

    pub fn connect(&self, options: S3Options) -> Arc<dyn ObjectStore> {
        Arc::new(S3Store::connect(options, Arc::new(SystemClock::new())).expect("connect"))
    }

    fn bucket(&self) -> Box<s3::Bucket> {
        let region = s3::Region::Custom { region: "us-east-1".to_owned(), endpoint: self.endpoint.clone() };
        let (access, secret) = (Some(self.access_key.as_str()), Some(self.secret_key.as_str()));
        let credentials = s3::creds::Credentials::new(access, secret, None, None, None).expect("credentials");
        s3::Bucket::new(&self.bucket, region, credentials).expect("a bucket").with_path_style()
    }

    /// ListMultipartUploads, without rust-s3's strict parser.
    async fn uploads(&self) -> Vec<String> {
        let query = HashMap::from([("uploads".to_owned(), String::new())]);
        let url = self.bucket().presign_get("/", 60, Some(query)).await.expect("a signed URL");
        let answer = reqwest::Client::new().get(url).send().await.expect("list the uploads");
        let text = answer.text().await.expect("list the uploads");
        assert!(text.contains("ListMultipartUploadsResult"), "not a list of uploads: {text}");
        text.split("<UploadId>").skip(1).map(|rest| rest.split('<').next().unwrap_or_default().to_owned()).collect()
    }
}

impl Place for S3 {
    fn store(&self, folder: &str, page: u32) -> Arc<dyn ObjectStore> {
        let mut options = self.options(folder);
        options.limits.page_size = page;
        self.connect(options)
    }

    fn missing(&self) -> Arc<dyn ObjectStore> {
        let mut options = self.options("f");
        options.bucket = "not-there".to_owned();
        self.connect(options)
    }

    fn refuses_writes_to_missing(&self) -> bool {
        self.refuses_writes_to_missing
    }

    fn leftovers(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(self.uploads())
    }
}

/// The S3 server inside this process.
pub struct InProcess {
    pub server: S3Server,
    pub s3: S3,
}

impl InProcess {
    pub async fn start(options: support::S3Options) -> Self {
        let server = S3Server::start(options).await;
        let s3 = S3 {
            endpoint: server.endpoint(),
            bucket: server.bucket().to_owned(),
            access_key: server.access_key.clone(),
            secret_key: server.secret_key.clone(),
            ca_file: None,
            refuses_writes_to_missing: true,
        };
        InProcess { server, s3 }
    }
}

impl Place for InProcess {
    fn store(&self, folder: &str, page: u32) -> Arc<dyn ObjectStore> {
        self.s3.store(folder, page)
    }

    fn missing(&self) -> Arc<dyn ObjectStore> {
        self.s3.missing()
    }

    fn refuses_writes_to_missing(&self) -> bool {
        true
    }

    fn leftovers(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async { self.server.uploads_in_progress().into_iter().map(|(_, id)| id).collect() })
    }
}

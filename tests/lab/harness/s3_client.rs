//! What a story does with the store from outside of the hosts.

use std::fs::File;
use std::future::Future;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::net::STORE;
use super::s3::S3;
use super::wait::wait_for;

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    pub size: u64,
    pub last_modified: String,
}

/// Runs `work` on a thread that is on the network of a namespace of the lab.
pub(super) fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_network(namespace);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Moves this thread, and those that it starts, to the network of a namespace.
pub(super) fn enter_network(namespace: &str) {
    let path = format!("/run/netns/{namespace}");
    let file = File::open(&path).unwrap_or_else(|e| panic!("cannot open {path}: {e}"));
    setns(file, CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("cannot enter {path}: {e}"));
}

impl S3 {
    /// Objects whose keys begin with `prefix`, in order.
    pub fn list(&self, prefix: &str) -> Vec<Object> {
        let pages = self.ask(async |bucket| bucket.list(prefix.to_owned(), None).await);
        let objects = pages.unwrap_or_else(|e| panic!("the store did not list '{prefix}': {e}"));
        let objects = objects.into_iter().flat_map(|page| page.contents);
        objects.map(|o| Object { key: o.key, size: o.size, last_modified: o.last_modified }).collect()
    }

    /// The keys alone.
    pub fn keys_below(&self, prefix: &str) -> Vec<String> {
        self.list(prefix).into_iter().map(|o| o.key).collect()
    }

    /// An object's content; `None` when it is not there.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self.ask(async |bucket| bucket.get_object(key).await) {
            Ok(answer) => Some(answer.bytes().to_vec()),
            Err(::s3::error::S3Error::HttpFailWithBody(404, _)) => None,
            Err(e) => panic!("the store did not give {key}: {e}"),
        }
    }

    /// An object that is JSON.
    pub fn get_json(&self, key: &str) -> Option<serde_json::Value> {
        self.get(key).map(|bytes| serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{key} is no JSON: {e}")))
    }

    pub fn put(&self, key: &str, content: &[u8]) {
        self.ask(async |bucket| bucket.put_object(key, content).await)
            .unwrap_or_else(|e| panic!("the store did not take {key}: {e}"));
    }

    pub fn delete(&self, key: &str) {
        self.ask(async |bucket| bucket.delete_object(key).await)
            .unwrap_or_else(|e| panic!("the store did not delete {key}: {e}"));
    }

    /// Waits until there is a committed snapshot whose name begins so, and returns its name.
    pub fn wait_for_snapshot(&self, folder: &str, begins: &str, limit: Duration) -> String {
        let prefix = format!("{folder}/snapshots/{begins}");
        wait_for(&format!("a snapshot {begins}* in {folder}"), limit, || {
            let keys = self.keys_below(&prefix);
            let manifest = keys.iter().rev().find_map(|key| key.strip_suffix(".manifest.json"))?;
            manifest.rsplit('/').next().map(str::to_owned)
        })
    }

    /// All objects, for people.
    pub(super) fn describe(&self) -> String {
        let asked = self.ask(async |bucket| bucket.list(String::new(), None).await);
        match asked {
            Ok(pages) => pages
                .iter()
                .flat_map(|page| &page.contents)
                .map(|o| format!("{} {:>10} {}\n", o.last_modified, o.size, o.key))
                .collect(),
            Err(e) => format!("the store did not answer: {e}\n"),
        }
    }

    pub(super) fn create_bucket(&self) {
        let (region, credentials) = (self.region(), self.credentials());
        wait_for("the bucket to be made", Duration::from_secs(60), || {
            let made = on_network(async || {
                let config = ::s3::BucketConfiguration::default();
                ::s3::Bucket::create_with_path_style(S3::BUCKET, region.clone(), credentials.clone(), config).await
            });
            made.is_ok_and(|answer| answer.success()).then_some(())
        });
    }

    fn ask<T: Send, E: Send>(&self, question: impl AsyncFnOnce(&::s3::Bucket) -> Result<T, E> + Send) -> Result<T, E> {
        let bucket =
            ::s3::Bucket::new(S3::BUCKET, self.region(), self.credentials()).expect("a bucket").with_path_style();
        on_network(async || question(&bucket).await)
    }

    fn region(&self) -> ::s3::Region {
        ::s3::Region::Custom { region: "us-east-1".to_owned(), endpoint: self.endpoint() }
    }

    fn credentials(&self) -> ::s3::creds::Credentials {
        let keys = self.keys();
        ::s3::creds::Credentials::new(Some(&keys.access), Some(&keys.secret), None, None, None).expect("credentials")
    }
}

/// Runs a future on the store's network, for half a minute at most.
fn on_network<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    inside(STORE, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), work()).await.expect("the store answers") })
    })
}

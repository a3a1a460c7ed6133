//! The backends that the contract is tried on.

use std::sync::Arc;

use etcd_lifeboat::ports::ObjectStore;
use etcd_lifeboat::store::dir::DirStore;
use etcd_lifeboat::sys::clock::SystemClock;
use futures::future::BoxFuture;

use super::suite::Place;

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

    fn missing(&self) -> Option<Arc<dyn ObjectStore>> {
        Some(Arc::new(DirStore::open(self.0.path().join("not/there"), Arc::new(SystemClock::new())).expect("open")))
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

//! Files with pages of other sizes than 4096 bytes: etcd takes the size from the system, so that they come from arm64 and ppc64.
//!
//! What a real etcd holds is written anew with larger pages by our own editor. bbolt's own check judges that file, and a real etcd starts on it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::path::Path;

use etcd_lifeboat::bolt::check::{Visitor, check};
use etcd_lifeboat::bolt::editor::{self, Edit, Items};
use etcd_lifeboat::bolt::reader::Image;
use sha2::Digest;

use crate::host::{Host, string, text, tool};
use crate::matrix::{started, status};
use crate::support::{ETCD_3_4, ETCD_LATEST, Fill, dump, tools};

/// All buckets of a file.
#[derive(Default)]
struct Content(Vec<(Vec<u8>, Items)>);

impl Visitor for Content {
    fn bucket(&mut self, name: &[u8], _nesting: usize) -> etcd_lifeboat::error::Result<()> {
        // The root itself has no name.
        if !name.is_empty() {
            self.0.push((name.to_vec(), Items::new()));
        }
        Ok(())
    }

    fn item(&mut self, key: &[u8], value: &[u8]) -> etcd_lifeboat::error::Result<()> {
        let (_, items) = self.0.last_mut().expect("a bucket comes before its items");
        assert!(items.insert(key.to_vec(), value.to_vec()).is_none());
        Ok(())
    }
}

/// The same content in pages of another size, with the digest at its end.
fn with_pages(content: &Content, page_size: u32, path: &Path) {
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    editor::create(&file, path, page_size).unwrap();
    let mut edit = Edit::default();
    for (name, items) in &content.0 {
        edit.replace(name, items.clone());
    }
    editor::apply(&file, path, &edit).unwrap();
    drop(file);
    let mut bytes = fs::read(path).unwrap();
    assert_eq!(bytes.len() % page_size as usize, 0);
    bytes.extend(sha2::Sha256::digest(&bytes));
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_8_16_and_64_kib_are_inspected_restored_and_served() {
    let host = Host::new(ETCD_LATEST, "page-sizes").await;
    let etcd = host.start_etcd();
    Fill { keys: 2000, large: 3, compact: true, seed: 9 }.run(&etcd).await;
    let before = dump(&etcd).await;
    let name = string(&host.save("pages")["name"]);
    drop(etcd);
    let file = host.path("4096.db");
    host.run(&["get", &name, "-f", &text(&file)]).ok();
    let mut content = Content::default();
    check(&Image::open(&file).unwrap(), &mut content).unwrap();
    let original = host.json(&["inspect", &text(&file)]);
    assert_eq!(original["page_size"], 4096, "this machine's own");

    for page_size in [8192u32, 16384, 65536] {
        let path = host.path(&format!("{page_size}.db"));
        with_pages(&content, page_size, &path);
        let found = host.json(&["inspect", &text(&path)]);
        assert_eq!((found["page_size"].as_u64(), &found["trailer_ok"]), (Some(u64::from(page_size)), &true.into()));
        for same in ["revision", "compact_revision", "live_keys", "total_keys", "status_hash", "hash_kv"] {
            assert_eq!(found[same], original[same], "{same} with pages of {page_size}");
        }
        assert_eq!(found["status_hash"].as_u64().unwrap(), status(ETCD_LATEST, &path).0, "etcdutl reads it, too");

        let data = host.path(&format!("from-{page_size}"));
        host.json(&["restore", &text(&path), "--data-dir", &text(&data)]);
        let db = data.join("member/snap/db");
        assert_eq!(Image::open(&db).unwrap().meta().page_size, page_size, "the restored file keeps its pages");
        bbolt_agrees(&db, page_size);
        for version in [ETCD_3_4, ETCD_LATEST] {
            let copy = host.path(&format!("from-{page_size}-on-{version}"));
            tool("cp".as_ref(), &["-a", &text(&data), &text(&copy)]);
            let (mut etcd, after) = started(version, &copy).await;
            assert_eq!(after.revision, before.revision, "pages of {page_size} on {version}");
            before.assert_same_keys(&after);
            for n in 0..50 {
                etcd.etcdctl(&["put", &format!("new/{n}"), "value"]);
            }
            etcd.stop();
            bbolt_agrees(&copy.join("member/snap/db"), page_size);
            // And back again: what etcd has written with such pages is saved and restored.
            let again = host.path(&format!("again-{page_size}-{version}"));
            let db = text(&copy.join("member/snap/db"));
            let report = host.json(&["restore", &db, "--skip-hash-check", "--data-dir", &text(&again)]);
            assert_eq!(report["revision"].as_i64().unwrap(), before.revision + 50);
        }
    }
}

fn bbolt_agrees(db: &Path, page_size: u32) {
    let Some(bbolt) = tools::bbolt() else { return };
    assert!(tool(&bbolt, &["info", &text(db)]).contains(&format!("Page Size: {page_size}")));
    let told = tool(&bbolt, &["check", &text(db)]);
    assert!(told.contains("OK"), "{told}");
}

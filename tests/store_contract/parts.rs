//! How the parts of a large file are sent.

use etcd_lifeboat::config::ConfiguredFile;
use etcd_lifeboat::ports::{PutMode, StoreErrorKind};

use super::faults::quick;
use super::places::InProcess;
use super::suite::{PART, content, file, kind, read_all};
use super::support::{self, Op};

/// Without TLS the signature of a part holds its content; with TLS the digest of the whole does, and no byte is hashed twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_signed_where_nothing_else_protects_them() {
    for tls in [false, true] {
        let place = InProcess::start(support::S3Options { tls, ..support::S3Options::default() }).await;
        let mut options = quick(place.s3.options("f"));
        options.ca_file = tls.then(|| ConfiguredFile::new("store.s3.ca_file", place.server.ca_file()));
        let store = place.s3.connect(options);
        for size in [100, PART, 3 * PART + 7] {
            let (key, bytes) = (format!("k{size}"), content(size));
            let (_dir, path, sha256) = file(&bytes);
            store.put_file(&key, &path, &sha256, PutMode::CreateOnly, &|_| ()).await.expect("put_file");
            assert!(read_all(&*store, &key, 0).await == bytes, "{size} bytes, tls {tls}");
        }
        let seen = place.server.faults().seen();
        assert_eq!(seen.iter().filter(|s| s.op == Op::UploadPart).count(), 4);
        for request in seen {
            assert_eq!(request.unsigned, tls && request.op == Op::UploadPart, "{request:?}, tls {tls}");
        }
        // A file that is not what it was said to be leaves nothing, whoever would have noticed.
        for size in [100, 2 * PART] {
            let (_dir, path, _) = file(&content(size));
            let (_other, _path, sha256) = file(b"something else");
            let put = store.put_file("other", &path, &sha256, PutMode::CreateOnly, &|_| ()).await;
            assert_eq!(kind(put), Some(StoreErrorKind::Corrupt), "{size} bytes, tls {tls}");
        }
        assert!(!place.server.keys().iter().any(|k| k.contains("other")));
        assert_eq!(place.server.uploads_in_progress(), Vec::new());
    }
}

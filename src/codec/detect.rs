//! Which format a local file has: people hand us files with any name.

use crate::core::model::Compression;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const ZIP: &[u8] = b"PK\x03\x04";
const AGE: &[u8] = b"age-encryption.org/";
/// bbolt's magic, little endian, at byte 16 of the first page (bbolt, `db.go`, `meta.magic`).
const BOLT: &[u8] = &[0xed, 0xda, 0x0c, 0xed];
const BOLT_AT: usize = 16;

/// A file that is none of the formats we read, and what to do with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unrecognized {
    what: &'static str,
    /// What to type next.
    pub hint: &'static str,
}

/// The format of a file, by its first bytes (32 are enough); the name decides only where they say nothing.
///
/// # Errors
/// When the content is none of gzip, zstd and etcd's database.
pub fn detect(name: &str, head: &[u8]) -> Result<Compression, Unrecognized> {
    if head.starts_with(GZIP) {
        return Ok(Compression::Gzip);
    }
    if head.starts_with(ZSTD) {
        return Ok(Compression::Zstd);
    }
    if head.get(BOLT_AT..).is_some_and(|rest| rest.starts_with(BOLT)) {
        return Ok(Compression::None);
    }
    if head.starts_with(ZIP) {
        return Err(Unrecognized {
            what: "it is a zip archive",
            hint: "unpack it first (unzip FILE) and name the file inside",
        });
    }
    if head.starts_with(AGE) {
        return Err(Unrecognized {
            what: "it is encrypted with age",
            hint: "decrypt it first: age -d -i KEY FILE > FILE.db",
        });
    }
    // The first meta page may be damaged while the second one is whole: the reader of the file judges that.
    if name.ends_with(".db") && head.len() > BOLT_AT {
        return Ok(Compression::None);
    }
    Err(Unrecognized {
        what: if head.is_empty() { "it is empty" } else { "it is neither gzip, zstd nor an etcd database" },
        hint: "name a file made by etcdctl snapshot save, or one fetched with: lifeboat get NAME -f FILE",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bolt_head() -> Vec<u8> {
        let mut head = vec![0u8; 32];
        head[16..20].copy_from_slice(BOLT);
        head
    }

    #[test]
    fn content_beats_the_name() {
        let bolt = bolt_head();
        for (name, head, expected) in [
            ("x.db", &b"\x1f\x8b\x08\0"[..], Some(Compression::Gzip)),
            ("x.db.zst", b"\x1f\x8b\x08\0", Some(Compression::Gzip)),
            ("x", b"\x28\xb5\x2f\xfd....", Some(Compression::Zstd)),
            ("x.db.gz", &bolt, Some(Compression::None)),
            ("x.db", &[0u8; 32], Some(Compression::None)),
            ("x.bin", &[0u8; 32], None),
            ("x.db", b"", None),
            ("x.db", b"short", None),
            ("x.zip", b"PK\x03\x04....", None),
            ("x.db.gz.age", b"age-encryption.org/v1\n-> X25519", None),
            ("x.html", b"<!DOCTYPE html>", None),
        ] {
            assert_eq!(detect(name, head).ok(), expected, "{name}");
        }
    }
}

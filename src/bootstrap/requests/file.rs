//! The one-shot request to restore: armed in a file, consumed once per id.
//!
//! The file says what to restore; that it was done is remembered elsewhere (plan and memory), so that a file which cannot be removed does not restore
//! again at every boot.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::core::facts::{Cause, CauseCode, Observed, Request, RequestSource};
use crate::core::model::SnapshotName;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys::{fs, random};

/// The longest file that is taken for a request.
const MOST_BYTES: u64 = 4096;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    id: String,
    snapshot: String,
}

/// The file that arms a restore for the next start of etcd.
#[derive(Debug, Clone)]
pub struct RequestFile {
    path: PathBuf,
}

impl RequestFile {
    /// At this path.
    pub fn new(path: &Path) -> Self {
        RequestFile { path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it. No file is a known "no request"; one that cannot be read or understood is unknown.
    pub fn observe(&self) -> Observed<Option<Request>> {
        let path = self.path.display();
        let unknown = |code, text: String| {
            Observed::Unknown(Cause {
                code,
                text,
                hint: Some("lifeboat restore-once --cancel takes the request back".into()),
            })
        };
        let unreadable = |path: &std::path::Display<'_>, e: &io::Error| {
            Observed::Unknown(Cause {
                code: CauseCode::LocalIo,
                text: format!("{path} cannot be read: {e}"),
                hint: Some(format!(
                    "run it as root, as the unit does, or correct the access to {path}: namei -l {path}"
                )),
            })
        };
        match std::fs::metadata(&self.path) {
            Ok(m) if m.len() > MOST_BYTES => {
                return unknown(CauseCode::BadRecord, format!("{path} is too long for a request"));
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Observed::Known(None),
            Err(e) => return unreadable(&path, &e),
        }
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(e) => return unreadable(&path, &e),
        };
        match toml::from_str::<Content>(&text) {
            Ok(c) if c.snapshot != "latest" && SnapshotName::new(&c.snapshot).is_err() => unknown(
                CauseCode::BadRecord,
                format!("{path} asks for {:?}, which is no name of a snapshot", c.snapshot),
            ),
            Ok(c) if !c.id.is_empty() => Observed::Known(Some(Request {
                id: c.id,
                snapshot: c.snapshot,
                found_in: self.path.display().to_string(),
                source: RequestSource::File,
            })),
            Ok(_) => unknown(CauseCode::BadRecord, format!("{path} holds a request without an id")),
            Err(e) => unknown(CauseCode::BadRecord, format!("{path} holds no request: {}", e.message())),
        }
    }

    /// Arms a restore of `snapshot` (a name, or `latest`) under a fresh id, which it returns.
    ///
    /// # Errors
    /// When a request is armed already, the name is no valid one, or the file cannot be written.
    pub fn arm(&self, snapshot: &str) -> Result<String> {
        self.arm_as(snapshot, None)
    }

    /// The same with an id that other hosts are asked with, too: k3s and rke2 hosts stop for one request together.
    ///
    /// # Errors
    /// As [`RequestFile::arm`], and when the id is no word.
    pub fn arm_as(&self, snapshot: &str, id: Option<&str>) -> Result<String> {
        if snapshot != "latest" {
            SnapshotName::new(snapshot).or_fail(Kind::Usage, || "cannot arm a restore")?;
        }
        let id = match id {
            Some(word) if word.is_empty() || !word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) => {
                return Err(Error::new(Kind::Usage, format!("the id {word:?} is no word"))
                    .hint("letters, digits, '-', '_' and '.', as in --id rollback-1"));
            }
            Some(word) => word.to_owned(),
            None => random::nonce()?.to_string(),
        };
        let content = Content { id: id.clone(), snapshot: snapshot.to_owned() };
        let text = toml::to_string(&content).or_fail(Kind::Internal, || "cannot write down the request")?;
        let text = format!("# Written by 'lifeboat restore-once'; consumed once at the next start of etcd.\n{text}");
        fs::create_dir_all(fs::parent(&self.path), 0o755)?;
        if fs::write_create_only(&self.path, text.as_bytes(), 0o600)? {
            return Ok(id);
        }
        Err(Error::new(Kind::Refused, format!("a restore is armed already in {}", self.path.display()))
            .hint("take it back first: lifeboat restore-once --cancel"))
    }

    /// Takes the file away. Nothing there is no error.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove(&self) -> Result<()> {
        fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armed_once_read_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = RequestFile::new(&dir.path().join("restore-once"));
        assert_eq!(file.observe(), Observed::Known(None));
        let id = file.arm("before-upgrade").unwrap();
        let read = file.observe().known().cloned().unwrap().unwrap();
        assert_eq!((read.id, read.snapshot.as_str()), (id, "before-upgrade"));
        assert_eq!(file.arm("latest").unwrap_err().kind(), Kind::Refused);
        file.remove().unwrap();
        assert_eq!(file.arm("../x").unwrap_err().kind(), Kind::Usage);
        assert_ne!(file.arm("latest").unwrap(), "");
    }

    #[test]
    fn what_is_no_request_is_never_no_request() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("restore-once");
        for text in [
            "",
            "latest",
            "snapshot = \"a\"",
            "id = \"\"\nsnapshot = \"a\"",
            "id = \"1\"\nsnapshot = \"a\"\nx = 1",
            "id = \"1\"\nsnapshot = \"../a\"",
            "id = \"1\"\nsnapshot = \"\"",
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(RequestFile::new(&path).observe(), Observed::Unknown(_)), "{text:?}");
        }
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        assert!(matches!(RequestFile::new(&path).observe(), Observed::Unknown(_)));
    }
}

//! The system credential `lifeboat.restore`: what a virtual machine or container is given from outside (SMBIOS, qemu, `--set-credential=`).

use std::io::{self, Read};
use std::path::PathBuf;

use crate::core::facts::{Cause, CauseCode, RequestSource};

use super::value::{self, Found};

/// The longest text that is taken for a request.
const MOST_BYTES: u64 = 4096;

/// The first of these files that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    paths: Vec<PathBuf>,
}

impl Credential {
    /// Its name.
    pub const NAME: &'static str = "lifeboat.restore";

    /// That of this process (`$CREDENTIALS_DIRECTORY`), else that of the whole system.
    pub fn of_this_host(credentials: Option<PathBuf>) -> Self {
        let dirs = credentials.into_iter().chain([PathBuf::from("/run/credentials/@system")]);
        Credential { paths: dirs.map(|dir| dir.join(Self::NAME)).collect() }
    }

    /// At these paths.
    pub fn at(paths: Vec<PathBuf>) -> Self {
        Credential { paths }
    }

    pub(super) fn observe(&self) -> Found {
        for path in &self.paths {
            let found_in = format!("the credential {}", path.display());
            let mut bytes = Vec::new();
            let read = std::fs::File::open(path).and_then(|f| f.take(MOST_BYTES + 1).read_to_end(&mut bytes));
            match read {
                Ok(_) => return judge(&bytes, &found_in),
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(e) => {
                    return Found::Unknown(Cause {
                        code: CauseCode::LocalIo,
                        text: format!("{found_in} cannot be read: {e}"),
                        hint: Some("run it as root, as the unit does".to_owned()),
                    });
                }
            }
        }
        Found::Nothing
    }
}

fn judge(bytes: &[u8], found_in: &str) -> Found {
    let text = String::from_utf8_lossy(bytes);
    if bytes.len() as u64 > MOST_BYTES {
        let why = format!("{found_in} is too long for a request");
        return value::malformed(&text, RequestSource::Credential, why);
    }
    value::parse(&text, RequestSource::Credential, found_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_that_is_there_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (unit, system) = (dir.path().join("unit"), dir.path().join("system"));
        let credential = Credential::at(vec![unit.clone(), system.clone()]);
        let asked = || match credential.observe() {
            Found::Asked(r) => format!("{} as {}", r.snapshot, r.id),
            other => format!("{other:?}"),
        };
        assert_eq!(credential.observe(), Found::Nothing);
        std::fs::write(&system, "a\n").unwrap();
        assert_eq!(asked(), "a as credential:a");
        std::fs::write(&unit, "latest,id=x").unwrap();
        assert_eq!(asked(), "latest as x");
        for bad in [vec![b'a'; 5000], b"a b".to_vec(), b"a\xff".to_vec(), b"a\0b".to_vec()] {
            std::fs::write(&unit, &bad).unwrap();
            assert!(matches!(credential.observe(), Found::Malformed { .. }), "{bad:?}");
        }
        std::fs::remove_file(&unit).unwrap();
        std::fs::create_dir(&unit).unwrap();
        assert!(matches!(credential.observe(), Found::Unknown(_)), "what cannot be read is not nothing");
        let path = Credential::of_this_host(Some("/run/credentials/u".into()));
        assert_eq!(
            path.paths,
            [
                PathBuf::from("/run/credentials/u/lifeboat.restore"),
                PathBuf::from("/run/credentials/@system/lifeboat.restore"),
            ]
        );
    }
}

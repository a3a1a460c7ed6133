//! What this host remembers: a root-owned file outside the data dir, so that a lost disk does not take it along.

use std::io;
use std::path::{Path, PathBuf};

use crate::core::facts::{Aside, Cause, CauseCode, DirOwner, Memory, Observed};
use crate::core::model::{ClusterName, Generation, Nonce};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::sys::fs;

const FILE: &str = "memory.json";

/// The file behind [`Memory`].
#[derive(Debug, Clone)]
pub struct MemoryFile {
    path: PathBuf,
}

impl MemoryFile {
    /// In this state directory.
    pub fn new(state_dir: &Path) -> Self {
        MemoryFile { path: state_dir.join(FILE) }
    }

    /// Reads it. No file means that nothing is remembered; a file that cannot be read or understood is unknown.
    pub fn observe(&self) -> Observed<Memory> {
        let unknown = |code, text: String, hint: String| Observed::Unknown(Cause { code, text, hint: Some(hint) });
        let path = self.path.display();
        match std::fs::read(&self.path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(memory) => Observed::Known(memory),
                Err(e) => unknown(
                    CauseCode::BadRecord,
                    format!("{path} is damaged: {e}"),
                    format!("move {path} aside only if this host never was part of the cluster"),
                ),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Observed::Known(Memory::default()),
            Err(e) => unknown(
                CauseCode::LocalIo,
                format!("{path} cannot be read: {e}"),
                "run it as root, as the unit does".to_owned(),
            ),
        }
    }

    /// Changes it, durably, before it returns. A change that changes nothing writes nothing.
    ///
    /// # Errors
    /// When it cannot be read, understood or written.
    pub fn change(&self, change: impl FnOnce(&mut Memory)) -> Result<()> {
        let old = match self.observe() {
            Observed::Known(memory) => memory,
            Observed::Unknown(cause) => return Err(Error::new(Kind::Io, cause.text)),
        };
        let mut new = old.clone();
        change(&mut new);
        if new == old {
            return Ok(());
        }
        let text =
            serde_json::to_vec_pretty(&new).or_fail(Kind::Internal, || "cannot write down this host's memory")?;
        // The directory holds what etcd's unit reads, too; its files decide by themselves.
        fs::create_dir_all(fs::parent(&self.path), 0o755)?;
        fs::write_atomic(&self.path, &text, 0o600)
    }

    /// Notes a generation that the store has shown, and that this host belongs to the cluster.
    ///
    /// # Errors
    /// As [`MemoryFile::change`].
    pub fn saw(&self, cluster: &ClusterName, newest: Generation) -> Result<()> {
        self.change(|m| {
            m.cluster = Some(cluster.clone());
            m.highest_generation = m.highest_generation.max(newest);
        })
    }

    /// Notes that this host was allowed to start in a life.
    ///
    /// # Errors
    /// As [`MemoryFile::change`].
    pub fn started(&self, cluster: &ClusterName, generation: Generation) -> Result<()> {
        self.change(|m| {
            m.cluster = Some(cluster.clone());
            m.highest_generation = m.highest_generation.max(generation);
            if !m.started.contains(&generation) {
                m.started.push(generation);
            }
        })
    }

    /// Notes on which mount the data dir lies.
    ///
    /// # Errors
    /// As [`MemoryFile::change`].
    pub fn mounted(&self, at: Option<PathBuf>) -> Result<()> {
        self.change(|m| m.data_dir_mount = at.map(|p| p.display().to_string()))
    }

    /// Notes whose etcd's directories are.
    ///
    /// # Errors
    /// As [`MemoryFile::change`].
    pub fn owned(&self, data_dir: Option<DirOwner>, wal_dir: Option<DirOwner>) -> Result<()> {
        self.change(|m| {
            m.data_dir_owner = data_dir;
            m.wal_dir_owner = wal_dir;
        })
    }

    /// Notes what is about to be moved aside for a plan, in the place of what was noted for the same plan before.
    ///
    /// # Errors
    /// As [`MemoryFile::change`].
    pub fn moves_aside(&self, aside: &Aside) -> Result<()> {
        self.change(|m| {
            m.aside.retain(|a| a.generation != aside.generation);
            m.aside.push(aside.clone());
        })
    }

    /// Forgets what was moved aside for a plan: it is back, or it can never be.
    ///
    /// # Errors
    /// As [`MemoryFile::change`].
    pub fn nothing_aside_for(&self, plan: Generation) -> Result<()> {
        self.change(|m| m.aside.retain(|a| a.generation != plan))
    }

    /// This slot is about to join a life with an empty log: no older member of it may ever vote again.
    ///
    /// # Errors
    /// As [`MemoryFile::change`].
    pub fn nothing_aside(&self) -> Result<()> {
        self.change(|m| m.aside.clear())
    }

    /// Notes whether others may count on it that this host has stopped, and starts only after it has withdrawn.
    ///
    /// # Errors
    /// As [`MemoryFile::change`].
    pub fn stopped(&self, stopped: bool) -> Result<()> {
        self.change(|m| m.stopped = stopped)
    }

    /// Notes the mark that is about to be tried.
    ///
    /// # Errors
    /// As [`MemoryFile::change`].
    pub fn tries_mark(&self, nonce: Nonce) -> Result<()> {
        self.change(|m| m.mark_tried = Some(nonce))
    }

    /// Notes a consumed request or pin.
    ///
    /// # Errors
    /// As [`MemoryFile::change`].
    pub fn consumed(&self, request: &str) -> Result<()> {
        self.change(|m| {
            if !m.consumed.iter().any(|c| c == request) {
                m.consumed.push(request.to_owned());
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_known_and_a_damaged_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = MemoryFile::new(dir.path());
        assert_eq!(file.observe(), Observed::Known(Memory::default()));
        let prod = ClusterName::new("prod").unwrap();
        file.started(&prod, Generation(3)).unwrap();
        file.saw(&prod, Generation(2)).unwrap();
        file.consumed("r1").unwrap();
        let memory = file.observe().known().cloned().unwrap();
        assert_eq!((memory.highest_generation, memory.started.as_slice()), (Generation(3), &[Generation(3)][..]));
        assert!(memory.remembers_cluster());
        let path = dir.path().join(FILE);
        let text = std::fs::read(&path).unwrap();
        for cut in 0..text.len() {
            std::fs::write(&path, &text[..cut]).unwrap();
            assert!(matches!(file.observe(), Observed::Unknown(_)), "cut at {cut}");
            assert!(file.consumed("r2").is_err(), "cut at {cut}: a damaged memory was replaced");
        }
    }
}

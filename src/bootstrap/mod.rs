//! The gate: gather facts, decide, and take the steps of the verdict until etcd may start or a person must choose.
//!
//! The decision is `core::decide`; nothing here decides. Every step is idempotent and durable before the next one begins, so that a power cut
//! between any two leads, at the next boot, to the same end state. Member data is moved aside, never deleted.

mod apply;
mod aside;
mod build;
mod cancel;
mod data_dir;
mod discover;
mod environment;
mod etcd_version;
mod events;
mod gather;
mod history;
mod join;
mod joining;
mod lock;
mod make_plan;
mod memory;
mod mount;
mod owner;
mod pause;

mod pre_restore;
mod put_back;
pub mod quarantine;
mod requests;
mod reset;
mod roll;
mod run;
mod staging;
mod start;
#[cfg(test)]
mod tests;
mod voice;

pub use cancel::{TakenBack, gates_are_through, take_back};
pub use discover::{AtRecorded, Reach, who_answers};
pub use gather::{Endpoint, PeerPort};
pub use memory::MemoryFile;
pub use mount::remember as remember_mount;
pub use pause::{LONGEST_PAUSE, Pause};
pub use requests::{Credential, KernelCommandLine, RequestFile, RequestSources};
pub use run::{Bootstrap, Outcome, Reload, Report, RunOptions};
pub use start::StartSource;
pub use voice::{Voice, status_line};

use std::path::PathBuf;

use crate::config::EtcdUser;
use crate::core::decide::Policy;
use crate::core::model::ClusterName;

/// Where things are, and what the configuration allows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster.
    pub cluster: ClusterName,
    /// What the configuration says to `decide`.
    pub policy: Policy,
    /// etcd's data dir.
    pub data_dir: PathBuf,
    /// etcd's WAL dir, when it is not inside the data dir.
    pub wal_dir: Option<PathBuf>,
    /// Whom etcd runs as; none: whom its data dir belonged to before.
    pub etcd_user: Option<EtcdUser>,
    /// Root-owned memory and history of this host.
    pub state_dir: PathBuf,
    /// The one-shot request.
    pub request_file: PathBuf,
    /// k3s or rke2, as it is found in PATH or as a path; empty: by `managed_by`.
    pub reset_program: String,
    /// What etcd's unit reads; none: do not write one.
    pub environment_file: Option<PathBuf>,
    /// Revisions that a restore skips, so that clients notice it; none: leave revisions alone.
    pub bump_revision: Option<u64>,
}

impl Settings {
    /// What restores on k3s and rke2.
    fn reset_program(&self) -> String {
        match (self.reset_program.as_str(), self.policy.managed_by) {
            ("", crate::core::decide::ManagedBy::Rke2) => "rke2".to_owned(),
            ("", _) => "k3s".to_owned(),
            (program, _) => program.to_owned(),
        }
    }
}

/// etcd has started: what its environment file said for that one start, as the member that was added for this host, is taken out again. A wiped
/// host that is started by hand then fails, instead of going on as that member with an empty log.
///
/// # Errors
/// When the file cannot be written.
pub fn started(settings: &Settings) -> crate::error::Result<()> {
    joining::done(&settings.state_dir)?;
    settings.environment_file.as_deref().map_or(Ok(()), |path| environment::write(path, &settings.policy))
}

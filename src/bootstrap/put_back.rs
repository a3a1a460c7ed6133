//! Rule D3: the data was made for a plan that was taken back, so the member of before is put back.
//!
//! Between the two renames there is no `member/`, which would look like a lost disk. So the intention is written down first, and nothing is looked
//! at before it is done.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::apply::{Step, StepResult};
use super::build::blocking;
use super::run::Bootstrap;
use super::{Settings, data_dir, events, lock, quarantine};
use crate::core::facts::{DataDir, Facts, StoreFacts};
use crate::core::model::{ClusterId, Generation};
use crate::datadir::wal;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::failpoint;
use crate::sys::fs;

const FILE: &str = "put-back.json";

/// What is to be put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Intention {
    /// The quarantined `member/`.
    member: PathBuf,
    /// The directory of its quarantined WAL, where that lies outside of the data dir.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wal: Option<PathBuf>,
    /// The cluster that it belongs to.
    cluster_id: ClusterId,
}

fn file(settings: &Settings) -> PathBuf {
    settings.state_dir.join(FILE)
}

impl Intention {
    fn read(settings: &Settings) -> Result<Option<Intention>> {
        let path = file(settings);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .or_fail(Kind::Io, || format!("{} is damaged", path.display()))
                .map_err(|e| {
                    e.hint("it names the member that is to be put back: rename that by hand, and remove the file")
                }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).or_fail(Kind::Io, || format!("cannot read {}", path.display())),
        }
    }

    fn write(&self, settings: &Settings) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).or_fail(Kind::Internal, || "cannot write down what is put back")?;
        fs::create_dir_all(&settings.state_dir, 0o755)?;
        fs::write_atomic(&file(settings), &text, 0o600)
    }
}

/// The newest quarantined member whose life is older than `cancelled` and was not taken back itself. A cluster that is older than all plans counts.
fn find(settings: &Settings, store: &StoreFacts, cancelled: Generation) -> Result<Option<Intention>> {
    let fits = |id| store.life_of(id).is_none_or(|life| life.generation < cancelled && !life.cancelled);
    let all = quarantine::list(settings)?;
    for member in all.iter().rev().filter(|p| fs::parent(p) == settings.data_dir) {
        let beside = settings.wal_dir.as_ref().and_then(|wal| Some(wal.join(member.file_name()?)));
        let log = beside.clone().unwrap_or_else(|| member.join("wal"));
        // A member without its log is none that etcd could go on with.
        let Ok(found) = wal::inspect(&log) else { continue };
        if fits(found.cluster_id) && member.join("snap").join("db").is_file() {
            return Ok(Some(Intention { member: member.clone(), wal: beside, cluster_id: found.cluster_id }));
        }
    }
    Ok(None)
}

impl Bootstrap {
    /// Moves the data aside that was made for a cancelled plan, and puts back what was there before.
    pub(super) async fn put_back(&self, cancelled: Generation, facts: &Facts) -> StepResult {
        let settings = &self.settings;
        let Some(store) = facts.store.known() else { return Ok(Step::Lost) };
        match find(settings, store, cancelled)? {
            Some(intention) => {
                intention.write(settings)?;
                failpoint!("putback.intended");
                self.finish(&intention, facts).await?;
            }
            None => {
                self.say(&format!(
                    "no member of before plan {cancelled} was moved aside on this host; its data is moved aside, and it joins anew"
                ));
                self.quarantine_now()?;
            }
        }
        Ok(Step::Done)
    }

    async fn finish(&self, intention: &Intention, facts: &Facts) -> Result<()> {
        let settings = &self.settings;
        let here = match facts.data_dir.known() {
            Some(DataDir::Healthy(member)) => Some(member.cluster_id),
            _ => None,
        };
        if here != Some(intention.cluster_id)
            && let Some(aside) = data_dir::quarantine(settings, self.clock.now(), None)?
        {
            events::quarantined(&aside, Generation(0));
            self.say(&format!(
                "the member of the cancelled plan was moved to {}; nothing was deleted",
                aside.display()
            ));
        }
        failpoint!("putback.aside");
        self.rename_back(intention).await
    }

    /// Ends what an interrupted run began, before anything is looked at: a `member/` that is on its way back is not a lost disk.
    ///
    /// # Errors
    /// When it cannot be ended: then nothing may be decided.
    pub(super) async fn finish_put_back(&self) -> Result<()> {
        let settings = &self.settings;
        if Intention::read(settings)?.is_none() {
            return Ok(());
        }
        let Some(_held) = lock::try_take(&settings.state_dir)? else { return Err(lock::taken(&settings.state_dir)) };
        let Some(intention) = Intention::read(settings)? else { return Ok(()) };
        if settings.data_dir.join("member").symlink_metadata().is_ok() {
            if intention.member.symlink_metadata().is_ok() {
                // It was interrupted before the first rename; rule D3 says again whether it is still wanted.
                return fs::remove_file(&file(settings));
            }
            return self.rename_back(&intention).await;
        }
        self.rename_back(&intention).await
    }

    async fn rename_back(&self, intention: &Intention) -> Result<()> {
        let (settings, what) = (self.settings.clone(), intention.clone());
        blocking(move || rename_back(&settings, &what)).await?;
        failpoint!("putback.in_place");
        fs::remove_file(&file(&self.settings))?;
        self.say(&format!("the member of cluster {} was put back in place", intention.cluster_id));
        Ok(())
    }
}

/// The WAL first, then `member/`, whose rename is the commit point. Can be repeated.
fn rename_back(settings: &Settings, what: &Intention) -> Result<()> {
    if let (Some(from), Some(to)) = (&what.wal, &settings.wal_dir) {
        for (_, segment) in wal::segments(from)? {
            let name = segment.file_name().map(|n| n.to_owned()).unwrap_or_default();
            fs::rename_new(&segment, &to.join(name))?;
        }
    }
    let target = settings.data_dir.join("member");
    if what.member.symlink_metadata().is_err() {
        return if target.symlink_metadata().is_ok() { Ok(()) } else { Err(gone(&what.member)) };
    }
    fs::rename_new(&what.member, &target)
}

fn gone(member: &Path) -> Error {
    Error::new(Kind::Io, format!("{} was to be put back, and is gone", member.display()))
        .hint("look for it; without it, remove put-back.json in bootstrap.state_dir, and this host joins anew")
}

//! Rule D3: the data was made for a plan that was taken back, so the member of before is put back.
//!
//! What is put back is what was moved aside for that very plan, and never another quarantined member.
//!
//! Between the two renames there is no `member/`, which would look like a lost disk. So the intention is written down first, and nothing is looked
//! at before it is done.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::apply::{Step, StepResult};
use super::build::blocking;
use super::run::Bootstrap;
use super::{Settings, data_dir, events, lock, reset, staging};
use crate::core::decide::{Decision, decide};
use crate::core::facts::{Aside, DataDir, Facts, Memory};
use crate::core::model::Generation;
use crate::datadir::wal;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::failpoint;
use crate::sys::fs;

const FILE: &str = "put-back.json";

/// What is to be put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Intention {
    /// What was moved aside for the plan.
    aside: Aside,
    /// What was made for that plan is out of the way, a separate WAL included.
    cleared: bool,
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
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e).or_fail(Kind::Io, || format!("cannot read {}", path.display())),
        }
    }

    fn write(&self, settings: &Settings) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).or_fail(Kind::Internal, || "cannot write down what is put back")?;
        fs::create_dir_all(&settings.state_dir, 0o755)?;
        fs::write_atomic(&file(settings), &text, 0o600)
    }
}

/// What was moved aside for `plan` on this host and can still go on.
fn find(settings: &Settings, memory: &Memory, plan: Generation) -> Option<Aside> {
    let aside = memory.aside_for(plan)?;
    let member = settings.data_dir.join(&aside.name);
    let log = settings.wal_dir.as_ref().map_or_else(|| member.join("wal"), |wal| wal.join(&aside.name));
    // A member without its log is none that etcd could go on with.
    let found = wal::inspect(&log).ok()?;
    let same = (found.cluster_id, found.member_id) == (aside.cluster_id, aside.member_id);
    (same && member.join("snap").join("db").is_file()).then(|| aside.clone())
}

impl Bootstrap {
    /// Puts back what was moved aside for a cancelled plan; what was made for that plan is moved aside in turn.
    pub(super) async fn put_back(&self, cancelled: Generation, facts: &Facts) -> StepResult {
        let settings = &self.settings;
        let Some(memory) = facts.memory.known() else { return Ok(Step::Lost) };
        if !self.still_put_back(cancelled, facts).await? {
            return Ok(Step::Lost);
        }
        match find(settings, memory, cancelled) {
            Some(aside) => {
                let intention = Intention { aside, cleared: false };
                intention.write(settings)?;
                failpoint!("putback.intended");
                self.finish(intention).await?;
            }
            None => {
                let what = match facts.data_dir.known() {
                    Some(DataDir::Absent | DataDir::Empty) => "it was built and never put into place",
                    _ => "its data is moved aside",
                };
                self.say(&format!(
                    "no member was moved aside on this host for plan {cancelled}, which was taken back: {what}, and nothing older is put back. This                      host goes on as one without data"
                ));
                self.quarantine_now()?;
                self.memory.nothing_aside_for(cancelled)?;
            }
        }
        // Only now: until the data of before is back, what was built tells the next run that it has to be.
        staging::clean(settings)?;
        reset::forget(settings)?;
        Ok(Step::Done)
    }

    /// A host that made room for k3s or rke2 stood in the roll call as one without data: out of that first, and one more look.
    async fn still_put_back(&self, cancelled: Generation, facts: &Facts) -> Result<bool> {
        let void = facts.data_dir.known().is_some_and(DataDir::is_void);
        if !void || !self.settings.policy.managed_by.resets_one_node() {
            return Ok(true);
        }
        self.withdraw(facts).await?;
        let now = self.look(facts.waited_seconds, facts.attempts.clone(), None).await;
        Ok(decide(&now, &self.settings.policy).decision == Decision::PutBack { generation: cancelled })
    }

    async fn finish(&self, intention: Intention) -> Result<()> {
        let settings = &self.settings;
        let mut intention = intention;
        if !intention.cleared {
            if let Some(aside) = data_dir::quarantine(settings, self.clock.now())? {
                events::quarantined(&aside, intention.aside.generation);
                self.say(&format!(
                    "what was made for the cancelled plan was moved to {}; nothing was deleted",
                    aside.display()
                ));
            }
            intention.cleared = true;
            intention.write(settings)?;
        }
        failpoint!("putback.aside");
        self.rename_back(&intention.aside).await
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
        let there = |path: PathBuf| path.symlink_metadata().is_ok();
        if !intention.cleared
            && there(settings.data_dir.join("member"))
            && there(settings.data_dir.join(&intention.aside.name))
        {
            // It was interrupted before the first rename; rule D3 says again whether it is still wanted.
            return fs::remove_file(&file(settings));
        }
        self.finish(intention).await
    }

    async fn rename_back(&self, aside: &Aside) -> Result<()> {
        let (settings, what) = (self.settings.clone(), aside.clone());
        blocking(move || rename_back(&settings, &what)).await?;
        failpoint!("putback.in_place");
        self.memory.nothing_aside_for(aside.generation)?;
        fs::remove_file(&file(&self.settings))?;
        self.say(&format!("the member of cluster {} was put back in place", aside.cluster_id));
        Ok(())
    }
}

/// The WAL first, then `member/`, whose rename is the commit point. Can be repeated.
fn rename_back(settings: &Settings, what: &Aside) -> Result<()> {
    let (from, target) = (settings.data_dir.join(&what.name), settings.data_dir.join("member"));
    if let Some(wal) = &settings.wal_dir {
        for (_, segment) in wal::segments(&wal.join(&what.name))? {
            let name = segment.file_name().map(|n| n.to_owned()).unwrap_or_default();
            fs::rename_new(&segment, &wal.join(name))?;
        }
    }
    if from.symlink_metadata().is_err() {
        return if target.symlink_metadata().is_ok() { Ok(()) } else { Err(gone(&from)) };
    }
    fs::rename_new(&from, &target)
}

fn gone(member: &Path) -> Error {
    Error::new(Kind::Io, format!("{} was to be put back, and is gone", member.display()))
        .hint("look for it; without it, remove put-back.json in bootstrap.state_dir, and this host joins anew")
}

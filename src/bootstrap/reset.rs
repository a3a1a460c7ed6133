//! k3s and rke2 keep etcd's data in their own way, and only they can restore into it: the seed lets them reset the cluster, the others join it.
//!
//! The cluster id is not known before: their token decides it. So it is learnt after the reset, and recorded, create-only, with the voters that the
//! reset leaves: this host alone. What is under way stands in a note beside this host's memory, as a sealed staging directory does for other hosts:
//! with the nonce of the started mark, so that a run that was interrupted takes it up. Until the id is recorded, nothing has served from that data,
//! and the reset can be done again.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::apply::{Step, StepResult, past_the_mark};
use super::build::blocking;
use super::run::Bootstrap;
use super::{Settings, data_dir, events, lock};
use crate::catalog::records::Created;
use crate::catalog::voters;
use crate::core::decide::Decision;
use crate::core::facts::{CauseCode, DataDir, Facts, Observed, Staging};
use crate::core::model::{ClusterId, Generation, Nonce, Sha256};
use crate::core::plan::{MarkUse, Plan, PlannedSnapshot, Voter, VotersRecord};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::failpoint;
use crate::snapshot::fetch;
use crate::sys::{exec, fs, random};

const FILE: &str = "resetting.json";

/// A reset restores a snapshot of at most 8 GiB and starts etcd once; who needs longer hangs.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Lines of the program's output that a message quotes.
const QUOTED: usize = 3;

/// What is under way on the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Resetting {
    generation: Generation,
    plan_nonce: Nonce,
    /// The started mark that belongs to it.
    mark_nonce: Nonce,
    /// The program was started: what is in the data dir is its work, and perhaps half done.
    ran: bool,
    /// It has ended well, and made this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<ClusterId>,
}

impl Resetting {
    fn read(settings: &Settings) -> Result<Option<Resetting>> {
        let path = settings.state_dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .or_fail(Kind::Io, || format!("{} is damaged", path.display()))
                .map_err(|e| e.hint("a restore was under way on this host: move that file aside, and 'lifeboat quarantine add' what is in the data dir")),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e).or_fail(Kind::Io, || format!("cannot read {}", path.display())),
        }
    }

    fn write(&self, settings: &Settings) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).or_fail(Kind::Internal, || "cannot write down the reset")?;
        fs::create_dir_all(&settings.state_dir, 0o755)?;
        fs::write_atomic(&settings.state_dir.join(FILE), &text, 0o600)
    }
}

/// Forgets what was under way.
pub(super) fn forget(settings: &Settings) -> Result<()> {
    fs::remove_file(&settings.state_dir.join(FILE))
}

/// Forgets what was under way and has not begun.
pub(super) fn give_up(settings: &Settings) -> Result<()> {
    match Resetting::read(settings)? {
        Some(note) if !note.ran => forget(settings),
        _ => Ok(()),
    }
}

/// The note as the rules see it: as a complete staging directory. `None`: nothing is under way.
pub(super) fn observe(settings: &Settings) -> Option<Observed<Option<Staging>>> {
    match Resetting::read(settings) {
        Ok(None) => None,
        Ok(Some(r)) => {
            Some(Observed::Known(Some(Staging { generation: r.generation, nonce: r.mark_nonce, complete: true })))
        }
        Err(e) => Some(Observed::unknown(CauseCode::LocalIo, e.one_line())),
    }
}

/// Where k3s and rke2 keep snapshots: beside the data dir.
fn snapshot_file(settings: &Settings, snapshot: &PlannedSnapshot) -> PathBuf {
    fs::parent(&settings.data_dir).join("snapshots").join(format!("lifeboat-{}.db", snapshot.name))
}

fn digest(path: &Path) -> Result<Option<Sha256>> {
    let failed = || format!("cannot read {}", path.display());
    let mut file = match std::fs::File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.or_fail(Kind::Io, failed)?,
    };
    let mut digest = sha2::Sha256::new();
    let mut buffer = vec![0u8; 256 * 1024];
    loop {
        let n = file.read(&mut buffer).or_fail(Kind::Io, failed)?;
        match buffer.get(..n).filter(|piece| !piece.is_empty()) {
            Some(piece) => digest.update(piece),
            None => return Ok(Some(Sha256(digest.finalize().into()))),
        }
    }
}

impl Bootstrap {
    /// Sees that the snapshot lies, whole and verified, where k3s or rke2 can read it.
    pub(super) async fn fetch_for_reset(&self, planned: &PlannedSnapshot) -> Result<()> {
        let file = snapshot_file(&self.settings, planned);
        let path = file.clone();
        if blocking(move || digest(&path)).await? == Some(planned.raw_sha256) {
            return Ok(());
        }
        let manifest = self.snapshots.resolve(planned.name.as_str()).await?;
        if manifest.raw.sha256 != planned.raw_sha256 {
            let text = format!("the plan names other content for snapshot {} than its manifest does", planned.name);
            return Err(Error::new(Kind::Verification, text));
        }
        let dir = fs::parent(&file);
        fs::create_dir_all(dir, 0o700)?;
        let (free, needed) = (fs::free_space(dir)?, manifest.raw.size);
        if free < needed {
            let text = format!("{} has {free} bytes free, and {} needs {needed}", dir.display(), planned.name);
            return Err(Error::new(Kind::Io, text).hint(format!("make room on the file system of {}", dir.display())));
        }
        fs::remove_file(&file)?;
        fetch::get_to_file(&self.snapshots, &manifest, &file, |_| ()).await.map(drop)
    }

    /// The seed's part: the mark, then the reset.
    pub(super) async fn apply_reset(&self, plan: &Plan, facts: &Facts, decision: &Decision) -> StepResult {
        let settings = &self.settings;
        let snapshot = planned(plan)?;
        self.standing(facts, self.fetch_for_reset(snapshot)).await?;
        if !self.last_look(plan, facts, decision).await? {
            return Ok(Step::Lost);
        }
        let note = match Resetting::read(settings)? {
            Some(note) if note.plan_nonce == plan.nonce => note,
            _ => Resetting {
                generation: plan.generation,
                plan_nonce: plan.nonce,
                mark_nonce: random::nonce()?,
                ran: false,
                cluster_id: None,
            },
        };
        note.write(settings)?;
        failpoint!("bootstrap.before_mark");
        if !self.take_own_mark(plan.generation, MarkUse::Apply, note.mark_nonce).await? {
            forget(settings)?;
            return Ok(Step::Lost);
        }
        failpoint!("bootstrap.after_mark");
        self.reset(plan, note).await.map_err(past_the_mark)
    }

    /// Takes up what was interrupted after the mark.
    pub(super) async fn resume_reset(&self, plan: &Plan) -> StepResult {
        match Resetting::read(&self.settings)? {
            Some(note) if note.plan_nonce == plan.nonce => self.reset(plan, note).await.map_err(past_the_mark),
            _ => Ok(Step::Lost),
        }
    }

    async fn reset(&self, plan: &Plan, mut note: Resetting) -> Result<Step> {
        let settings = &self.settings;
        let snapshot = planned(plan)?;
        self.memory.started(&settings.cluster, plan.generation)?;
        self.memory.stopped(false)?;
        self.fetch_for_reset(snapshot).await?;
        self.make_room(plan.generation, None)?;
        failpoint!("bootstrap.quarantined");
        note.ran = true;
        note.write(settings)?;
        failpoint!("reset.noted");
        self.run_reset(&snapshot_file(settings, snapshot)).await?;
        failpoint!("reset.ran");
        note.cluster_id = Some(self.made(plan).await?);
        note.write(settings)?;
        failpoint!("reset.learnt");
        self.record_reset(plan, &note).await?;
        events::restore_successful(plan, snapshot);
        Ok(Step::Done)
    }

    async fn run_reset(&self, file: &Path) -> Result<()> {
        let settings = &self.settings;
        let program = settings.reset_program();
        let mut restore_path = OsString::from("--cluster-reset-restore-path=");
        restore_path.push(file);
        let args = [OsString::from("server"), OsString::from("--cluster-reset"), restore_path];
        self.say(&format!("{program} restores {} and resets the cluster to this host alone", file.display()));
        let out = exec::run(&program, &args, LIMIT).await?;
        let said = || out.stdout.lines().chain(out.stderr.lines()).filter(|line| !line.trim().is_empty());
        for line in said() {
            tracing::info!(program, "{line}");
        }
        if out.code == Some(0) {
            return Ok(());
        }
        let all: Vec<&str> = said().collect();
        let last = all.get(all.len().saturating_sub(QUOTED)..).unwrap_or_default().join("; ");
        let how = out.code.map_or("ended by a signal".to_owned(), |code| format!("ended with code {code}"));
        Err(Error::new(Kind::Io, format!("{program} server --cluster-reset {how}: {last}"))
            .hint("all that it said: journalctl -b -u lifeboat-bootstrap; it is tried again"))
    }

    /// The cluster that the reset has made: a healthy member of one that no life has had.
    async fn made(&self, plan: &Plan) -> Result<ClusterId> {
        let settings = &self.settings;
        let dir = settings.data_dir.display();
        let found = match data_dir::observe(settings).await {
            Observed::Known(DataDir::Healthy(member)) => member.cluster_id,
            Observed::Known(DataDir::InUse) => {
                return Err(Error::new(Kind::Io, format!("an etcd still runs on {dir} after the reset")));
            }
            other => {
                let text = format!("the reset has ended, and {dir} holds no healthy member: {other:?}");
                return Err(
                    Error::new(Kind::Io, text).hint("etcd.data_dir must be the directory that k3s or rke2 uses")
                );
            }
        };
        let (lives, _) = self.plans().history(plan.generation).await?;
        let memory = self.memory.observe();
        let before = memory.known().and_then(|m| m.aside_for(plan.generation)).map(|a| a.cluster_id);
        let known = lives.iter().any(|l| l.generation != plan.generation && l.cluster_id == found);
        if known || before == Some(found) {
            let text = format!("the reset has ended, and {dir} still belongs to cluster {found} of before");
            return Err(Error::new(Kind::Io, text)
                .hint("members of before could rejoin it; give the program another token, and it is tried again"));
        }
        Ok(found)
    }

    /// Tells all hosts which cluster the plan has become, and that this host is its only voter. Can be repeated.
    async fn record_reset(&self, plan: &Plan, note: &Resetting) -> Result<()> {
        let settings = &self.settings;
        let me = &settings.policy.node;
        let record = VotersRecord {
            number: 1,
            voters: vec![Voter { name: me.clone(), peer_urls: settings.policy.peer_urls().to_vec() }],
            confirmed: true,
            cluster_id: note.cluster_id,
            by: me.clone(),
            nonce: note.mark_nonce,
        };
        if voters::create(self.snapshots.records(), plan.generation, &record).await? == Created::Taken {
            let mut known = Vec::new();
            voters::read_on(self.snapshots.records(), plan.generation, &mut known).await?;
            if known.first().is_none_or(|first| first.cluster_id != note.cluster_id) {
                let text = format!("another host has recorded what plan {} has become", plan.generation);
                return Err(Error::new(Kind::Refused, text)
                    .hint("lifeboat quarantine add moves aside what this host has restored; it then joins"));
            }
        }
        failpoint!("reset.recorded");
        if let Some(request) = &plan.request {
            self.consume(request)?;
        }
        if let Some(snapshot) = &plan.snapshot {
            fs::remove_file(&snapshot_file(settings, snapshot))?;
        }
        forget(settings)
    }

    /// Ends or clears away what an interrupted run left behind, before anything is looked at: half a reset is not a member, and one that is done
    /// must be known to the others before it serves.
    ///
    /// # Errors
    /// When that cannot be done: then nothing may be decided.
    pub(super) async fn finish_reset(&self) -> Result<()> {
        let settings = &self.settings;
        let member_there = || settings.data_dir.join("member").symlink_metadata().is_ok();
        if !Resetting::read(settings)?.is_some_and(|note| note.cluster_id.is_some() || note.ran && member_there()) {
            return Ok(());
        }
        let Some(_held) = lock::try_take(&settings.state_dir)? else { return Err(lock::taken(&settings.state_dir)) };
        let Some(note) = Resetting::read(settings)? else { return Ok(()) };
        if note.cluster_id.is_some() {
            let plan = self.plans().plan(note.generation).await?;
            let Some(plan) = plan.filter(|p| p.nonce == note.plan_nonce) else {
                return Err(Error::new(Kind::Store, format!("plan {} was there before and is gone", note.generation)));
            };
            return self.record_reset(&plan, &note).await;
        }
        if member_there()
            && let Some(aside) = data_dir::quarantine(settings, self.clock.now())?
        {
            events::quarantined(&aside, note.generation);
            self.say(&format!("half a restore was moved to {}; it is begun again", aside.display()));
        }
        Ok(())
    }
}

fn planned(plan: &Plan) -> Result<&PlannedSnapshot> {
    let why = || Error::new(Kind::Refused, format!("plan {} resets a cluster and names no snapshot", plan.generation));
    plan.snapshot.as_ref().ok_or_else(why)
}

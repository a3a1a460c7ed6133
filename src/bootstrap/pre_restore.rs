//! What a requested restore replaces on the host that makes its plan goes to the store first, held: who asked for the wrong snapshot finds the data of
//! before from any host, and not only beside this one's data dir.
//!
//! It never stops a restore: the directory itself is moved aside and kept, whatever becomes of this.

use std::collections::BTreeMap;

use super::run::Bootstrap;
use crate::catalog::attached::Hold;
use crate::catalog::keys;
use crate::core::decide::Draft;
use crate::core::facts::{DataDir, Facts, LocalMember};
use crate::core::manifest::{Manifest, Origin};
use crate::core::model::{Compression, Generation};
use crate::core::plan::PlanCause;
use crate::core::record::RecordKind;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::snapshot::save::SaveRequest;
use crate::snapshot::ship;
use crate::snapshot::spool::{DEFAULT_RESERVE, Spool};
use crate::snapshot::stopped;
use crate::sys::random;

/// Begins the name of such a snapshot.
const PREFIX: &str = "pre-restore";
/// The tag that says for which request it was taken.
const REQUEST: &str = "request";

impl Bootstrap {
    /// Saves the local data, if there is any and it is whole, before a forced plan is made; once for each request and state of the data.
    pub(super) async fn save_before_restore(&self, draft: &Draft, facts: &Facts) {
        let Some(request) = draft.request.as_deref().filter(|_| draft.cause == PlanCause::Forced) else { return };
        let dir = self.settings.data_dir.display();
        let member = match facts.data_dir.known() {
            Some(DataDir::Healthy(member)) => member,
            Some(DataDir::Absent | DataDir::Empty) => return,
            _ => {
                return self.say(&format!(
                    "warning: {dir} is no whole member and is not saved to the store; it is kept on this host"
                ));
            }
        };
        match self.standing(facts, self.save_and_hold(request, member, facts)).await {
            Ok(saved) => self.say(&format!(
                "the data of {dir} is in the store, held, as {} (revision {}): lifeboat restore-once {} brings it back",
                saved.name, saved.revision, saved.name
            )),
            Err(e) => {
                let text = format!(
                    "the data of {dir} could not be saved to the store before the restore; it is kept on this host"
                );
                self.warn(PREFIX, &format!("{text}: {}", e.one_line()));
            }
        }
    }

    async fn save_and_hold(&self, request: &str, member: &LocalMember, facts: &Facts) -> Result<Manifest> {
        let settings = &self.settings;
        let (records, node) = (self.snapshots.records(), &settings.policy.node);
        let spool = Spool::open(&settings.state_dir.join("spool"), 0, DEFAULT_RESERVE)?;
        // What an interrupted run has left there is a whole snapshot, too.
        spool.clean(records)?;
        ship::ship_all(&self.snapshots, &spool, &|_, _| ()).await?;
        let of_now = |m: &Manifest| {
            m.name.as_str().starts_with(PREFIX)
                && &m.node == node
                && m.member_id == member.member_id
                && member.revision == Some(m.revision.0)
                && m.tags.get(REQUEST).is_some_and(|r| r == request)
        };
        let listing = self.snapshots.list().await?;
        let before = listing.committed().find(|c| of_now(&c.manifest)).map(|c| (c.manifest.clone(), c.held));
        let saved = match before {
            Some((saved, true)) => return Ok(saved),
            Some((saved, false)) => saved,
            None => self.save_to_store(request, member, facts, &spool).await?,
        };
        let hold = Hold {
            name: saved.name.clone(),
            reason: format!("what {node} held before request {request} was restored"),
            since: self.clock.now(),
            nonce: random::nonce()?,
        };
        records
            .renew(RecordKind::Hold, &keys::hold(&saved.name), saved.generation, &hold)
            .await
            .or_fail(Kind::Store, || format!("{} is in the store, and could not be held", saved.name))?;
        Ok(saved)
    }

    async fn save_to_store(
        &self,
        request: &str,
        member: &LocalMember,
        facts: &Facts,
        spool: &Spool,
    ) -> Result<Manifest> {
        let settings = &self.settings;
        let life = facts.store.known().and_then(|s| s.life_of(member.cluster_id));
        let wanted = SaveRequest {
            prefix: PREFIX.to_owned(),
            origin: Origin::OnDemand,
            compression: Compression::default(),
            ships: false,
            effort: crate::snapshot::effort::Effort::default(),
            generation: life.map_or(Generation(0), |l| l.generation),
            node: settings.policy.node.clone(),
            tags: BTreeMap::from([(REQUEST.to_owned(), request.to_owned())]),
            hash_check: false,
            newest_known: None,
        };
        self.say(&format!("the data of {} is saved to the store before it is replaced", settings.data_dir.display()));
        let (data, wal, records) = (&settings.data_dir, settings.wal_dir.as_deref(), self.snapshots.records());
        let saved = stopped::save_stopped(data, wal, records, &*self.clock, spool, &wanted).await?;
        crate::failpoint!("prerestore.saved");
        let entry =
            spool.list(records)?.entries.into_iter().find(|e| e.manifest.name == saved.manifest.name).ok_or_else(
                || Error::new(Kind::Io, format!("{} is gone from {}", saved.manifest.name, spool.dir().display())),
            )?;
        let shipped = ship::ship_one(&self.snapshots, spool, entry, &|_, _| ()).await?;
        crate::failpoint!("prerestore.shipped");
        spool.trim(records)?;
        Ok(shipped)
    }
}

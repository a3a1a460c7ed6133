//! What a requested restore replaces on the host that makes its plan goes to the store first, held: who asked for the wrong snapshot finds the data of
//! before from any host, and not only beside this one's data dir.
//!
//! It never stops a restore: the directory itself is moved aside and kept, whatever becomes of this.

use std::collections::BTreeMap;

use super::run::Bootstrap;
use crate::catalog::attached::Hold;
use crate::catalog::keys;
use crate::core::decide::Draft;
use crate::core::facts::{DataDir, Facts};
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
    /// Saves the local data, if there is any and it is whole, before a forced plan is made; once for each request.
    pub(super) async fn save_before_restore(&self, draft: &Draft, facts: &Facts) {
        let Some(request) = draft.request.as_deref().filter(|_| draft.cause == PlanCause::Forced) else { return };
        let dir = self.settings.data_dir.display();
        match facts.data_dir.known() {
            Some(DataDir::Healthy(_)) => {}
            Some(DataDir::Absent | DataDir::Empty) => return,
            _ => {
                self.say(&format!(
                    "warning: {dir} is no whole member and is not saved to the store; it is kept on this host"
                ));
                return;
            }
        }
        match self.saved_for(request).await {
            Ok(Some(before)) => self.say(&format!("the data of {dir} is in the store already, as {}", before.name)),
            Ok(None) => match self.standing(facts, self.save_and_hold(request, facts)).await {
                Ok(saved) => self.say(&format!(
                    "the data of {dir} is in the store now, held, as {} (revision {}): lifeboat restore-once {} brings it back",
                    saved.name, saved.revision, saved.name
                )),
                Err(e) => self.not_saved(&e),
            },
            Err(e) => self.not_saved(&e),
        }
    }

    fn not_saved(&self, e: &Error) {
        let dir = self.settings.data_dir.display();
        self.warn(
            PREFIX,
            &format!(
                "the data of {dir} could not be saved to the store before the restore; it is kept on this host: {}",
                e.one_line()
            ),
        );
    }

    /// The snapshot that an earlier run took for this request here.
    async fn saved_for(&self, request: &str) -> Result<Option<Manifest>> {
        let listing = self.snapshots.list().await?;
        let node = &self.settings.policy.node;
        let found = listing.committed().map(|c| &c.manifest).find(|m| {
            m.name.as_str().starts_with(PREFIX) && &m.node == node && m.tags.get(REQUEST).is_some_and(|r| r == request)
        });
        Ok(found.cloned())
    }

    async fn save_and_hold(&self, request: &str, facts: &Facts) -> Result<Manifest> {
        let settings = &self.settings;
        let spool = Spool::open(&settings.state_dir.join("spool"), 0, DEFAULT_RESERVE)?;
        let records = self.snapshots.records();
        spool.clean(records)?;
        let life = match (facts.data_dir.known(), facts.store.known()) {
            (Some(DataDir::Healthy(member)), Some(store)) => store.life_of(member.cluster_id),
            _ => None,
        };
        let wanted = SaveRequest {
            prefix: PREFIX.to_owned(),
            origin: Origin::OnDemand,
            compression: Compression::default(),
            generation: life.map_or(Generation(0), |l| l.generation),
            node: settings.policy.node.clone(),
            tags: BTreeMap::from([(REQUEST.to_owned(), request.to_owned())]),
            hash_check: false,
            newest_known: None,
        };
        self.say(&format!("the data of {} is saved to the store before it is replaced", settings.data_dir.display()));
        let clock = &*self.clock;
        let saved =
            stopped::save_stopped(&settings.data_dir, settings.wal_dir.as_deref(), records, clock, &spool, &wanted)
                .await?;
        crate::failpoint!("prerestore.saved");
        let entry =
            spool.list(records)?.entries.into_iter().find(|e| e.manifest.name == saved.manifest.name).ok_or_else(
                || Error::new(Kind::Io, format!("{} is gone from {}", saved.manifest.name, spool.dir().display())),
            )?;
        let shipped = ship::ship_one(&self.snapshots, &spool, entry, &|_, _| ()).await?;
        crate::failpoint!("prerestore.shipped");
        let hold = Hold {
            name: shipped.name.clone(),
            reason: format!("what {} held before request {request} was restored", settings.policy.node),
            since: clock.now(),
            nonce: random::nonce()?,
        };
        records
            .renew(RecordKind::Hold, &keys::hold(&shipped.name), shipped.generation, &hold)
            .await
            .or_fail(Kind::Store, || format!("{} is in the store, and could not be held", shipped.name))?;
        spool.trim(records)?;
        Ok(shipped)
    }
}

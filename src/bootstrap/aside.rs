//! Moving this host's member aside for a plan, so that the very same can be put back when the plan is taken back.
//!
//! It is noted first and moved after that, under the noted name. A crash between the two leaves a note of something that is still in place, and the
//! next run moves it under that name.

use super::run::Bootstrap;
use super::{data_dir, events};
use crate::core::facts::Aside;
use crate::core::model::{ClusterId, Generation, MemberId};
use crate::datadir::wal;
use crate::error::{Error, Kind, Result};

impl Bootstrap {
    /// Moves what is here aside for `plan`. `new_wal`: as for [`data_dir::quarantine_as`].
    pub(super) fn make_room(&self, plan: Generation, new_wal: Option<(ClusterId, MemberId)>) -> Result<()> {
        let settings = &self.settings;
        let fresh = data_dir::free_name(settings, self.clock.now());
        let member = settings.data_dir.join("member");
        let noted = match self.memory.observe() {
            crate::core::facts::Observed::Known(memory) => memory.aside_for(plan).cloned(),
            crate::core::facts::Observed::Unknown(cause) => return Err(Error::new(Kind::Io, cause.text)),
        };
        let name = match noted {
            // Half way: what is left belongs to it.
            Some(aside) if member.symlink_metadata().is_err() => aside.name,
            // What was moved aside for this plan is there, and this is something else that somebody has started since.
            Some(aside) if settings.data_dir.join(&aside.name).symlink_metadata().is_ok() => fresh,
            _ => {
                let log = settings.wal_dir.clone().unwrap_or_else(|| member.join("wal"));
                match wal::inspect(&log) {
                    Ok(found) if member.join("snap").join("db").is_file() => self.memory.moves_aside(&Aside {
                        generation: plan,
                        name: fresh.clone(),
                        cluster_id: found.cluster_id,
                        member_id: found.member_id,
                    })?,
                    // Damaged, or nothing at all: nothing that etcd could ever go on with.
                    _ => self.memory.nothing_aside_for(plan)?,
                }
                fresh
            }
        };
        crate::failpoint!("bootstrap.aside_noted");
        if let Some(aside) = data_dir::quarantine_as(settings, &name, new_wal)? {
            events::quarantined(&aside, plan);
            self.say(&format!("the old member was moved to {}; nothing was deleted", aside.display()));
        }
        Ok(())
    }
}

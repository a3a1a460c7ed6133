//! Changes of who votes in a life: recorded before they are made, confirmed when they were seen.
//!
//! A roll call counts a majority of every configuration since the last confirmed one. So what is recorded here in vain costs nothing but a longer
//! wait, and what is not recorded can cost acknowledged writes.

use super::plans::Plans;
use super::records::{Created, ReadError};
use crate::core::model::{Generation, NodeName, Nonce};
use crate::core::plan::{Voter, VotersRecord};
use crate::core::voters::same;

/// An unconfirmed change of another host that is older than this is taken for abandoned. It stays recorded, so that this is about liveness alone.
const ABANDONED_SECONDS: u64 = 60;

/// Whether a change may be made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// It is recorded: make it.
    Ready,
    /// Another change is under way, or another record was written first: look again later.
    Busy {
        /// Who makes it.
        by: NodeName,
    },
}

/// The voters of one life, as this host changes them.
pub struct Changes<'a> {
    /// The records.
    pub plans: &'a Plans,
    /// The life.
    pub generation: Generation,
    /// This host.
    pub me: &'a NodeName,
}

impl Changes<'_> {
    /// Records that the voters are about to become `target`; they are `actual` now.
    ///
    /// # Errors
    /// When the store fails, or a record there cannot be trusted.
    pub async fn announce(&self, target: &[Voter], actual: &[Voter], nonce: Nonce) -> Result<Announced, ReadError> {
        let recorded = self.plans.recorded_voters(self.generation).await?;
        let Some((last, age)) = recorded.last() else {
            let planned = self.plans.plan(self.generation).await?.map(|p| p.voters).unwrap_or_default();
            return if same(&planned, target) {
                Ok(Announced::Ready)
            } else {
                self.write(1, target, false, nonce).await
            };
        };
        if same(&last.voters, target) {
            return Ok(Announced::Ready);
        }
        let under_way = !last.confirmed && last.by != *self.me && !same(&last.voters, actual);
        if under_way && age.is_none_or(|age| age < ABANDONED_SECONDS) {
            return Ok(Announced::Busy { by: last.by.clone() });
        }
        self.write(last.number.saturating_add(1), target, false, nonce).await
    }

    /// Whether `target` is still what was recorded last; to be asked right before the change is made. Another host that took this one for dead may have
    /// recorded, made and confirmed a change since, and then what this one announced counts no more.
    ///
    /// # Errors
    /// As [`Changes::announce`].
    pub async fn is_last(&self, target: &[Voter]) -> Result<bool, ReadError> {
        match self.plans.recorded_voters(self.generation).await?.last() {
            Some((last, _)) => Ok(same(&last.voters, target)),
            None => Ok(self.plans.plan(self.generation).await?.is_some_and(|p| same(&p.voters, target))),
        }
    }

    /// Records that the voters were seen to be `now`.
    ///
    /// # Errors
    /// As [`Changes::announce`].
    pub async fn confirm(&self, now: &[Voter], nonce: Nonce) -> Result<(), ReadError> {
        let recorded = self.plans.recorded_voters(self.generation).await?;
        match recorded.last() {
            Some((last, _)) if !last.confirmed && same(&last.voters, now) => {
                self.write(last.number.saturating_add(1), now, true, nonce).await.map(drop)
            }
            // Confirmed already, or somebody has announced another change since, and confirms that one.
            _ => Ok(()),
        }
    }

    async fn write(
        &self,
        number: u64,
        voters: &[Voter],
        confirmed: bool,
        nonce: Nonce,
    ) -> Result<Announced, ReadError> {
        let record =
            VotersRecord { number, voters: voters.to_vec(), confirmed, cluster_id: None, by: self.me.clone(), nonce };
        match self.plans.record_voters(self.generation, &record).await? {
            Created::Ours => Ok(Announced::Ready),
            Created::Taken => {
                let theirs = self.plans.recorded_voters(self.generation).await?;
                let by = theirs.into_iter().find(|(r, _)| r.number == number).map(|(r, _)| r.by);
                Ok(Announced::Busy { by: by.unwrap_or_else(|| self.me.clone()) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::memory::MemoryStore;
    use crate::catalog::snapshots_tests::records;
    use crate::core::plan::PlanCause;
    use crate::core::plan::tests::{sample_plan, voters};

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    #[tokio::test]
    async fn a_change_is_recorded_once_and_before_it_another_must_be_seen() {
        let store = MemoryStore::new();
        let plans = Plans::new(records(store.clone(), "0123456789abcdef", "prod"));
        let plan = sample_plan(1, PlanCause::Init, voters("a b c d e"));
        plans.create(&plan).await.unwrap();
        let (a, b) = (node("a"), node("b"));
        let of = |me| Changes { plans: &plans, generation: Generation(1), me };
        let (five, four, three) = (voters("e d c b a"), voters("b c d e"), voters("c d e"));
        // The plan itself records the first configuration.
        assert_eq!(of(&a).announce(&five, &five, Nonce([2; 16])).await.unwrap(), Announced::Ready);
        assert!(!store.keys().iter().any(|k| k.contains("voters")));
        assert!(of(&a).is_last(&five).await.unwrap());
        assert!(!of(&a).is_last(&four).await.unwrap());
        assert_eq!(of(&a).announce(&four, &five, Nonce([3; 16])).await.unwrap(), Announced::Ready);
        // Taken up again after a crash: the same record.
        assert_eq!(of(&a).announce(&four, &five, Nonce([4; 16])).await.unwrap(), Announced::Ready);
        assert!(of(&a).is_last(&four).await.unwrap());
        assert_eq!(plans.recorded_voters(Generation(1)).await.unwrap().len(), 1);
        // Another one waits until it was made, and goes on when it was, confirmed or not.
        let busy = of(&b).announce(&three, &five, Nonce([5; 16])).await.unwrap();
        assert_eq!(busy, Announced::Busy { by: a.clone() });
        assert_eq!(of(&b).announce(&three, &four, Nonce([6; 16])).await.unwrap(), Announced::Ready);
        // Who wakes up after that must not make the change that it announced.
        assert!(!of(&a).is_last(&four).await.unwrap());
        assert!(of(&b).is_last(&three).await.unwrap());
        // What was not the last announcement is not confirmed: the last one still counts beside it.
        of(&a).confirm(&four, Nonce([7; 16])).await.unwrap();
        of(&b).confirm(&three, Nonce([8; 16])).await.unwrap();
        of(&b).confirm(&three, Nonce([9; 16])).await.unwrap();
        let all: Vec<(u64, bool)> =
            plans.recorded_voters(Generation(1)).await.unwrap().iter().map(|(r, _)| (r.number, r.confirmed)).collect();
        assert_eq!(all, [(1, false), (2, false), (3, true)]);
    }
}

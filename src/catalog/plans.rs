//! Plans, started marks, recorded voters and a person's words about them.
//!
//! Each is created once at its exact key and read by GET at its exact key. A listing only hints at where to begin; one record that cannot be read or
//! trusted makes the whole answer an error, never a shorter one.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};

use super::keys;
use super::records::{AT_ONCE, Created, ReadError, Records};
use super::voters;
use crate::core::facts::{Configuration, Life, PlanFacts};
use crate::core::model::{Generation, NodeName};
use crate::core::plan::{MarkUse, PersonsWord, Plan, PlanCause, StartedMark, VotersRecord};
use crate::core::record::{RecordKind, RecordProblem};
use crate::ports::StoreResult;

/// More lives than this are a defect or an attack, not a history.
const MOST_GENERATIONS: u64 = 100_000;

/// One life more must always be possible: a plan beyond this would leave no number for the next one.
const HIGHEST_GENERATION: u64 = u64::MAX / 2;

/// The plans of one cluster in one store.
#[derive(Clone)]
pub struct Plans {
    records: Records,
}

impl Plans {
    /// Plans beside these records.
    pub fn new(records: Records) -> Self {
        Plans { records }
    }

    fn problem(&self, key: &str, problem: RecordProblem) -> ReadError {
        ReadError::Problem { location: self.records.store().location(), key: key.to_owned(), problem }
    }

    /// The plan of `generation`; `None` only on the store's word that there is none.
    ///
    /// # Errors
    /// When the store fails, or what is there cannot be trusted.
    pub async fn plan(&self, generation: Generation) -> Result<Option<Plan>, ReadError> {
        let key = keys::plan(generation);
        let Some(read) = self.records.read::<Plan>(RecordKind::Plan, &key).await? else { return Ok(None) };
        if generation.0 > HIGHEST_GENERATION {
            let why = format!("generation {generation} is beyond any history");
            return Err(self.problem(&key, RecordProblem::BadBody(why)));
        }
        if read.body.generation != generation || read.generation != generation {
            let why = format!("it says generation {}", read.body.generation);
            return Err(self.problem(&key, RecordProblem::BadBody(why)));
        }
        let mut plan = read.body;
        if plan.reset {
            let first = keys::voters(generation, 1);
            let first = self.records.read::<VotersRecord>(RecordKind::Voters, &first).await?;
            let learnt =
                first.filter(|r| r.generation == generation && r.body.number == 1).and_then(|r| r.body.cluster_id);
            // Until then the id in the plan is nobody's.
            plan.cluster_id = learnt.unwrap_or(plan.cluster_id);
        }
        Ok(Some(plan))
    }

    /// All lives, oldest first, with all that belongs to the newest. `at_least`: the highest generation that this host remembers.
    ///
    /// # Errors
    /// As [`Plans::plan`].
    pub async fn history(&self, at_least: Generation) -> Result<(Vec<Life>, Option<PlanFacts>), ReadError> {
        let mut generations: BTreeSet<u64> = BTreeSet::new();
        for object in self.records.store().list(keys::PLAN_FOLDER).await? {
            let rest = object.key.strip_prefix(keys::PLAN_FOLDER).unwrap_or_default();
            let number = rest.split(['/', '.']).next().unwrap_or_default();
            if let Ok(number) = number.parse::<u64>()
                && number > 0
            {
                generations.insert(number);
            }
        }
        if at_least > Generation(0) {
            generations.insert(at_least.0);
        }
        if generations.len() as u64 > MOST_GENERATIONS {
            let why = "there are more plans than any cluster has lives".to_owned();
            return Err(self.problem(keys::PLAN_FOLDER, RecordProblem::BadBody(why)));
        }
        let listed: Vec<u64> = generations.iter().copied().collect();
        let listed = stream::iter(listed)
            .map(|number| async move { Ok::<_, ReadError>((number, self.life(Generation(number)).await?)) })
            .buffered(AT_ONCE);
        let mut read: BTreeMap<u64, Option<(Plan, bool)>> = listed.try_collect().await?;
        let mut lives = Vec::new();
        let mut newest = None;
        // A listing may lag behind: walk on from its end by GET until the store says that there is no further plan.
        let mut next = generations.pop_first().unwrap_or(1);
        loop {
            let generation = Generation(next);
            let found = match read.remove(&next) {
                Some(found) => found,
                None => self.life(generation).await?,
            };
            match found {
                Some((plan, cancelled)) => {
                    lives.push(Life {
                        generation,
                        cluster_id: plan.cluster_id,
                        cause: plan.cause,
                        cancelled,
                        request: plan.request.clone(),
                        may_live: Vec::new(),
                    });
                    newest = Some((plan, cancelled));
                    generations.remove(&(next + 1));
                    next += 1;
                }
                None => match generations.pop_first() {
                    Some(further) => next = further,
                    None => break,
                },
            }
            if lives.len() as u64 > MOST_GENERATIONS {
                let why = "there are more plans than any cluster has lives".to_owned();
                return Err(self.problem(&keys::plan(generation), RecordProblem::BadBody(why)));
            }
        }
        let Some((plan, cancelled)) = newest else { return Ok((lives, None)) };
        let generation = plan.generation;
        let lost = self.word(RecordKind::Lost, &keys::lost(generation)).await?.is_some();
        let marks = self.marks(&plan).await?;
        let voters = self.voters(generation).await?;
        self.may_live(&mut lives).await?;
        let age_seconds = self.age(&keys::plan(generation)).await?;
        Ok((lives, Some(PlanFacts { plan, cancelled, lost, marks, voters, age_seconds })))
    }

    /// The plan of a generation, and whether it was taken back.
    async fn life(&self, generation: Generation) -> Result<Option<(Plan, bool)>, ReadError> {
        let Some(plan) = self.plan(generation).await? else { return Ok(None) };
        let cancelled = self.cancelled(&plan).await?;
        Ok(Some((plan, cancelled)))
    }

    /// Whether nobody will ever serve in this plan's life because a person took it back. A reset is the seed's alone: it is over as soon as the seed's
    /// mark is taken away from it, also when the command that did it never came to record that.
    async fn cancelled(&self, plan: &Plan) -> Result<bool, ReadError> {
        let recorded = self.word(RecordKind::Cancelled, &keys::cancelled(plan.generation)).await?.is_some();
        if recorded || !plan.reset {
            return Ok(recorded);
        }
        let mark = self.mark(plan.generation, &plan.seed).await?;
        Ok(mark.is_some_and(|m| m.purpose == MarkUse::Barred))
    }

    /// Age of an object by the store's clock, if that tells the time.
    async fn age(&self, key: &str) -> Result<Option<u64>, ReadError> {
        let read = self.records.read::<Plan>(RecordKind::Plan, key).await?;
        let times = read.and_then(|r| r.modified.zip(r.store_time));
        Ok(times.map(|(written, now)| u64::try_from(now.duration_since(written).as_secs()).unwrap_or(0)))
    }

    /// A plan that was forced, or taken back, does not end the life before it: what that one recorded still counts.
    async fn may_live(&self, lives: &mut [Life]) -> Result<(), ReadError> {
        let ends_nothing = |l: &Life| l.cancelled || l.cause == PlanCause::Forced;
        let mut newer_ends_nothing = lives.last().is_some_and(ends_nothing);
        for life in lives.iter_mut().rev().skip(1) {
            if !newer_ends_nothing {
                break;
            }
            let generation = life.generation;
            let lost = self.word(RecordKind::Lost, &keys::lost(generation)).await?.is_some();
            if !life.cancelled
                && !lost
                && let Some(plan) = self.plan(generation).await?
            {
                life.may_live = Configuration::of_life(&plan, &self.voters(generation).await?);
            }
            newer_ends_nothing = ends_nothing(life);
        }
        Ok(())
    }

    async fn word(&self, kind: RecordKind, key: &str) -> Result<Option<PersonsWord>, ReadError> {
        Ok(self.records.read::<PersonsWord>(kind, key).await?.map(|r| r.body))
    }

    /// The started marks of a life: those of its voters by GET, and any others that a listing shows.
    async fn marks(&self, plan: &Plan) -> Result<Vec<StartedMark>, ReadError> {
        let folder = keys::started_folder(plan.generation);
        let mut slots: BTreeSet<NodeName> = plan.voters.iter().map(|v| v.name.clone()).collect();
        for object in self.records.store().list(&folder).await? {
            let name = object.key.strip_prefix(&folder).and_then(|f| f.strip_suffix(".json"));
            if let Some(Ok(name)) = name.map(NodeName::new) {
                slots.insert(name);
            }
        }
        let marks = stream::iter(slots)
            .map(|slot| async move { self.mark(plan.generation, &slot).await })
            .buffered(AT_ONCE)
            .try_filter_map(|mark| async move { Ok(mark) });
        marks.try_collect().await
    }

    /// The started mark of one slot in one life.
    ///
    /// # Errors
    /// As [`Plans::plan`].
    pub async fn mark(&self, generation: Generation, node: &NodeName) -> Result<Option<StartedMark>, ReadError> {
        let key = keys::started(generation, node);
        let Some(read) = self.records.read::<StartedMark>(RecordKind::Started, &key).await? else { return Ok(None) };
        if &read.body.node != node || read.body.generation != generation {
            let why = format!("it is the mark of {} in generation {}", read.body.node, read.body.generation);
            return Err(self.problem(&key, RecordProblem::BadBody(why)));
        }
        Ok(Some(read.body))
    }

    async fn voters(&self, generation: Generation) -> Result<Vec<VotersRecord>, ReadError> {
        Ok(self.recorded_voters(generation).await?.into_iter().map(|(record, _)| record).collect())
    }

    /// The recorded voters of a life, by number, each with its age in seconds by the store's clock, if the store tells the time.
    ///
    /// # Errors
    /// As [`Plans::plan`].
    pub async fn recorded_voters(&self, generation: Generation) -> Result<Vec<(VotersRecord, Option<u64>)>, ReadError> {
        voters::read_all(&self.records, generation).await
    }

    /// Records voters under the next number, unless somebody did before.
    ///
    /// # Errors
    /// As [`Plans::create`].
    pub async fn record_voters(&self, generation: Generation, record: &VotersRecord) -> StoreResult<Created> {
        voters::create(&self.records, generation, record).await
    }

    /// Writes a plan, unless its generation has one.
    ///
    /// # Errors
    /// When the store fails, or it cannot be found out whose plan is there.
    pub async fn create(&self, plan: &Plan) -> StoreResult<Created> {
        self.records.create(RecordKind::Plan, &keys::plan(plan.generation), plan.generation, plan).await
    }

    /// Takes a started mark, unless the slot has one in this life.
    ///
    /// # Errors
    /// As [`Plans::create`].
    pub async fn take_mark(&self, mark: &StartedMark) -> StoreResult<Created> {
        let key = keys::started(mark.generation, &mark.node);
        self.records.create(RecordKind::Started, &key, mark.generation, mark).await
    }

    /// Records that a person takes a plan back. `Created::Taken`: somebody did before.
    ///
    /// # Errors
    /// As [`Plans::create`].
    pub async fn cancel(&self, word: &PersonsWord) -> StoreResult<Created> {
        self.records.create(RecordKind::Cancelled, &keys::cancelled(word.generation), word.generation, word).await
    }

    /// Records that a person declares a life lost. `Created::Taken`: somebody did before.
    ///
    /// # Errors
    /// As [`Plans::create`].
    pub async fn declare_lost(&self, word: &PersonsWord) -> StoreResult<Created> {
        self.records.create(RecordKind::Lost, &keys::lost(word.generation), word.generation, word).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::memory::MemoryStore;
    use crate::catalog::snapshots_tests::records;
    use crate::core::model::Nonce;
    use crate::core::plan::Voter;
    use crate::core::plan::tests::sample_plan;

    /// After the last number there is no next life; a counter must not wrap to the first one either.
    #[tokio::test]
    async fn a_plan_of_the_last_generation_is_not_followed() {
        let store = MemoryStore::new();
        let plans = Plans::new(records(store.clone(), "0123456789abcdef", "prod"));
        for (generation, followed) in [(HIGHEST_GENERATION, true), (HIGHEST_GENERATION + 1, false), (u64::MAX, false)] {
            let plan = sample_plan(generation, PlanCause::Init, vec![]);
            plans.create(&plan).await.unwrap();
            let history = plans.history(Generation(0)).await;
            assert_eq!(history.is_ok(), followed, "{generation}: {history:?}");
            store.remove(&keys::plan(plan.generation));
        }
    }

    /// A plan that was forced, or taken back, says nothing about the life before it: what that one recorded still counts.
    #[tokio::test]
    async fn lives_behind_forced_and_cancelled_plans_keep_their_voters() {
        use PlanCause::{Forced, Init, Restore};
        let voter = |name: &str| Voter { name: NodeName::new(name).unwrap(), peer_urls: vec![] };
        for (causes, cancelled, lost, expected) in [
            (vec![Init, Restore], None, None, vec![]),
            (vec![Init, Forced], None, None, vec![1]),
            (vec![Init, Forced], Some(2), None, vec![1]),
            (vec![Init, Forced], None, Some(1), vec![]),
            (vec![Init, Forced, Forced], None, None, vec![1, 2]),
            (vec![Init, Forced, Forced], Some(2), None, vec![1]),
            (vec![Init, Forced, Restore], None, None, vec![]),
        ] {
            let plans = Plans::new(records(MemoryStore::new(), "0123456789abcdef", "prod"));
            for (i, cause) in causes.iter().enumerate() {
                let plan = sample_plan(i as u64 + 1, *cause, vec![voter("cp1"), voter("cp2")]);
                plans.create(&plan).await.unwrap();
            }
            let word = |generation| PersonsWord {
                generation: Generation(generation),
                by: NodeName::new("cp1").unwrap(),
                reason: String::new(),
                at: "2024-01-15T10:30:00Z".parse().unwrap(),
                nonce: Nonce([2; 16]),
            };
            if let Some(generation) = cancelled {
                plans.cancel(&word(generation)).await.unwrap();
            }
            if let Some(generation) = lost {
                plans.declare_lost(&word(generation)).await.unwrap();
            }
            let (lives, _) = plans.history(Generation(0)).await.unwrap();
            let may_live: Vec<u64> = lives.iter().filter(|l| !l.may_live.is_empty()).map(|l| l.generation.0).collect();
            assert_eq!(may_live, expected, "{causes:?}, taken back {cancelled:?}, lost {lost:?}");
        }
    }
}

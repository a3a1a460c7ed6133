//! Whether the store honours create-only writes, found out by a race.
//!
//! Some stores ignore the condition, and some pass every writer that comes alone and let several of those win that come together. So writers
//! race for fresh keys, and the store is believed when each key had one winner and refuses a latecomer. The answer is kept for the run.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::OnceCell;

use super::keys;
use super::records::Records;
use crate::core::model::{NodeName, Nonce};
use crate::error::{Error, Kind, Result};
use crate::ports::{PutMode, StoreError, StoreErrorKind, StoreResult};

/// Keys that are raced for. One race can be won honestly by luck.
const ROUNDS: usize = 4;
/// Writers of each race.
const WRITERS: usize = 8;
/// A round without any winner says nothing; so many of them in a row are a store that cannot be written to.
const MOST_EMPTY: usize = 3;
/// What a probe writes is as small as a record.
const MOST_BYTES: u64 = 1024;

/// What a race has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// Each key had one winner.
    Honoured,
    /// A key had several winners, or a latecomer replaced it.
    Ignored,
}

/// The answer, once it is known; shared by all clones of the records.
pub(super) type Cached = Arc<OnceCell<Conditions>>;

/// Whether the store of `records` honours create-only writes. The first answer holds as long as these records and their clones live.
/// `nonce` makes the keys of this race fresh.
///
/// # Errors
/// When the store fails, so that nothing was found out. The next call tries again.
pub async fn conditions(records: &Records, nonce: Nonce) -> StoreResult<Conditions> {
    records.conditions().get_or_try_init(|| race(records, nonce)).await.copied()
}

/// Whether `me` may write plans: anybody may where the store honours conditions, and elsewhere only the host that the configuration names.
///
/// # Errors
/// [`Kind::Refused`] with what to configure, or the failure of the store.
pub async fn may_write_plans(records: &Records, nonce: Nonce, me: &NodeName, seed: Option<&NodeName>) -> Result<()> {
    if seed == Some(me) || conditions(records, nonce).await? == Conditions::Honoured {
        return Ok(());
    }
    let location = records.store().location();
    Err(match seed {
        None => Error::new(
            Kind::Refused,
            format!("{location} ignores conditional writes (If-None-Match), so that two hosts could each write a plan: no plan is written"),
        )
        .hint("set bootstrap.seed to the same host on all hosts (only that one then writes plans), or use a store that honours them"),
        Some(seed) => Error::new(
            Kind::Refused,
            format!("{location} ignores conditional writes, so that only {seed} (bootstrap.seed) may write plans, and this host is {me}"),
        )
        .hint(format!("do the same on {seed}, or set bootstrap.seed to a host that runs, on all hosts")),
    })
}

/// All keys at once: SeaweedFS takes seconds over a key that many want, and a restore waits for this.
async fn race(records: &Records, nonce: Nonce) -> StoreResult<Conditions> {
    let mut failed = None;
    for outcome in join_all((0..ROUNDS).map(|round| one_round(records, nonce, round))).await {
        match outcome {
            Ok(Conditions::Honoured) => {}
            Ok(Conditions::Ignored) => return Ok(Conditions::Ignored),
            Err(e) => failed = Some(e),
        }
    }
    failed.map_or(Ok(Conditions::Honoured), Err)
}

/// Races until one of them has a winner.
async fn one_round(records: &Records, nonce: Nonce, round: usize) -> StoreResult<Conditions> {
    for empty in 0..=MOST_EMPTY {
        let key = format!("{}{nonce}-{round}-{empty}", keys::PROBE_FOLDER);
        let outcome = one_race(records, &key).await;
        // Keys may lack the permission to delete; what stays behind is a few bytes that nobody reads.
        let _ = records.store().delete(&key).await;
        if let Some(conditions) = outcome? {
            return Ok(conditions);
        }
    }
    let text = format!("{}: nobody won a race of create-only writes", records.store().location());
    Err(StoreError::new(StoreErrorKind::Unavailable, text))
}

/// `None`: no writer was told that it won, and nothing is known.
async fn one_race(records: &Records, key: &str) -> StoreResult<Option<Conditions>> {
    let store = records.store();
    let body = |writer: usize| Bytes::from(format!("probe {writer} of {key}"));
    let puts = (0..WRITERS).map(|writer| store.put(key, body(writer), PutMode::CreateOnly));
    let mut winners = Vec::new();
    let mut failed = None;
    for (writer, put) in join_all(puts).await.into_iter().enumerate() {
        match put {
            Ok(_) => winners.push(writer),
            Err(e) if matches!(e.kind, StoreErrorKind::AlreadyExists | StoreErrorKind::Unclear) => {}
            Err(e) => failed = Some(e),
        }
    }
    match (winners.as_slice(), failed) {
        ([_, _, ..], _) => return Ok(Some(Conditions::Ignored)),
        // A writer that was turned away may be the one that would have won as well.
        (_, Some(e)) => return Err(e),
        ([], None) => return Ok(None),
        ([_], None) => {}
    }
    let before = store.get(key, MOST_BYTES).await?.body;
    let won = winners.first().map(|w| body(*w));
    match store.put(key, body(WRITERS), PutMode::CreateOnly).await {
        Ok(_) => return Ok(Some(Conditions::Ignored)),
        Err(e) if matches!(e.kind, StoreErrorKind::AlreadyExists | StoreErrorKind::Unclear) => {}
        Err(e) => return Err(e),
    }
    let after = store.get(key, MOST_BYTES).await?.body;
    let kept = before == after && Some(before) == won;
    Ok(Some(if kept { Conditions::Honoured } else { Conditions::Ignored }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::memory::{Fault, MemoryStore};
    use crate::catalog::snapshots_tests::records;

    fn nonce(n: u8) -> Nonce {
        Nonce([n; 16])
    }

    #[tokio::test]
    async fn a_store_that_honours_conditions_is_raced_once_a_run() {
        let store = MemoryStore::new();
        let ours = records(store.clone(), "0123456789abcdef", "prod");
        assert_eq!(conditions(&ours, nonce(1)).await.unwrap(), Conditions::Honoured);
        assert!(store.keys().is_empty(), "{:?}", store.keys());
        // Its word is kept, also by a clone: a store that is away afterwards is not asked.
        store.on(|_, _| Some(Fault::Refuse(StoreErrorKind::Unreachable)));
        assert_eq!(conditions(&ours.clone(), nonce(2)).await.unwrap(), Conditions::Honoured);
    }

    #[tokio::test]
    async fn a_store_that_fails_is_no_store_that_ignores() {
        let store = MemoryStore::new();
        let ours = records(store.clone(), "0123456789abcdef", "prod");
        let me = NodeName::new("cp1").unwrap();
        for kind in [StoreErrorKind::Unreachable, StoreErrorKind::Denied, StoreErrorKind::Unavailable] {
            store.on(move |_, _| Some(Fault::Refuse(kind)));
            assert_eq!(conditions(&ours, nonce(1)).await.unwrap_err().kind, kind);
            let refused = may_write_plans(&ours, nonce(1), &me, None).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::Store, "{kind:?}");
            // The named host needs no race.
            may_write_plans(&ours, nonce(1), &me, Some(&me)).await.unwrap();
        }
        // Answers that are lost say nothing either way, and end.
        store.on(|operation, _| (operation == "put").then_some(Fault::LoseAnswer));
        assert_eq!(conditions(&ours, nonce(3)).await.unwrap_err().kind, StoreErrorKind::Unavailable);
        store.heal();
        assert_eq!(conditions(&ours, nonce(4)).await.unwrap(), Conditions::Honoured);
    }
}

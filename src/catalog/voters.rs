//! The recorded voters of a life, read on from where a reader has come, and written one by one.

use futures::future::join_all;

use super::keys;
use super::records::{AT_ONCE, Created, ReadError, Records};
use crate::core::model::Generation;
use crate::core::plan::VotersRecord;
use crate::core::record::{RecordKind, RecordProblem};
use crate::ports::StoreResult;

/// More changes of voters than this in one life are a defect, not a history.
const MOST_RECORDS: usize = 100_000;

/// Reads the records that follow `known`, and appends them. Each is read at its exact key.
///
/// # Errors
/// When the store fails, or a record cannot be trusted: then `known` holds what came before it.
pub async fn read_on(
    records: &Records,
    generation: Generation,
    known: &mut Vec<VotersRecord>,
) -> Result<(), ReadError> {
    let from = known.len();
    read_from(records, generation, from, |record, _| known.push(record)).await
}

/// All records of a life, by number, each with its age in seconds by the store's clock, if the store tells the time.
///
/// # Errors
/// As [`read_on`].
pub async fn read_all(
    records: &Records,
    generation: Generation,
) -> Result<Vec<(VotersRecord, Option<u64>)>, ReadError> {
    let mut all = Vec::new();
    read_from(records, generation, 0, |record, age| all.push((record, age))).await?;
    Ok(all)
}

/// Hands on the records behind the first `from` ones, in their order. Where they end is not known, so more and more of them are read at once: a life of
/// hosts that come and go has hundreds.
async fn read_from(
    records: &Records,
    generation: Generation,
    mut from: usize,
    mut found: impl FnMut(VotersRecord, Option<u64>),
) -> Result<(), ReadError> {
    let mut window = 1;
    loop {
        let each = (from..from + window).map(|known| read(records, generation, known));
        // The first that is missing is the end: what lies behind it is nobody's, whatever it is.
        for read in join_all(each).await {
            let Some((record, age)) = read? else { return Ok(()) };
            found(record, age);
        }
        from += window;
        window = (window * 2).min(AT_ONCE);
    }
}

/// The record that follows the first `known` ones.
async fn read(
    records: &Records,
    generation: Generation,
    known: usize,
) -> Result<Option<(VotersRecord, Option<u64>)>, ReadError> {
    let number = known as u64 + 1;
    let key = keys::voters(generation, number);
    let Some(read) = records.read::<VotersRecord>(RecordKind::Voters, &key).await? else { return Ok(None) };
    let problem = |why: String| ReadError::Problem {
        location: records.store().location(),
        key: key.clone(),
        problem: RecordProblem::BadBody(why),
    };
    if read.generation != generation || read.body.number != number {
        return Err(problem(format!("it is record {} of generation {}", read.body.number, read.generation)));
    }
    if known >= MOST_RECORDS {
        return Err(problem("there are more records than any cluster has changes".to_owned()));
    }
    let age = read.modified.zip(read.store_time).map(|(written, now)| now.duration_since(written).as_secs());
    Ok(Some((read.body, age.map(|age| u64::try_from(age).unwrap_or(0)))))
}

/// Writes a record, unless its number is taken.
///
/// # Errors
/// When the store fails, or it cannot be found out whose record is there.
pub async fn create(records: &Records, generation: Generation, record: &VotersRecord) -> StoreResult<Created> {
    records.create(RecordKind::Voters, &keys::voters(generation, record.number), generation, record).await
}

//! Writing the sign of life of a cluster. Reading it is in [`super::presence`].

use super::keys;
use super::presence::Heartbeat;
use super::records::Records;
use crate::core::record::RecordKind;
use crate::ports::StoreResult;

/// Renews the heartbeat. The caller has read linearizably from its own member a moment ago.
///
/// # Errors
/// When the store fails.
pub async fn beat(records: &Records, heartbeat: &Heartbeat) -> StoreResult<()> {
    records.renew(RecordKind::Heartbeat, keys::HEARTBEAT, heartbeat.generation, heartbeat).await
}

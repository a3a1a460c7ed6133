//! From etcd's stream to the thread that writes: bounded pieces, at a bounded rate, and no wait without a limit.
//!
//! It exists because that thread gets only the time that nothing else on the host wants, and meanwhile etcd keeps an old view of its
//! database open, which grows behind it.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::payload::{self, Part, Piece, Written};
use super::save::SaveRequest;
use super::spool::Spool;
use crate::core::model::SnapshotName;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::ports::{Etcd, EtcdError, EtcdErrorKind, EtcdResult, SnapshotStream};
use crate::sys::{background, pace::Pace};

/// Pieces between the stream and the compressor, at most. With [`PIECE`] it bounds the memory, and a slow disk slows etcd's stream down.
pub(super) const QUEUE: usize = 8;
/// etcd sends 32 KiB at a time; larger pieces save switching between threads.
pub(super) const PIECE: usize = 256 * 1024;
const PATIENCE: Patience = Patience { slow: Duration::from_secs(60), starved: Duration::from_secs(15 * 60) };

/// How long nothing may be written before a snapshot is said to be slow, and before it is given up.
#[derive(Clone, Copy)]
struct Patience {
    slow: Duration,
    starved: Duration,
}

/// Takes the snapshot, under its temporary name. `tell` is told how much of it is durable.
pub(super) async fn stream(
    etcd: &dyn Etcd,
    spool: &Spool,
    name: &SnapshotName,
    request: &SaveRequest,
    tell: watch::Sender<u64>,
) -> Result<(Written, Part)> {
    let format = request.format();
    let mut stream = etcd.snapshot().await?;
    let (pieces, queue) = mpsc::channel(QUEUE);
    let (part, file) = Part::create(spool, spool.part(name))?;
    let (spool, path, endpoint) = (spool.clone(), part.path().to_path_buf(), etcd.endpoint().to_owned());
    let writer =
        background::start("digest", move || payload::write(&spool, &path, file, format, &endpoint, queue, tell))?;
    let fed = feed(stream.as_mut(), pieces, etcd.endpoint(), Pace::new(request.effort.etcd_rate)).await;
    if let Ok(Fed::Starved) = fed {
        // Nor is its writer waited for.
        return Err(Error::new(
            Kind::Io,
            format!(
                "the snapshot was given up: nothing of it could be written for {} minutes",
                PATIENCE.starved.as_secs() / 60
            ),
        )
        .hint("the host has no processor time to spare (see node.scheduling), or its disk does not answer"));
    }
    let written = writer.await.or_fail(Kind::Internal, || "the writer of the snapshot panicked")?;
    match fed {
        Ok(Fed::Whole) => written.map(|written| (written, part)),
        // The writer knows why it stopped taking pieces.
        Ok(Fed::WriterStopped | Fed::Starved) => match written {
            Err(e) => Err(e),
            Ok(_) => Err(Error::new(Kind::Internal, "the writer of the snapshot stopped early")),
        },
        Err(e) => Err(e.into()),
    }
}

enum Fed {
    Whole,
    WriterStopped,
    Starved,
}

async fn feed(
    stream: &mut dyn SnapshotStream,
    pieces: mpsc::Sender<Piece>,
    endpoint: &str,
    mut pace: Pace,
) -> EtcdResult<Fed> {
    let mut gathered = bytes::BytesMut::new();
    let mut received = 0u64;
    while let Some(piece) = stream.next().await? {
        received = received.saturating_add(piece.len() as u64);
        pace.pass(piece.len()).await;
        gathered.extend_from_slice(&piece);
        while gathered.len() >= PIECE {
            if let Some(fed) = send(&pieces, gathered.split_to(PIECE).freeze(), PATIENCE).await {
                return Ok(fed);
            }
        }
    }
    if let Some(announced) = stream.announced()
        && announced != received
    {
        return Err(EtcdError {
            kind: EtcdErrorKind::BrokenStream,
            text: format!("etcd {endpoint}: the snapshot stream ended after {received} of {announced} bytes"),
            hint: Some("look into etcd's own log; the next run takes a new snapshot".into()),
        });
    }
    if let Some(fed) = send(&pieces, gathered.freeze(), PATIENCE).await {
        return Ok(fed);
    }
    Ok(send_one(&pieces, Piece::End, PATIENCE).await.unwrap_or(Fed::Whole))
}

async fn send(pieces: &mpsc::Sender<Piece>, piece: Bytes, patience: Patience) -> Option<Fed> {
    if piece.is_empty() { None } else { send_one(pieces, Piece::Data(piece), patience).await }
}

/// Why there is no use in going on, if there is none.
async fn send_one(pieces: &mpsc::Sender<Piece>, piece: Piece, patience: Patience) -> Option<Fed> {
    let mut room = std::pin::pin!(pieces.reserve());
    let permit = match tokio::time::timeout(patience.slow, &mut room).await {
        Ok(permit) => permit,
        Err(_) => {
            tracing::warn!(
                "the snapshot makes no progress: this host has no time to spare for it, or its disk does not answer (node.scheduling, etcd.rate_limit)"
            );
            match tokio::time::timeout(patience.starved.saturating_sub(patience.slow), room).await {
                Ok(permit) => permit,
                Err(_) => return Some(Fed::Starved),
            }
        }
    };
    match permit {
        Ok(permit) => permit.send(piece),
        Err(_) => return Some(Fed::WriterStopped),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_never_written_is_given_up() {
        let (pieces, mut queue) = mpsc::channel(1);
        let piece = || Bytes::from_static(b"piece");
        let short = Patience { slow: Duration::from_millis(1), starved: Duration::from_millis(20) };
        assert!(send(&pieces, piece(), short).await.is_none());
        assert!(matches!(send(&pieces, piece(), short).await, Some(Fed::Starved)));
        // One that is only slow goes on.
        let writer = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            queue.recv().await.map(|_| queue)
        });
        assert!(send(&pieces, piece(), Patience { slow: short.slow, ..PATIENCE }).await.is_none());
        drop(writer.await.unwrap());
        assert!(matches!(send(&pieces, piece(), short).await, Some(Fed::WriterStopped)));
    }
}

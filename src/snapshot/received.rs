//! The body of an object, received some blocks ahead of the thread that reads it.
//!
//! It exists because the body is asynchronous and its reader is not. Whoever stops reading ends the reception at once, and so does the end
//! of the runtime, which a thread that waits for the body would not survive.

use std::io::{self, Read};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes that are handed over at once.
const BLOCK: usize = 512 << 10;
/// Blocks that may wait. With [`BLOCK`] it bounds the memory.
const QUEUE: usize = 4;

/// What a body gives. It blocks: not for threads of the runtime.
pub(super) struct Received {
    blocks: Receiver<io::Result<Bytes>>,
    block: Bytes,
    ended: bool,
}

impl Received {
    /// Starts to receive, on the runtime of the caller.
    pub(super) fn new(body: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (tell, blocks) = channel(QUEUE);
        tokio::spawn(async move {
            let left = tell.clone();
            tokio::select! {
                () = receive(body, tell) => {}
                () = left.closed() => {}
            }
        });
        Received { blocks, block: Bytes::new(), ended: false }
    }
}

/// The end is an empty block. What was read before a failure is not given out: nobody may use it.
async fn receive(mut body: impl AsyncRead + Unpin, tell: Sender<io::Result<Bytes>>) {
    loop {
        let mut block = BytesMut::with_capacity(BLOCK);
        let outcome = loop {
            match body.read_buf(&mut block).await {
                Ok(0) => break Ok(()),
                Ok(_) if block.len() >= BLOCK => break Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        let last = outcome.is_err() || block.is_empty();
        if tell.send(outcome.map(|()| block.freeze())).await.is_err() || last {
            return;
        }
    }
}

impl Read for Received {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() {
            if self.ended {
                return Ok(0);
            }
            // A task that was ended has said neither that it failed nor that this is the end.
            let next = self
                .blocks
                .blocking_recv()
                .unwrap_or_else(|| Err(io::Error::other("the reception was ended before the body")));
            self.ended = !matches!(&next, Ok(block) if !block.is_empty());
            self.block = next?;
        }
        let n = self.block.len().min(buf.len());
        if let Some(to) = buf.get_mut(..n) {
            self.block.copy_to_slice(to);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;

    async fn read_whole(mut received: Received) -> (io::Result<usize>, Vec<u8>) {
        let work = move || {
            let mut out = Vec::new();
            (received.read_to_end(&mut out), out)
        };
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    #[tokio::test]
    async fn bodies_come_whole_and_failures_are_no_ends() {
        for len in [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 5] {
            let body: Vec<u8> = (0..len).map(|i| (i * 31) as u8).collect();
            let (read, out) = read_whole(Received::new(io::Cursor::new(body.clone()))).await;
            assert_eq!(read.unwrap(), len);
            assert!(out == body, "{len}");

            let broken = tokio_util::io::StreamReader::new(futures::stream::iter([
                Ok(Bytes::from(body)),
                Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            ]));
            let (read, _) = read_whole(Received::new(broken)).await;
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{len}");
        }
    }

    /// A store that says nothing any more holds nobody up.
    #[tokio::test]
    async fn who_stops_reading_ends_the_reception() {
        let (body, mut store) = tokio::io::duplex(64);
        drop(Received::new(body));
        let write = async { while store.write_all(&[0; 64]).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(30), write).await.unwrap();
    }
}

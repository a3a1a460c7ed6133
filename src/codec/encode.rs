//! The writing side: blocks that are compressed on threads of their own, and written in order by one more.
//!
//! Each block is a gzip member or zstd frame of its own; one behind the other they are one stream to every decoder. So the
//! compression, the disk and what comes before them work at the same time, and more threads can share one stream.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use bytes::Bytes;
use flate2::write::GzEncoder;

use crate::core::model::Compression;

/// The fastest level: on a control-plane host the CPU belongs to etcd, and while the stream lasts etcd keeps an old view
/// of its database open. Higher levels gain a tenth in size for twice the CPU time.
const GZIP_LEVEL: u32 = 1;

/// As fast as gzip's level 1 would like to be, and smaller.
const ZSTD_LEVEL: i32 = 1;

/// Bytes of input that make a block. zstd looks back farther than gzip, and loses more where a block begins.
fn block_len(compression: Compression) -> usize {
    match compression {
        Compression::Gzip | Compression::None => 1 << 20,
        Compression::Zstd => 2 << 20,
    }
}

/// Blocks that wait before and behind each thread. With [`block_len`] it bounds the memory.
const QUEUE: usize = 1;

type Block = Vec<Bytes>;
type Output = io::Result<Vec<u8>>;

/// One thread that compresses, and the way to it.
struct Lane {
    blocks: SyncSender<Block>,
    thread: JoinHandle<()>,
}

/// Compresses what is written to it, on threads of its own. Nothing is complete before [`Encoder::finish`] returned `Ok`;
/// one that is dropped before leaves its sink as it was then.
pub struct Encoder<W> {
    block: Block,
    len: usize,
    block_len: usize,
    lanes: Vec<Lane>,
    /// The lane of the next block.
    next: usize,
    written: u64,
    writer: JoinHandle<io::Result<W>>,
}

impl<W: Write + Send + 'static> Encoder<W> {
    /// Starts a stream of the given format over `sink`, compressed on `threads` threads. `at_start` is called first on each
    /// thread that compresses, `at_write` on the one that writes.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new(
        compression: Compression,
        threads: NonZeroUsize,
        sink: W,
        at_start: fn(),
        at_write: fn(),
    ) -> io::Result<Self> {
        let (mut lanes, mut outputs) = (Vec::new(), Vec::new());
        for number in 0..threads.get() {
            let (blocks, work) = sync_channel::<Block>(QUEUE);
            let (done, output) = sync_channel::<Output>(QUEUE);
            let thread = Builder::new().name(format!("compress-{number}")).spawn(move || {
                at_start();
                compress_all(compression, &work, &done);
            })?;
            lanes.push(Lane { blocks, thread });
            outputs.push(output);
        }
        let writer = Builder::new().name("write".to_owned()).spawn(move || {
            at_write();
            write_all(&outputs, sink)
        })?;
        Ok(Encoder { block: Vec::new(), len: 0, block_len: block_len(compression), lanes, next: 0, written: 0, writer })
    }

    /// Takes the next bytes. It waits while all threads are busy.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] when the writing has failed: [`Encoder::finish`] tells why.
    pub fn push(&mut self, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            let now = bytes.split_to(bytes.len().min(self.block_len.saturating_sub(self.len)));
            self.len = self.len.saturating_add(now.len());
            self.block.push(now);
            if self.len >= self.block_len {
                self.hand_on()?;
            }
        }
        Ok(())
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        self.len = 0;
        let Some(lane) = self.lanes.get(self.next) else { return Err(io::ErrorKind::BrokenPipe.into()) };
        lane.blocks.send(block).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.next = (self.next + 1) % self.lanes.len();
        self.written = self.written.saturating_add(1);
        Ok(())
    }

    /// Writes what is still held back and gives the sink back.
    ///
    /// # Errors
    /// The first failure of the sink or of a thread.
    pub fn finish(mut self) -> io::Result<W> {
        // An empty stream is one empty block; none would be no gzip file at all.
        let last = if self.len > 0 || self.written == 0 { self.hand_on() } else { Ok(()) };
        for lane in self.lanes {
            drop(lane.blocks);
            lane.thread.join().map_err(|_| io::Error::other("a thread that compresses panicked"))?;
        }
        let mut sink = self.writer.join().map_err(|_| io::Error::other("the thread that writes panicked"))??;
        last?;
        sink.flush()?;
        Ok(sink)
    }
}

/// The whole of something small, as one stream.
///
/// # Errors
/// When there is no memory for it.
pub fn encode(compression: Compression, raw: &[u8]) -> io::Result<Vec<u8>> {
    compress(compression, &[Bytes::copy_from_slice(raw)])
}

fn compress_all(compression: Compression, work: &Receiver<Block>, done: &SyncSender<Output>) {
    while let Ok(block) = work.recv() {
        let output = compress(compression, &block);
        let failed = output.is_err();
        if done.send(output).is_err() || failed {
            return;
        }
    }
}

fn compress(compression: Compression, block: &[Bytes]) -> Output {
    let len: usize = block.iter().map(Bytes::len).sum();
    let out = Vec::with_capacity(len / 2);
    match compression {
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
            block.iter().try_for_each(|piece| encoder.write_all(piece))?;
            encoder.finish()
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
            encoder.include_checksum(true)?;
            encoder.set_pledged_src_size(Some(len as u64))?;
            block.iter().try_for_each(|piece| encoder.write_all(piece))?;
            encoder.finish()
        }
        Compression::None => Ok(block.concat()),
    }
}

/// The lanes take turns, so that their outputs come in order.
fn write_all<W: Write>(outputs: &[Receiver<Output>], mut sink: W) -> io::Result<W> {
    for output in outputs.iter().cycle() {
        // The lane whose turn it is has ended: there are no more blocks.
        let Ok(block) = output.recv() else { return Ok(sink) };
        sink.write_all(&block?)?;
    }
    Ok(sink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Decoder;
    use std::io::Read;

    const ALL: [Compression; 3] = [Compression::Gzip, Compression::Zstd, Compression::None];

    struct Failing(usize);

    impl Write for Failing {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            match self.0.checked_sub(buf.len()) {
                Some(left) => self.0 = left,
                None => return Err(io::ErrorKind::StorageFull.into()),
            }
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn threads(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    #[test]
    fn blocks_of_any_number_of_threads_are_one_stream_in_order() {
        for len in [0usize, 1, (1 << 20) - 1, 1 << 20, (2 << 20) + 1, 9 << 20] {
            let raw: Vec<u8> = (0..len).map(|i| (i / 7 * 31) as u8).collect();
            for compression in ALL {
                for n in [1, 2, 3, 5] {
                    let mut encoder = Encoder::new(compression, threads(n), Vec::new(), || {}, || {}).unwrap();
                    for piece in raw.chunks(300_001) {
                        encoder.push(Bytes::copy_from_slice(piece)).unwrap();
                    }
                    let stored = encoder.finish().unwrap();
                    let mut out = Vec::new();
                    Decoder::new(compression, stored.as_slice(), len as u64).read_to_end(&mut out).unwrap();
                    assert!(out == raw, "{compression}, {len} bytes, {n} threads");
                }
            }
        }
    }

    #[test]
    fn a_sink_that_fails_ends_the_stream_with_its_own_error() {
        // SplitMix64, which does not compress.
        let mut state = 0u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
        })
        .take(2 << 20)
        .flat_map(u64::to_le_bytes)
        .collect();
        for compression in ALL {
            for n in [1, 3] {
                let mut encoder = Encoder::new(compression, threads(n), Failing(3 << 20), || {}, || {}).unwrap();
                let pushed = noise.chunks(1 << 19).try_for_each(|piece| encoder.push(Bytes::copy_from_slice(piece)));
                let failed = encoder.finish().map(drop).unwrap_err();
                if compression == Compression::None {
                    assert_eq!(pushed.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
                }
                assert_eq!(failed.kind(), io::ErrorKind::StorageFull, "{compression}, {n} threads");
            }
        }
    }

    #[test]
    fn one_that_is_given_up_ends_its_threads() {
        let (sign, gone) = sync_channel::<()>(0);
        struct Sink(#[allow(dead_code)] SyncSender<()>);
        impl Write for Sink {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                Ok(buf.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut encoder = Encoder::new(Compression::Gzip, threads(2), Sink(sign), || {}, || {}).unwrap();
        encoder.push(Bytes::from(vec![1; 5 << 20])).unwrap();
        drop(encoder);
        let ended = gone.recv_timeout(std::time::Duration::from_secs(30)).unwrap_err();
        assert_eq!(ended, std::sync::mpsc::RecvTimeoutError::Disconnected);
    }
}

//! The reading side, with a hard limit on what comes out.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use crate::core::model::Compression;

/// Bytes of compressed input held at a time.
const INPUT_BUFFER: usize = 128 * 1024;

enum Inner<R: Read> {
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<R>>>),
    Plain(BufReader<R>),
}

/// The decoders read ahead when they are made, and the source may be one that must not be read on the thread that sets it up.
enum State<R: Read> {
    Unread(Compression, BufReader<R>),
    Open(Inner<R>),
    /// Only while the state changes, or for ever when the decompressor could not be set up.
    Failed,
}

/// Decompresses a whole stream: concatenated gzip members and zstd frames are one stream, anything else behind them is an error.
///
/// It never gives out more than `limit` bytes: when the stream holds more, reading fails with
/// [`io::ErrorKind::InvalidData`] instead (a small object may decompress to terabytes).
pub struct Decoder<R: Read> {
    state: State<R>,
    limit: u64,
    left: u64,
}

impl<R: Read> Decoder<R> {
    /// Reads `source` as `compression`; `limit` in bytes of output. Nothing is read yet.
    pub fn new(compression: Compression, source: R, limit: u64) -> Self {
        let source = BufReader::with_capacity(INPUT_BUFFER, source);
        Decoder { state: State::Unread(compression, source), limit, left: limit }
    }

    /// The source, for looking at counters in it; `None` when the decompressor could not be set up.
    pub fn source(&self) -> Option<&R> {
        Some(match &self.state {
            State::Unread(_, r) => r.get_ref(),
            State::Open(Inner::Gzip(d)) => d.get_ref().get_ref(),
            State::Open(Inner::Zstd(d)) => d.get_ref().get_ref(),
            State::Open(Inner::Plain(r)) => r.get_ref(),
            State::Failed => return None,
        })
    }

    fn open(&mut self) -> io::Result<&mut Inner<R>> {
        if let State::Unread(..) = self.state
            && let State::Unread(compression, source) = std::mem::replace(&mut self.state, State::Failed)
        {
            self.state = State::Open(match compression {
                Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(source))),
                Compression::Zstd => Inner::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(source)?)),
                Compression::None => Inner::Plain(source),
            });
        }
        match &mut self.state {
            State::Open(inner) => Ok(inner),
            _ => Err(io::Error::other("the decompressor could not be set up")),
        }
    }

    fn read_inner(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.open()? {
            Inner::Gzip(d) => d.read(buf),
            Inner::Zstd(d) => d.read(buf),
            Inner::Plain(r) => r.read(buf),
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            // The end must be there now: only one byte more tells an exact fit from a bomb.
            let mut probe = [0u8; 1];
            return match self.read_inner(&mut probe)? {
                0 => Ok(0),
                _ => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("it decompresses to more than the {} bytes that it may hold", self.limit),
                )),
            };
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let n = match buf.get_mut(..room) {
            Some(room) => self.read_inner(room)?,
            None => 0,
        };
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{self, Encoder};

    const ALL: [Compression; 3] = [Compression::Gzip, Compression::Zstd, Compression::None];

    fn encode(compression: Compression, raw: &[u8]) -> Vec<u8> {
        codec::encode(compression, raw).unwrap()
    }

    fn decode(compression: Compression, stored: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decoder::new(compression, stored, limit).read_to_end(&mut out)?;
        Ok(out)
    }

    fn sample() -> Vec<u8> {
        (0..200_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()).collect()
    }

    #[test]
    fn the_source_is_not_touched_before_the_first_read() {
        struct Untouchable;
        impl Read for Untouchable {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("read too early")
            }
        }
        for compression in ALL {
            assert!(Decoder::new(compression, Untouchable, 1).source().is_some());
        }
    }

    #[test]
    fn concatenated_streams_are_one() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut two = encode(compression, b"one ");
            two.extend(encode(compression, b"two"));
            assert_eq!(decode(compression, &two, 100).unwrap(), b"one two", "{compression}");
        }
    }

    #[test]
    fn what_follows_the_stream_or_is_missing_from_it_is_an_error() {
        let raw = sample();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let stored = encode(compression, &raw);
            for garbage in [&b"\0"[..], b"garbage", b"\0\0\0\0\0\0\0\0\0\0\0\0", b"\x1f"] {
                let mut longer = stored.clone();
                longer.extend_from_slice(garbage);
                assert!(decode(compression, &longer, u64::MAX).is_err(), "{compression}: {garbage:?} was accepted");
            }
            for cut in [0, 1, 5, 9, 12, stored.len() / 2, stored.len() - 1] {
                assert!(decode(compression, &stored[..cut], u64::MAX).is_err(), "{compression}: cut at {cut}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_never_silent() {
        let raw = sample();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let stored = encode(compression, &raw);
            // Some header bytes (time, name of the system) carry no content.
            for at in (0..stored.len()).step_by(997) {
                let mut bad = stored.clone();
                bad[at] ^= 0x10;
                if let Ok(out) = decode(compression, &bad, raw.len() as u64) {
                    assert!(out == raw, "{compression}: byte {at} changed the content unnoticed");
                }
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let raw = vec![0u8; 64 << 20];
        for compression in ALL {
            let stored = encode(compression, &raw);
            let mut decoder = Decoder::new(compression, stored.as_slice(), 1000);
            let mut out = Vec::new();
            let failed = decoder.read_to_end(&mut out).unwrap_err();
            assert_eq!(failed.kind(), io::ErrorKind::InvalidData, "{compression}");
            assert_eq!(out.len(), 1000, "{compression}: more than the limit came out");
            assert_eq!(
                decode(compression, &stored, raw.len() as u64).unwrap().len(),
                raw.len(),
                "{compression}: exact fit"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_goes_in_comes_out(raw in proptest::collection::vec(any::<u8>(), 0..20_000), pieces in 1usize..2000) {
            for compression in ALL {
                let mut encoder = Encoder::new(compression, NonZeroUsize::MIN, Vec::new(), || {}, || {}).unwrap();
                for piece in raw.chunks(pieces) {
                    encoder.push(Bytes::copy_from_slice(piece)).unwrap();
                }
                let stored = encoder.finish().unwrap();
                prop_assert_eq!(decode(compression, &stored, raw.len() as u64).unwrap(), raw.clone());
            }
        }

        #[test]
        fn garbage_never_panics(stored in proptest::collection::vec(any::<u8>(), 0..500)) {
            for compression in ALL {
                let _ = decode(compression, &stored, 10_000);
            }
        }
    }
}

//! The writing side.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use crate::core::model::Compression;

/// The fastest level: on a control-plane host the CPU belongs to etcd, and while the stream lasts etcd keeps an old view
/// of its database open. Higher levels gain a tenth in size for twice the CPU time.
const GZIP_LEVEL: u32 = 1;

/// As fast as gzip's level 1 would like to be, and smaller.
const ZSTD_LEVEL: i32 = 1;

/// Compresses what is written to it. Nothing is complete before [`Encoder::finish`] returned `Ok`.
pub enum Encoder<W: Write> {
    /// RFC 1952.
    Gzip(GzEncoder<W>),
    /// Zstandard, with a checksum in each frame.
    Zstd(zstd::stream::write::Encoder<'static, W>),
    /// As it is.
    Plain(W),
}

impl<W: Write> Encoder<W> {
    /// Starts a stream of the given format over `sink`.
    ///
    /// # Errors
    /// When the compressor cannot be set up.
    pub fn new(compression: Compression, sink: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::Gzip => Encoder::Gzip(GzEncoder::new(sink, flate2::Compression::new(GZIP_LEVEL))),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(sink, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Encoder::Zstd(encoder)
            }
            Compression::None => Encoder::Plain(sink),
        })
    }

    /// Writes what is still held back and gives the sink back.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(self) -> io::Result<W> {
        let mut sink = match self {
            Encoder::Gzip(e) => e.finish()?,
            Encoder::Zstd(e) => e.finish()?,
            Encoder::Plain(sink) => sink,
        };
        sink.flush()?;
        Ok(sink)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::Gzip(e) => e.write(buf),
            Encoder::Zstd(e) => e.write(buf),
            Encoder::Plain(sink) => sink.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::Gzip(e) => e.flush(),
            Encoder::Zstd(e) => e.flush(),
            Encoder::Plain(sink) => sink.flush(),
        }
    }
}

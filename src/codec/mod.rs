//! Stream formats of a payload: gzip, zstd, or none, written and read in constant memory.
//!
//! It exists so that nothing else knows a compression library. It opens no file, and a decoder never gives out more than
//! the limit that its caller sets.

mod decode;
mod detect;
mod encode;
mod read_ahead;

pub use decode::Decoder;
pub use detect::{Unrecognized, detect};
pub use encode::Encoder;
pub use read_ahead::ReadAhead;

/// `raw` as one stream.
#[cfg(test)]
pub(crate) fn encoded(compression: crate::core::model::Compression, raw: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(compression, std::num::NonZeroUsize::MIN, Vec::new(), || {}).unwrap();
    encoder.push(bytes::Bytes::copy_from_slice(raw)).unwrap();
    encoder.finish().unwrap()
}

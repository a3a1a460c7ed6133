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
pub use encode::{Encoder, encode};
pub use read_ahead::ReadAhead;

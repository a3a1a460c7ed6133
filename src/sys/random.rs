//! The only source of randomness.

use crate::core::model::Nonce;
use crate::error::{Kind, Result, ResultExt};

/// A fresh random nonce from the kernel.
///
/// # Errors
/// When the kernel has no random source to offer.
pub fn nonce() -> Result<Nonce> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).or_fail(Kind::Internal, || "the kernel's random source failed")?;
    Ok(Nonce(bytes))
}

/// A fresh number in `0..1`, for jitter of retries.
///
/// Falls back to 0.5 when the kernel has no random source: jitter is not worth a failure.
pub fn fraction() -> f64 {
    let mut bytes = [0u8; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}

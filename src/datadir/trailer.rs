//! Splits a snapshot stream into the bolt image and the SHA-256 that etcd puts behind it, digesting on the way.
//!
//! A snapshot that `etcdctl snapshot save` writes is the image, a multiple of 512 bytes, and 32 bytes of digest; a copied
//! `member/snap/db` has no digest (`etcdutl/snapshot/v3_snapshot.go`, `hasChecksum`).

use sha2::{Digest, Sha256 as Hasher};

use crate::core::model::Sha256;
use crate::error::Result;

/// Bytes of the digest.
pub const TRAILER_LEN: usize = 32;

/// Whether a snapshot of this many bytes ends with a digest.
pub fn has_trailer(len: u64) -> bool {
    len % 512 == TRAILER_LEN as u64
}

/// Holds back the last 32 bytes of a stream until it is known what they are.
#[derive(Default)]
pub struct TrailerSplitter {
    held: Vec<u8>,
    hasher: Hasher,
    image_len: u64,
}

/// What a whole stream was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamDigest {
    /// Bytes of the bolt image.
    pub image_len: u64,
    /// SHA-256 of the image, computed.
    pub image_sha256: Sha256,
    /// SHA-256 of the image, as the stream itself says at its end; `None` when it says nothing.
    pub trailer: Option<Sha256>,
    /// Bytes of the stream, trailer included.
    pub file_len: u64,
    /// SHA-256 of the stream, trailer included.
    pub file_sha256: Sha256,
}

impl StreamDigest {
    /// Whether the stream ends with a digest, and with the right one.
    pub fn is_sound(&self) -> bool {
        self.trailer == Some(self.image_sha256)
    }
}

impl TrailerSplitter {
    /// A splitter of nothing yet.
    pub fn new() -> Self {
        TrailerSplitter::default()
    }

    /// Bytes of the image handed on so far.
    pub fn image_len(&self) -> u64 {
        self.image_len
    }

    /// Takes the next bytes of the stream and hands on, in at most two pieces, those that belong to the image for sure.
    ///
    /// # Errors
    /// Those of `image`.
    pub fn push(&mut self, bytes: &[u8], image: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let sure = (self.held.len() + bytes.len()).saturating_sub(TRAILER_LEN);
        let old: Vec<u8> = self.held.drain(..sure.min(self.held.len())).collect();
        let (new, held) = bytes.split_at(sure.saturating_sub(old.len()).min(bytes.len()));
        self.held.extend_from_slice(held);
        for piece in [old.as_slice(), new] {
            self.hand_on(piece, image)?;
        }
        Ok(())
    }

    fn hand_on(&mut self, piece: &[u8], image: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        self.hasher.update(piece);
        self.image_len += piece.len() as u64;
        image(piece)
    }

    /// Ends the stream. When its length says that there is no trailer, the bytes held back are handed on as well.
    ///
    /// # Errors
    /// Those of `image`.
    pub fn finish(mut self, image: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<StreamDigest> {
        let held = std::mem::take(&mut self.held);
        let file_len = self.image_len + held.len() as u64;
        let trailer: Option<[u8; TRAILER_LEN]> = held.as_slice().try_into().ok().filter(|_| has_trailer(file_len));
        if trailer.is_none() {
            self.hand_on(&held, image)?;
        }
        let mut whole = self.hasher.clone();
        whole.update(trailer.as_ref().map(|t| t.as_slice()).unwrap_or_default());
        Ok(StreamDigest {
            image_len: self.image_len,
            image_sha256: Sha256(self.hasher.finalize().into()),
            trailer: trailer.map(Sha256),
            file_len,
            file_sha256: Sha256(whole.finalize().into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sha(bytes: &[u8]) -> Sha256 {
        Sha256(Hasher::digest(bytes).into())
    }

    proptest! {
        /// However the stream is cut into pieces, image and trailer come out the same.
        #[test]
        fn pieces_do_not_matter(
            len in prop_oneof![0usize..200, Just(512usize), Just(1024), Just(32), Just(544), Just(1056)],
            cuts in prop::collection::vec(0usize..80, 0..60),
        ) {
            let stream: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
            let mut splitter = TrailerSplitter::new();
            let mut image = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                rest = later;
                splitter.push(now, &mut |b| { image.extend_from_slice(b); Ok(()) }).unwrap();
            }
            splitter.push(rest, &mut |b| { image.extend_from_slice(b); Ok(()) }).unwrap();
            let digest = splitter.finish(&mut |b| { image.extend_from_slice(b); Ok(()) }).unwrap();

            let image_len = if has_trailer(len as u64) { len - 32 } else { len };
            prop_assert_eq!(image.as_slice(), &stream[..image_len]);
            prop_assert_eq!(digest.image_len, image_len as u64);
            prop_assert_eq!(digest.image_sha256, sha(&image));
            prop_assert_eq!(digest.file_sha256, sha(&stream));
            prop_assert_eq!(digest.file_len, len as u64);
            prop_assert_eq!(digest.trailer.map(|t| t.0.to_vec()), has_trailer(len as u64).then(|| stream[image_len..].to_vec()));
            prop_assert!(!digest.is_sound());
        }
    }
}

//! etcd appends the sha256 of its database to the stream: 32 bytes whose place is known only when the stream ends.

use sha2::{Digest, Sha256};

use crate::core::manifest::TRAILER_BYTES;

const TRAILER: usize = TRAILER_BYTES as usize;

/// Splits a stream, in pieces of any size, into the database and the digest behind it, and computes the digest.
#[derive(Default)]
pub(crate) struct Splitter {
    held: Vec<u8>,
    digest: Sha256,
    image: u64,
}

impl Splitter {
    /// Takes the next piece; `image` gets the bytes that certainly belong to the database.
    pub(crate) fn push<E>(&mut self, piece: &[u8], mut image: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut pass = |bytes: &[u8], digest: &mut Sha256, total: &mut u64| {
            digest.update(bytes);
            *total = total.saturating_add(bytes.len() as u64);
            image(bytes)
        };
        let surplus = self.held.len().saturating_add(piece.len()).saturating_sub(TRAILER);
        let from_held: Vec<u8> = self.held.drain(..surplus.min(self.held.len())).collect();
        let (now, later) = piece.split_at(surplus - from_held.len());
        if !from_held.is_empty() {
            pass(&from_held, &mut self.digest, &mut self.image)?;
        }
        if !now.is_empty() {
            pass(now, &mut self.digest, &mut self.image)?;
        }
        self.held.extend_from_slice(later);
        Ok(())
    }

    /// Bytes of the database.
    ///
    /// # Errors
    /// In words: what is wrong with the stream.
    pub(crate) fn finish(self) -> Result<u64, &'static str> {
        if self.held.len() < TRAILER || self.image == 0 || self.image % 512 != 0 {
            return Err("it does not end with etcd's digest: the stream was cut");
        }
        if self.digest.finalize().as_slice() != self.held.as_slice() {
            return Err("its content does not match the digest that etcd appended");
        }
        Ok(self.image)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stream: &[u8], pieces: usize) -> (Vec<u8>, Result<u64, &'static str>) {
        let mut splitter = Splitter::default();
        let mut image = Vec::new();
        for piece in stream.chunks(pieces.max(1)) {
            splitter
                .push(piece, |bytes| {
                    image.extend_from_slice(bytes);
                    Ok::<(), ()>(())
                })
                .unwrap();
        }
        (image, splitter.finish())
    }

    proptest! {
        #[test]
        fn any_cut_into_pieces_gives_the_same(blocks in 1usize..6, pieces in 1usize..1500, fill: u8) {
            let image = vec![fill; blocks * 512];
            let mut stream = image.clone();
            stream.extend_from_slice(&Sha256::digest(&image));
            let (seen, result) = run(&stream, pieces);
            prop_assert_eq!(result, Ok(image.len() as u64));
            prop_assert_eq!(seen, image);
        }

        #[test]
        fn any_truncation_and_any_flipped_bit_is_found(at in 0usize..1056, pieces in 1usize..100) {
            let image = [9u8; 1024];
            let mut stream = image.to_vec();
            stream.extend_from_slice(&Sha256::digest(image));
            prop_assert!(run(&stream[..at], pieces).1.is_err());
            stream[at] ^= 1;
            prop_assert!(run(&stream, pieces).1.is_err());
        }
    }
}

//! A reader on a thread of its own, some blocks ahead of whoever reads from it.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Builder;

/// Bytes that are handed over at once.
const BLOCK: usize = 512 << 10;
/// Blocks that may wait. With [`BLOCK`] it bounds the memory.
const QUEUE: usize = 4;

/// What the source gives, read ahead. Dropping it ends the thread at the latest when the source gives its next bytes.
pub struct ReadAhead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    at: usize,
    ended: bool,
}

impl ReadAhead {
    /// Starts to read. `name` is the thread's; `at_start` is called first on it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(name: &str, source: impl Read + Send + 'static, at_start: fn()) -> io::Result<Self> {
        let (blocks, read) = sync_channel(QUEUE);
        let mut source = source;
        Builder::new().name(name.to_owned()).spawn(move || {
            at_start();
            loop {
                let block = next_block(&mut source);
                let last = !matches!(&block, Ok(b) if !b.is_empty());
                if blocks.send(block).is_err() || last {
                    return;
                }
            }
        })?;
        Ok(ReadAhead { blocks: read, block: Vec::new(), at: 0, ended: false })
    }
}

/// A full block, or what is left; empty at the end. What was read before a failure is not given out: nobody may use it.
fn next_block(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut block = vec![0; BLOCK];
    let mut len = 0;
    while let Some(room) = block.get_mut(len..).filter(|r| !r.is_empty()) {
        match source.read(room) {
            Ok(0) => break,
            Ok(n) => len = len.saturating_add(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    block.truncate(len);
    Ok(block)
}

impl Read for ReadAhead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.block.len() {
            if self.ended {
                return Ok(0);
            }
            // A thread that has panicked has said neither that it failed nor that this is the end.
            let next =
                self.blocks.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that reads ahead ended")));
            match next {
                Ok(block) => {
                    self.ended = block.is_empty();
                    (self.block, self.at) = (block, 0);
                }
                Err(e) => {
                    self.ended = true;
                    return Err(e);
                }
            }
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Slow<'a>(&'a [u8], Option<io::ErrorKind>);

    impl Read for Slow<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(buf.len()).min(70_001);
            if let (0, Some(kind)) = (n, self.1) {
                return Err(kind.into());
            }
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn bytes(len: usize) -> &'static [u8] {
        (0..len).map(|i| (i * 7 % 251) as u8).collect::<Vec<_>>().leak()
    }

    #[test]
    fn it_gives_what_the_source_gives() {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 5] {
            let raw = bytes(len);
            let mut out = Vec::new();
            ReadAhead::new("test", Slow(raw, None), || {}).unwrap().read_to_end(&mut out).unwrap();
            assert!(out == raw, "{len} bytes");
        }
    }

    #[test]
    fn a_failure_of_the_source_comes_through_and_nothing_after_it() {
        let mut reader = ReadAhead::new("test", Slow(bytes(3 * BLOCK), Some(io::ErrorKind::TimedOut)), || {}).unwrap();
        let mut out = Vec::new();
        assert_eq!(reader.read_to_end(&mut out).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn a_source_that_panics_is_a_failure_and_no_end() {
        struct Panics;
        impl Read for Panics {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("on purpose")
            }
        }
        let mut reader = ReadAhead::new("test", Panics, || {}).unwrap();
        assert!(reader.read(&mut [0; 8]).is_err());
    }
}

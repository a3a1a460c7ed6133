//! Positioned reads of an image: from a file, or from memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where the bytes of an image come from.
pub trait ReadAt {
    /// Fills `buf` from `offset` on, or fails.
    ///
    /// # Errors
    /// Those of the source; `UnexpectedEof` past its end.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Bytes of the source.
    ///
    /// # Errors
    /// Those of the source.
    fn byte_len(&self) -> io::Result<u64>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }

    fn byte_len(&self) -> io::Result<u64> {
        self.metadata().map(|m| m.len())
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let found = usize::try_from(offset).ok().and_then(|o| self.get(o..o.checked_add(buf.len())?));
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn byte_len(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn byte_len(&self) -> io::Result<u64> {
        (**self).byte_len()
    }
}

//! Random access to the bytes of an image, wherever they are.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// A source of bytes with positions: a local file, or a remote one behind range requests.
pub trait ReadAt {
    /// Fills `buffer` from `offset` on, and returns how much of it there was: less than the
    /// buffer's length only at the end of the source.
    ///
    /// # Errors
    /// Whatever the source reports.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Says that the bytes of `range` will be read next, in ascending order, so that a remote
    /// source can stream them with one request.
    fn will_read(&mut self, range: Range<u64>) {
        let _ = range;
    }
}

impl ReadAt for File {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl ReadAt for &[u8] {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).map_or(self.len(), |at| at.min(self.len()));
        let count = buffer.len().min(self.len() - start);
        buffer[..count].copy_from_slice(&self[start..start + count]);
        Ok(count)
    }
}

//! Sparse writing: blocks of zeros become holes.

use std::os::unix::fs::FileExt;

use crate::Partial;
use crate::file::{FileError, Operation};

/// Granularity of holes: the block size of the file systems in use.
const BLOCK: usize = 4096;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Writes a fresh disk in any order, leaving out what is zero.
///
/// # Assumptions
/// Each range is written once at most: a block of zeros is skipped, not punched, because the file
/// began as one hole.
#[derive(Debug)]
pub struct SparseWriter {
    partial: Partial,
    size: u64,
    written: u64,
}

impl SparseWriter {
    /// Begins a disk of `size` bytes in `partial`.
    ///
    /// # Errors
    /// When the file system refuses that size.
    pub fn new(partial: Partial, size: u64) -> Result<Self, FileError> {
        partial
            .file()
            .set_len(size)
            .map_err(|error| FileError::new(Operation::Resize, partial.path(), error))?;
        Ok(Self {
            partial,
            size,
            written: 0,
        })
    }

    /// Writes `data` at `offset`; the disk grows when that lies beyond its end.
    ///
    /// # Errors
    /// [`FileError::NoSpace`] when the volume is full, else the operating system's.
    pub fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), FileError> {
        let end = offset + data.len() as u64;
        if end > self.size {
            self.resize(end)?;
        }
        // Blocks are counted from the beginning of the disk, not of `data`.
        let mut position = 0;
        let mut run: Option<usize> = None;
        while position < data.len() {
            let inside = (offset + position as u64) % BLOCK as u64;
            let length = (BLOCK - usize::try_from(inside).unwrap_or(0)).min(data.len() - position);
            let block = &data[position..position + length];
            match (block == &ZEROS[..length], run) {
                (true, Some(start)) => {
                    self.put(offset + start as u64, &data[start..position])?;
                    run = None;
                }
                (false, None) => run = Some(position),
                _ => {}
            }
            position += length;
        }
        match run {
            Some(start) => self.put(offset + start as u64, &data[start..]),
            None => Ok(()),
        }
    }

    fn put(&mut self, offset: u64, data: &[u8]) -> Result<(), FileError> {
        self.partial
            .file()
            .write_all_at(data, offset)
            .map_err(|error| FileError::new(Operation::Write, self.partial.path(), error))?;
        self.written += data.len() as u64;
        Ok(())
    }

    fn resize(&mut self, size: u64) -> Result<(), FileError> {
        self.partial
            .file()
            .set_len(size)
            .map_err(|error| FileError::new(Operation::Resize, self.partial.path(), error))?;
        self.size = size;
        Ok(())
    }

    /// Bytes that were not zero.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Present size of the disk.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Grows the disk to `size` if it is smaller, makes it durable and gives it its final name.
    ///
    /// # Errors
    /// When one of these fails; nothing is left behind then.
    pub fn finish(mut self, size: u64) -> Result<(), FileError> {
        if size > self.size {
            self.resize(size)?;
        }
        self.partial.commit()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_become_holes() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("disk.img");
        let mut writer = SparseWriter::new(Partial::create(&target).unwrap(), 0).unwrap();
        let mut data = vec![0u8; 1 << 20];
        data[500_000] = 1;
        writer.write_at(0, &data).unwrap();
        writer.write_at(1 << 20, &data).unwrap();
        assert_eq!(writer.written(), 2 * BLOCK as u64);
        writer.finish(8 << 20).unwrap();
        let meta = target.metadata().unwrap();
        assert_eq!(meta.len(), 8 << 20);
        assert!(meta.blocks() * 512 <= 64 << 10, "{} blocks", meta.blocks());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn content_survives_any_cutting(
            blocks in proptest::collection::vec((any::<bool>(), 1usize..9000), 1..8),
            shift in 0u64..5000,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("disk.img");
            let mut writer = SparseWriter::new(Partial::create(&target).unwrap(), shift).unwrap();
            let mut expected = vec![0u8; usize::try_from(shift).unwrap()];
            for (zero, length) in blocks {
                let data = vec![if zero { 0 } else { 0xa5 }; length];
                writer.write_at(expected.len() as u64, &data).unwrap();
                expected.extend(data);
            }
            let size = expected.len() as u64;
            writer.finish(size).unwrap();
            prop_assert_eq!(std::fs::read(&target).unwrap(), expected);
        }
    }
}

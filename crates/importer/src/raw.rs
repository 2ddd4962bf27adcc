//! Bytes in order onto a disk: one task reads, one thread writes, a short queue between them.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use disk::{FileError, Partial, SparseWriter};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes handed to the writer at a time, and how many such may wait: 8 MiB in all.
const BLOCK: usize = 1 << 20;
const QUEUE: usize = 8;

/// Why bytes did not get onto the disk.
pub(crate) enum CopyError {
    Read(std::io::Error),
    Write(FileError),
    /// More bytes than the disk may have.
    Limit,
    Interrupted,
}

/// A disk that is filled in order by a thread of its own.
pub(crate) struct Filling {
    blocks: mpsc::Sender<Bytes>,
    thread: JoinHandle<Result<SparseWriter, FileError>>,
}

impl Filling {
    pub fn begin(target: &Path) -> Result<Self, FileError> {
        let mut writer = SparseWriter::new(Partial::create(target)?, 0)?;
        let (blocks, mut queue) = mpsc::channel::<Bytes>(QUEUE);
        let thread = tokio::task::spawn_blocking(move || {
            let mut offset = 0;
            while let Some(block) = queue.blocking_recv() {
                writer.write_at(offset, &block)?;
                offset += block.len() as u64;
            }
            Ok(writer)
        });
        Ok(Self { blocks, thread })
    }

    /// Copies everything `reader` yields, `limit` bytes at most; returns the writer and the count.
    pub async fn copy(
        self,
        reader: &mut (dyn AsyncRead + Send + Unpin),
        limit: u64,
    ) -> Result<(SparseWriter, u64), CopyError> {
        let Self { blocks, thread } = self;
        let sent = send(blocks, reader, limit).await;
        // Also after a failure: when this returns, nobody writes any more.
        match (thread.await, sent) {
            (Ok(Err(error)), _) => Err(CopyError::Write(error)),
            (Err(_), _) => Err(CopyError::Interrupted),
            (Ok(Ok(writer)), Ok(count)) => Ok((writer, count)),
            (Ok(Ok(_)), Err(error)) => Err(error),
        }
    }
}

async fn send(
    blocks: mpsc::Sender<Bytes>,
    reader: &mut (dyn AsyncRead + Send + Unpin),
    limit: u64,
) -> Result<u64, CopyError> {
    let mut count = 0u64;
    loop {
        let block = block(reader).await.map_err(CopyError::Read)?;
        count += block.len() as u64;
        if count > limit {
            return Err(CopyError::Limit);
        }
        // A writer that is gone has failed and says why.
        if block.is_empty() || blocks.send(block).await.is_err() {
            return Ok(count);
        }
    }
}

/// A whole block, or what is left.
async fn block(reader: &mut (dyn AsyncRead + Send + Unpin)) -> std::io::Result<Bytes> {
    let mut block = BytesMut::with_capacity(BLOCK);
    while block.len() < BLOCK && reader.read_buf(&mut block).await? > 0 {}
    Ok(block.freeze())
}

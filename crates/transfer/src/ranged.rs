//! A remote file by position: reads go to the connection in hand where that is near, else to a new
//! request. A reader that says what it will read next streams it through one request.

use std::ops::Range;

use bytes::{Buf, Bytes};

#[cfg(doc)]
use crate::About;
use crate::{Download, TransferError};

/// See the module's story. Only for servers with range requests and a known length.
#[derive(Debug)]
pub struct Ranged {
    download: Download,
    /// The beginning of the file: headers are read more than once.
    head: Bytes,
    total: u64,
    ahead: Range<u64>,
}

impl Ranged {
    /// Goes on from a download of which `head`, its beginning, has been read.
    ///
    /// `None` when the server offers no ranges or tells no length; ask [`About::by_position`]
    /// first.
    #[must_use]
    pub fn new(download: Download, head: Bytes) -> Option<Self> {
        let total = download.about().total.filter(|_| download.about().ranges)?;
        Some(Self {
            download,
            head,
            total,
            ahead: 0..0,
        })
    }

    /// Length of the file.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Says that `range` will be read next, in ascending order.
    pub fn will_read(&mut self, range: Range<u64>) {
        self.ahead = range.start..range.end.min(self.total);
    }

    /// Fills `buffer` from `offset` on; returns how much of it there was before the file's end.
    ///
    /// # Errors
    /// As [`Download::chunk`].
    pub async fn read_at(
        &mut self,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, TransferError> {
        let available = usize::try_from(self.total.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(available);
        let buffer = &mut buffer[..length];
        let mut filled = 0;
        if let Some(known) = usize::try_from(offset)
            .ok()
            .and_then(|at| self.head.get(at..))
        {
            filled = known.len().min(length);
            buffer[..filled].copy_from_slice(&known[..filled]);
        }
        if filled < length {
            self.stream(offset + filled as u64, &mut buffer[filled..])
                .await?;
        }
        Ok(length)
    }

    /// Reads from the connection; the bytes exist.
    async fn stream(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), TransferError> {
        let position = self.download.position();
        let near = position + self.download.endpoint().limits().skip_bytes;
        if !(position..=near).contains(&offset) {
            let end = match self.ahead.contains(&offset) {
                true => self.ahead.end,
                false => self.total.min(offset + buffer.len() as u64),
            };
            self.download = self.download.part(offset, end);
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let position = self.download.position();
            // `position` is not beyond `at`: see above.
            let Some(mut bytes) = self.download.chunk().await? else {
                // The part in hand was asked for with less than is read now.
                let end = self
                    .total
                    .min((offset + buffer.len() as u64).max(self.ahead.end));
                self.download = self.download.part(at, end);
                continue;
            };
            let skip = usize::try_from(at - position)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            bytes.advance(skip);
            let take = bytes.len().min(buffer.len() - filled);
            bytes.copy_to_slice(&mut buffer[filled..filled + take]);
            filled += take;
            self.download.unread(bytes);
        }
        Ok(())
    }
}

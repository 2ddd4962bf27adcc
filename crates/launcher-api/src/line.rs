//! Bounded lines of JSON over a byte stream; both ends of the protocol use these two functions.

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

/// Why a line could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The stream failed.
    #[error("the stream failed")]
    Io(#[from] std::io::Error),
    /// A line is longer than its bound.
    #[error("a line is longer than {limit} bytes")]
    TooLong {
        /// The bound.
        limit: usize,
    },
    /// The stream ended within a line.
    #[error("the stream ended within a line")]
    Truncated,
    /// A line does not hold the expected JSON.
    #[error("a line does not hold the expected JSON")]
    Json(#[from] serde_json::Error),
}

/// Reads the next line as `T`; `None` at the end of the stream.
///
/// # Errors
/// As [`LineError`] says; the stream is of no further use then.
/// # Caveats
/// Not cancel-safe: a cancelled read may have consumed a part of a line.
pub async fn read<T, R>(reader: &mut R, limit: usize) -> Result<Option<T>, LineError>
where
    T: DeserializeOwned,
    R: AsyncBufRead + Unpin,
{
    let mut line = Vec::new();
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return if line.is_empty() {
                Ok(None)
            } else {
                Err(LineError::Truncated)
            };
        }
        let newline = available.iter().position(|b| *b == b'\n');
        let take = newline.map_or(available.len(), |at| at + 1);
        if line.len() + take > limit {
            return Err(LineError::TooLong { limit });
        }
        line.extend_from_slice(&available[..take]);
        reader.consume(take);
        if newline.is_some() {
            return Ok(Some(serde_json::from_slice(&line)?));
        }
    }
}

/// Writes `value` as one line.
///
/// # Errors
/// [`LineError::TooLong`] before anything is written; otherwise the stream's failure.
pub async fn write<T, W>(writer: &mut W, value: &T, limit: usize) -> Result<(), LineError>
where
    T: Serialize + ?Sized,
    W: AsyncWrite + Unpin,
{
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    if line.len() > limit {
        return Err(LineError::TooLong { limit });
    }
    writer.write_all(&line).await?;
    writer.flush().await?;
    Ok(())
}

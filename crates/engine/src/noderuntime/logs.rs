//! `kubectl logs`: what a Pod's process wrote, or a component of this process.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use thiserror::Error;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{CONSOLE_LOG, PodDir};

/// One read.
const CHUNK: usize = 32 * 1024;
/// How far back the last lines are looked for.
const TAIL_WINDOW: u64 = 4 * 1024 * 1024;
/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(100);
/// The serial console log, in a launcher's working directory.
const SERIAL_LOG: &str = "serial0.log";

/// What part of a log is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until the Pod is gone.
    pub follow: bool,
    /// Only so many last lines.
    pub tail_lines: Option<u64>,
    /// Only so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Why there is no log.
#[derive(Debug, Error)]
pub enum LogError {
    /// The container has not started here.
    #[error("container {container:?} has not written a log yet")]
    NotThere {
        /// The container.
        container: String,
    },
    /// The log cannot be read.
    #[error("reading the log of container {container:?}")]
    Read {
        /// The container.
        container: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

fn path(dir: &PodDir, container: &str) -> PathBuf {
    if container == CONSOLE_LOG {
        dir.work().join(SERIAL_LOG)
    } else {
        dir.log(container)
    }
}

/// Opens a log; the stream ends at its end, or when the Pod's directory is gone.
///
/// # Errors
/// [`LogError`], before anything is streamed.
pub async fn open(
    dir: PodDir,
    container: &str,
    options: LogOptions,
) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>, LogError> {
    let path = path(&dir, container);
    open_file(path, dir.path().to_owned(), container, options).await
}

/// Opens the log in a file that may be rotated: a follower goes on with the new file. The stream ends at
/// its end, or when `lives` is gone.
///
/// # Errors
/// [`LogError`], before anything is streamed.
pub async fn open_file(
    path: PathBuf,
    lives: PathBuf,
    container: &str,
    options: LogOptions,
) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>, LogError> {
    let read = |source| LogError::Read {
        container: container.to_owned(),
        source,
    };
    let mut file = match open_plain(&path).await {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(LogError::NotThere {
                container: container.to_owned(),
            });
        }
        Err(e) => return Err(read(e)),
    };
    if let Some(lines) = options.tail_lines {
        let start = tail_start(&mut file, lines).await.map_err(read)?;
        file.seek(SeekFrom::Start(start)).await.map_err(read)?;
    }
    let state = State {
        file,
        path,
        lives,
        follow: options.follow,
        left: options.limit_bytes.unwrap_or(u64::MAX),
    };
    Ok(futures_util::stream::unfold(state, State::next))
}

/// The console log lies in a directory of the workload's: never follow a link there.
async fn open_plain(path: &Path) -> std::io::Result<File> {
    tokio::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .await
}

struct State {
    file: File,
    path: PathBuf,
    lives: PathBuf,
    follow: bool,
    left: u64,
}

impl State {
    async fn next(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        loop {
            let want = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
            if want == 0 {
                return None;
            }
            let mut buffer = vec![0; want];
            match self.file.read(&mut buffer).await {
                Ok(0) if self.follow && self.lives.exists() => {
                    if !self.rotated().await {
                        tokio::time::sleep(POLL).await;
                    }
                }
                Ok(0) => return None,
                Ok(n) => {
                    buffer.truncate(n);
                    self.left = self.left.saturating_sub(n as u64);
                    return Some((Ok(buffer.into()), self));
                }
                Err(e) => {
                    self.left = 0;
                    return Some((Err(e), self));
                }
            }
        }
    }

    /// Goes on with the file that is there now, if it is another one. What was written between the last
    /// read and the rotation is left out.
    async fn rotated(&mut self) -> bool {
        let Ok(now) = open_plain(&self.path).await else {
            return false;
        };
        let id = |m: std::fs::Metadata| (m.dev(), m.ino());
        let (Ok(new), Ok(old)) = (now.metadata().await, self.file.metadata().await) else {
            return false;
        };
        if id(new) == id(old) {
            return false;
        }
        self.file = now;
        true
    }
}

/// Where the last `lines` lines begin.
async fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let end = file.seek(SeekFrom::End(0)).await?;
    let from = end.saturating_sub(TAIL_WINDOW);
    file.seek(SeekFrom::Start(from)).await?;
    let mut window = Vec::new();
    (&mut *file)
        .take(TAIL_WINDOW)
        .read_to_end(&mut window)
        .await?;
    Ok(from + tail_offset(&window, lines))
}

/// Offset of the last `lines` lines in `text`; a last line without its end counts.
fn tail_offset(text: &[u8], lines: u64) -> u64 {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    if lines == 0 {
        return text.len() as u64;
    }
    let mut found = 0;
    for (i, byte) in body.iter().enumerate().rev() {
        if *byte == b'\n' {
            found += 1;
            if found == lines {
                return (i + 1) as u64;
            }
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_begin_after_the_line_before_them() {
        assert_eq!(tail_offset(b"a\nb\nc\n", 1), 4);
        assert_eq!(tail_offset(b"a\nb\nc", 1), 4);
        assert_eq!(tail_offset(b"a\nb\nc\n", 2), 2);
        assert_eq!(tail_offset(b"a\nb\nc\n", 9), 0);
        assert_eq!(tail_offset(b"a\n", 0), 2);
        assert_eq!(tail_offset(b"", 3), 0);
    }
}

//! The node agent's end of the protocol.
//!
//! The directory belongs to the launcher's unprivileged user while the client may be root: the socket and the state
//! file are opened by descriptor, without following links, and checked to be what they should be. That also lifts
//! the 108 bytes that a socket's path may have (unix(7)).

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use tokio::io::{AsyncReadExt, BufStream};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::line::{self, LineError};
use crate::{
    LauncherState, Refusal, RefusalReason, Reply, Request, SOCKET, STATE_FILE, Start, limits,
};

/// Why a launcher could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no launcher: no socket, or nobody listens on it.
    #[error("no launcher listens in {}", .dir.display())]
    NotListening {
        /// The launcher's directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A name in the directory is not what it must be.
    #[error("{} in {} is not {expected}", .name, .dir.display())]
    Suspicious {
        /// The launcher's directory.
        dir: PathBuf,
        /// The name.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The launcher refused the request.
    #[error("the launcher refused: {0}")]
    Refused(Refusal),
    /// A time-out of [`limits`] passed.
    #[error("the launcher did not {what} in time")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
    },
    /// The launcher closed the connection.
    #[error("the launcher closed the connection")]
    Closed,
    /// The stream or its contents are damaged.
    #[error("talking to the launcher")]
    Line(#[from] LineError),
    /// A file of the launcher cannot be read.
    #[error("reading {} in {}", .name, .dir.display())]
    File {
        /// The launcher's directory.
        dir: PathBuf,
        /// The file.
        name: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A connection to a launcher. A connection that failed is of no further use: connect again.
#[derive(Debug)]
pub struct Client {
    stream: BufStream<UnixStream>,
}

impl Client {
    /// Connects to the launcher that lives in `dir`.
    ///
    /// # Errors
    /// [`ClientError::NotListening`] when there is none.
    pub async fn connect(dir: &Path) -> Result<Self, ClientError> {
        Ok(Self {
            stream: BufStream::with_capacity(4096, 4096, connect(dir).await?),
        })
    }

    /// Sends one request and returns the state after it was accepted.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the launcher does not accept it; `Watch` and `Console` are refused here because
    /// they end the exchange of requests: use [`watch`] and [`console`].
    pub async fn request(&mut self, request: &Request) -> Result<LauncherState, ClientError> {
        if matches!(request, Request::Watch | Request::Console) {
            return Err(ClientError::Refused(Refusal {
                reason: RefusalReason::Invalid,
                message: "a connection for requests can become neither a watch nor a console"
                    .into(),
            }));
        }
        timeout(limits::REPLY, async {
            exchange(&mut self.stream, request).await
        })
        .await
        .map_err(|_| ClientError::TimedOut { what: "reply" })?
    }

    /// Starts the machine.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn start(&mut self, start: Start) -> Result<LauncherState, ClientError> {
        self.request(&Request::Start(Box::new(start))).await
    }

    /// Asks the guest to power off; it is ended by force after `grace_seconds`.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn shutdown(&mut self, grace_seconds: u32) -> Result<LauncherState, ClientError> {
        self.request(&Request::Shutdown { grace_seconds }).await
    }

    /// Ends the machine now.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn kill(&mut self) -> Result<LauncherState, ClientError> {
        self.request(&Request::Kill).await
    }

    /// The present state.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn state(&mut self) -> Result<LauncherState, ClientError> {
        self.request(&Request::State).await
    }
}

/// A stream of states; the present one comes first.
#[derive(Debug)]
pub struct Watch {
    stream: BufStream<UnixStream>,
    first: Option<LauncherState>,
}

impl Watch {
    /// The next state; `None` when the launcher is gone, after its last state if it could publish one. States may be
    /// skipped when the reader is slow; the newest never is.
    ///
    /// # Errors
    /// When the stream is damaged.
    /// # Caveats
    /// Not cancel-safe; keep one task on it, or use [`Watch::into_stream`].
    pub async fn next(&mut self) -> Result<Option<LauncherState>, ClientError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        match line::read(&mut self.stream, limits::STATE_BYTES).await {
            Ok(state) => Ok(state),
            // A launcher that was killed leaves a reset or half a line; both mean that it is gone.
            Err(LineError::Io(_) | LineError::Truncated) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same as a [`futures_util::Stream`], which may be polled in a `select!`.
    pub fn into_stream(
        self,
    ) -> impl futures_util::Stream<Item = Result<LauncherState, ClientError>> + Send {
        futures_util::stream::unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(Some(state)) => Some((Ok(state), Some(watch))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

/// Watches the state of the launcher that lives in `dir`.
///
/// # Errors
/// [`ClientError::NotListening`] when there is none; [`read_state`] tells what it published last.
pub async fn watch(dir: &Path) -> Result<Watch, ClientError> {
    let mut stream = BufStream::with_capacity(4096, 256, connect(dir).await?);
    let first = timeout(limits::REPLY, async {
        exchange(&mut stream, &Request::Watch).await
    })
    .await
    .map_err(|_| ClientError::TimedOut { what: "reply" })??;
    Ok(Watch {
        stream,
        first: Some(first),
    })
}

/// Opens the console of the machine in `dir`: the raw bytes of its first serial port, both ways. End of stream means
/// that another session took over or that the machine is over.
///
/// # Errors
/// [`ClientError::NotListening`] without a launcher, [`ClientError::Refused`] when no machine runs.
pub async fn console(dir: &Path) -> Result<UnixStream, ClientError> {
    let mut stream = connect(dir).await?;
    timeout(limits::REPLY, async {
        line::write(&mut stream, &Request::Console, limits::REQUEST_BYTES).await?;
        // Byte by byte: what follows the newline belongs to the caller.
        let mut reply = Vec::with_capacity(512);
        loop {
            let byte = stream.read_u8().await.map_err(|_| ClientError::Closed)?;
            if byte == b'\n' {
                break;
            }
            if reply.len() == limits::STATE_BYTES {
                return Err(LineError::TooLong {
                    limit: limits::STATE_BYTES,
                }
                .into());
            }
            reply.push(byte);
        }
        accepted(Some(
            serde_json::from_slice(&reply).map_err(LineError::from)?,
        ))
    })
    .await
    .map_err(|_| ClientError::TimedOut { what: "reply" })??;
    Ok(stream)
}

/// The state that was published last in `dir`, by a launcher that may be gone; `None` when none ever was.
///
/// # Errors
/// When the file is not a regular one, too large, or not a state.
pub fn read_state(dir: &Path) -> Result<Option<LauncherState>, ClientError> {
    let file = |source: std::io::Error| ClientError::File {
        dir: dir.into(),
        name: STATE_FILE,
        source,
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(dir.join(STATE_FILE), flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(file(error.into())),
    };
    let stat = rustix::fs::fstat(&fd).map_err(|error| file(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ClientError::Suspicious {
            dir: dir.into(),
            name: STATE_FILE,
            expected: "a regular file",
        });
    }
    let mut bytes = Vec::new();
    File::from(fd)
        .take(limits::STATE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(file)?;
    if bytes.len() > limits::STATE_BYTES {
        return Err(LineError::TooLong {
            limit: limits::STATE_BYTES,
        }
        .into());
    }
    Ok(Some(
        serde_json::from_slice(&bytes).map_err(LineError::from)?,
    ))
}

async fn connect(dir: &Path) -> Result<UnixStream, ClientError> {
    let none = |source: std::io::Error| ClientError::NotListening {
        dir: dir.into(),
        source,
    };
    let socket = rustix::fs::open(
        dir.join(SOCKET),
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| none(error.into()))?;
    let stat = rustix::fs::fstat(&socket).map_err(|error| none(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(ClientError::Suspicious {
            dir: dir.into(),
            name: SOCKET,
            expected: "a socket",
        });
    }
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    timeout(limits::CONNECT, UnixStream::connect(path))
        .await
        .map_err(|_| ClientError::TimedOut {
            what: "accept the connection",
        })?
        .map_err(none)
}

/// A launcher that is busy refuses and closes without reading: its words count more than our failure to write.
async fn exchange(
    stream: &mut BufStream<UnixStream>,
    request: &Request,
) -> Result<LauncherState, ClientError> {
    let written = line::write(stream, request, limits::REQUEST_BYTES).await;
    match (line::read(stream, limits::STATE_BYTES).await, written) {
        (Ok(Some(reply)), _) => accepted(Some(reply)),
        (_, Err(error)) => Err(error.into()),
        (reply, Ok(())) => accepted(reply?),
    }
}

fn accepted(reply: Option<Reply>) -> Result<LauncherState, ClientError> {
    match reply {
        Some(Reply::State(state)) => Ok(*state),
        Some(Reply::Refused(refusal)) => Err(ClientError::Refused(refusal)),
        None => Err(ClientError::Closed),
    }
}

#[cfg(test)]
mod tests;

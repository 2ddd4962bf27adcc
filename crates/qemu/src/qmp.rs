//! A QMP connection as its users see it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::codec::{self, CommandError};
use crate::command::Command;
use crate::connection::{Call, Connection};
use crate::{Event, Version, limits};

/// Why a command, or the connection itself, failed.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket cannot be connected.
    #[error("connecting to QEMU's monitor at {}", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The peer did not behave as QMP at the start.
    #[error("negotiating with QEMU's monitor: {0}")]
    Negotiation(&'static str),
    /// The connection is gone: QEMU ended, closed it, or sent what cannot be followed.
    #[error("the connection to QEMU's monitor is gone (while sending {command})")]
    Disconnected {
        /// The command that was to be sent.
        command: String,
    },
    /// No answer came in time. The command may still take effect.
    #[error("QEMU did not answer {command} within {} s", .after.as_secs())]
    TimedOut {
        /// The command.
        command: String,
        /// The bound.
        after: Duration,
    },
    /// QEMU refused the command.
    #[error("QEMU refused {command}: {error}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words; part of this message, hence no `source`.
        error: CommandError,
    },
    /// The answer, or the command, is not as documented.
    #[error("the answer of QEMU to {command} is not as documented")]
    Unexpected {
        /// The command.
        command: String,
        /// Where it differs.
        #[source]
        source: serde_json::Error,
    },
}

impl QmpError {
    /// Whether the connection is of no further use.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected { .. } | Self::Connect { .. })
    }
}

/// What a reader of events is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// Something happened.
    Event(Event),
    /// So many events were lost because they were not read in time: ask for the present state.
    Lost(u64),
}

/// The events of one connection, in order.
#[derive(Debug)]
pub struct Events {
    pub(crate) receiver: mpsc::Receiver<Notice>,
}

impl Events {
    /// The next notice; `None` when the connection is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Notice> {
        self.receiver.recv().await
    }
}

/// The handle of one connection. Clones share it; it ends when the last one and the [`Events`] are dropped.
#[derive(Debug, Clone)]
pub struct Qmp {
    calls: mpsc::Sender<Call>,
    version: Version,
}

impl Qmp {
    /// Connects to QEMU's monitor and negotiates. The connection's task runs on the present tokio runtime.
    ///
    /// # Errors
    /// [`QmpError::Connect`] when nobody listens (yet); [`QmpError::Negotiation`] when that is not QMP, or when the
    /// monitor serves somebody else (QEMU serves one client of a socket and lets others wait).
    pub async fn connect(path: &Path) -> Result<(Self, Events), QmpError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| QmpError::Connect {
                path: path.into(),
                source,
            })?;
        Self::negotiate(stream).await
    }

    /// Negotiates on a stream that is connected already.
    ///
    /// # Errors
    /// As [`Qmp::connect`].
    pub async fn negotiate(stream: UnixStream) -> Result<(Self, Events), QmpError> {
        timeout(limits::NEGOTIATION, async {
            let mut connection = Connection::new(stream);
            let version = connection.greeting().await?;
            let (calls, call_receiver) = mpsc::channel(limits::COMMANDS);
            let (notices, receiver) = mpsc::channel(limits::EVENTS);
            tokio::spawn(connection.run(call_receiver, notices));
            let qmp = Self { calls, version };
            qmp.raw("qmp_capabilities", None, limits::NEGOTIATION)
                .await?;
            Ok((qmp, Events { receiver }))
        })
        .await
        .map_err(|_| QmpError::Negotiation("no greeting in time"))?
    }

    /// The version of the QEMU at the other end.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Sends a command and waits for its answer, for [`limits::COMMAND`].
    ///
    /// # Errors
    /// As [`QmpError`] says.
    pub async fn execute<C: Command>(&self, command: C) -> Result<C::Return, QmpError> {
        self.execute_within(command, limits::COMMAND).await
    }

    /// The same with another bound.
    ///
    /// # Errors
    /// As [`QmpError`] says.
    pub async fn execute_within<C: Command>(
        &self,
        command: C,
        bound: Duration,
    ) -> Result<C::Return, QmpError> {
        let value = self.call(C::NAME, Some(command), bound).await?;
        serde_json::from_value(value).map_err(|source| QmpError::Unexpected {
            command: C::NAME.into(),
            source,
        })
    }

    /// Sends a command of which this crate has no type.
    ///
    /// # Errors
    /// As [`QmpError`] says.
    pub async fn raw(
        &self,
        name: &str,
        arguments: Option<Value>,
        bound: Duration,
    ) -> Result<Value, QmpError> {
        self.call(name, arguments, bound).await
    }

    async fn call<A: Serialize>(
        &self,
        name: &str,
        arguments: Option<A>,
        bound: Duration,
    ) -> Result<Value, QmpError> {
        let gone = || QmpError::Disconnected {
            command: name.into(),
        };
        let (answer, answered) = oneshot::channel();
        let encoded = |id| codec::encode(name, arguments.as_ref(), id);
        // Encoded here so that the connection's task need not know the arguments' type; it numbers the commands.
        let call = Call::new(encoded, answer).map_err(|source| QmpError::Unexpected {
            command: name.into(),
            source,
        })?;
        let result = timeout(bound, async {
            self.calls.send(call).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())
        })
        .await
        .map_err(|_| QmpError::TimedOut {
            command: name.into(),
            after: bound,
        })??;
        result.map_err(|error| QmpError::Refused {
            command: name.into(),
            error,
        })
    }
}

#[cfg(test)]
mod tests;

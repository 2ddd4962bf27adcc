//! QMP as values, without I/O (QEMU's interop/qmp-spec).
//!
//! A server's message is one JSON object per line. Unknown members are ignored, as the specification asks of
//! clients; an unknown kind of message is an error of the message, not of the stream: the next line is read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::version::Version;

/// What QEMU says.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first line of a connection.
    Greeting(Version),
    /// A command succeeded.
    Return {
        /// The id the command carried.
        id: Option<u64>,
        /// What it returned.
        value: Value,
    },
    /// A command failed.
    Error {
        /// The id the command carried; none when QEMU could not read the command.
        id: Option<u64>,
        /// What failed.
        error: CommandError,
    },
    /// Something happened.
    Event(RawEvent),
}

/// The error of one command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{desc}")]
pub struct CommandError {
    /// QEMU's error class, such as `GenericError`, `CommandNotFound` or `DeviceNotFound`.
    pub class: String,
    /// QEMU's own words.
    pub desc: String,
}

/// An event as it came.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RawEvent {
    /// Its name, such as `SHUTDOWN`.
    pub event: String,
    /// Its data, an object where there is any.
    #[serde(default)]
    pub data: Map<String, Value>,
    /// When it happened.
    #[serde(default)]
    pub timestamp: Timestamp,
}

/// QEMU's wall clock; both -1 when it has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// And microseconds.
    pub microseconds: i64,
}

/// Why bytes could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A line is longer than its bound; the stream cannot be followed further.
    #[error("QEMU sent a line longer than {limit} bytes")]
    TooLong {
        /// The bound.
        limit: usize,
    },
    /// A line is not JSON or no QMP message; the next line may be read.
    #[error("QEMU sent a line that is no QMP message")]
    Malformed(#[source] serde_json::Error),
    /// A line is a JSON object of no known kind; the next line may be read.
    #[error("QEMU sent a message that is neither greeting, return, error nor event")]
    Unknown,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Greeting>,
    // `"return": null` is a return: tell absent and null apart.
    #[serde(default, rename = "return", deserialize_with = "present")]
    value: Option<Value>,
    error: Option<CommandError>,
    id: Option<Value>,
    event: Option<Value>,
}

#[derive(Deserialize)]
struct Greeting {
    version: Version,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Turns bytes into messages.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already searched for a newline.
    searched: usize,
    limit: usize,
}

impl Decoder {
    /// A decoder that refuses lines longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            searched: 0,
            limit,
        }
    }

    /// Takes bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, `None` when more bytes are needed. Empty lines are skipped.
    ///
    /// # Errors
    /// [`CodecError::TooLong`] is final: decoding stays there. After the others the next line follows.
    pub fn message(&mut self) -> Result<Option<Message>, CodecError> {
        loop {
            let Some(at) = self.buffer[self.searched..]
                .iter()
                .position(|b| *b == b'\n')
            else {
                self.searched = self.buffer.len();
                if self.searched > self.limit {
                    return Err(CodecError::TooLong { limit: self.limit });
                }
                return Ok(None);
            };
            let end = self.searched + at;
            if end > self.limit {
                return Err(CodecError::TooLong { limit: self.limit });
            }
            let decoded = match self.buffer[..end].trim_ascii() {
                [] => None,
                line => Some(decode(line)),
            };
            self.buffer.drain(..=end);
            self.searched = 0;
            if self.buffer.is_empty() && self.buffer.capacity() > 64 << 10 {
                self.buffer = Vec::new(); // One large answer must not stay allocated for the life of a machine.
            }
            if let Some(decoded) = decoded {
                return decoded.map(Some);
            }
        }
    }
}

fn decode(line: &[u8]) -> Result<Message, CodecError> {
    let parsed: Line = serde_json::from_slice(line).map_err(CodecError::Malformed)?;
    let id = parsed.id.as_ref().and_then(Value::as_u64);
    if let Some(greeting) = parsed.greeting {
        return Ok(Message::Greeting(greeting.version));
    }
    if let Some(error) = parsed.error {
        return Ok(Message::Error { id, error });
    }
    if let Some(value) = parsed.value {
        return Ok(Message::Return { id, value });
    }
    if parsed.event.is_some() {
        return serde_json::from_slice(line)
            .map(Message::Event)
            .map_err(CodecError::Malformed);
    }
    Err(CodecError::Unknown)
}

#[derive(Serialize)]
struct Execute<'a, A> {
    execute: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<A>,
    id: u64,
}

/// One command as a line.
///
/// # Errors
/// When the arguments cannot be written as JSON.
pub fn encode<A: Serialize>(
    name: &str,
    arguments: Option<A>,
    id: u64,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(&Execute {
        execute: name,
        arguments,
        id,
    })?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests;

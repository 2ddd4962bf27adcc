//! The task that owns the socket: writes commands, gives answers to those who wait, hands events on.
//!
//! It ends when QEMU closes the connection, when a line cannot be followed, or when nobody holds a handle or reads
//! events any more. Whoever waits then sees its channel closed: that is the detection of a disconnect.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::codec::{CodecError, CommandError, Decoder, Message};
use crate::qmp::{Notice, QmpError};
use crate::{Event, Version, limits};

type Answer = Result<Value, CommandError>;

/// Unique in the process, so that an answer which comes after its time-out is never taken for another's.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One command on its way.
#[derive(Debug)]
pub(crate) struct Call {
    id: u64,
    line: Vec<u8>,
    answer: oneshot::Sender<Answer>,
}

impl Call {
    pub(crate) fn new<E>(
        encode: impl FnOnce(u64) -> Result<Vec<u8>, E>,
        answer: oneshot::Sender<Answer>,
    ) -> Result<Self, E> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            id,
            line: encode(id)?,
            answer,
        })
    }
}

pub(crate) struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: Decoder,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            reader,
            writer,
            decoder: Decoder::new(limits::LINE_BYTES),
        }
    }

    /// Waits for the first line.
    pub(crate) async fn greeting(&mut self) -> Result<Version, QmpError> {
        loop {
            match self.decoder.message() {
                Ok(Some(Message::Greeting(version))) => return Ok(version),
                Ok(Some(_)) => {
                    return Err(QmpError::Negotiation("the first message is no greeting"));
                }
                Err(_) => return Err(QmpError::Negotiation("the peer does not speak QMP")),
                Ok(None) => {}
            }
            let mut bytes = [0; 1024];
            match self.reader.read(&mut bytes).await {
                Ok(0) | Err(_) => return Err(QmpError::Negotiation("closed before the greeting")),
                Ok(count) => self.decoder.push(&bytes[..count]),
            }
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(
        mut self,
        mut calls: mpsc::Receiver<Call>,
        notices: mpsc::Sender<Notice>,
    ) {
        let mut waiting: BTreeMap<u64, oneshot::Sender<Answer>> = BTreeMap::new();
        let mut lost = 0;
        let mut bytes = [0; 2048];
        loop {
            // Reading is cancel-safe; writing is done in full before the next turn (QEMU always drains its monitor).
            tokio::select! {
                read = self.reader.read(&mut bytes) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(count) => self.decoder.push(&bytes[..count]),
                },
                call = calls.recv() => {
                    let Some(Call { id, line, answer }) = call else { return };
                    waiting.retain(|_, answer| !answer.is_closed());
                    waiting.insert(id, answer);
                    if self.writer.write_all(&line).await.is_err() {
                        return;
                    }
                }
            }
            loop {
                match self.decoder.message() {
                    Ok(None) => break,
                    Ok(Some(Message::Return { id, value })) => give(&mut waiting, id, Ok(value)),
                    Ok(Some(Message::Error { id, error })) => give(&mut waiting, id, Err(error)),
                    Ok(Some(Message::Event(raw))) => notify(&notices, &mut lost, raw.into()),
                    Ok(Some(Message::Greeting(_))) => tracing::warn!("QEMU greeted twice"),
                    Err(error @ CodecError::TooLong { .. }) => {
                        tracing::error!(%error, "closing the connection to QEMU's monitor");
                        return;
                    }
                    Err(error) => tracing::warn!(%error, "ignoring a line of QEMU's monitor"),
                }
            }
        }
    }
}

fn give(waiting: &mut BTreeMap<u64, oneshot::Sender<Answer>>, id: Option<u64>, answer: Answer) {
    match id.and_then(|id| waiting.remove(&id)) {
        // Nobody waits any more: the caller's time-out passed.
        Some(waiter) => drop(waiter.send(answer)),
        None => tracing::debug!(?id, "an answer nobody waits for"),
    }
}

fn notify(notices: &mpsc::Sender<Notice>, lost: &mut u64, event: Event) {
    if *lost > 0 {
        match notices.try_send(Notice::Lost(*lost)) {
            Ok(()) => *lost = 0,
            Err(_) => {
                *lost += 1;
                return;
            }
        }
    }
    if let Err(TrySendError::Full(_)) = notices.try_send(Notice::Event(event)) {
        *lost += 1;
    }
}

//! What the newest commit is: asked of etcd once for all readers that want to know it at that time.
//!
//! ```text
//! reader ─┐
//! reader ─┼─► queue ─► all that are waiting now ─► one question ─► one answer for each
//! reader ─┘             (those who come meanwhile wait for the next one)
//! ```
//! Invariant: the question was asked after the reader came, so the answer is as new as every commit acknowledged before.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::client::{Client, Repeat};
use super::keys::Keys;
use super::limits;
use super::mirror::{Mirror, Newest, ask_newest, read_newest};
use super::proto::path;
use crate::error::StoreError;
use crate::model::Revision;

type Answer = oneshot::Sender<Result<Revision, StoreError>>;

/// The readers' end.
#[derive(Debug)]
pub(super) struct Current {
    queue: mpsc::Sender<Answer>,
}

impl Current {
    /// The queue, and what serves it.
    pub(super) fn new(
        client: Arc<Client>,
        keys: Keys,
        mirror: Arc<Mirror>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, mut waiting) = mpsc::channel::<Answer>(limits::READERS);
        let serve = async move {
            while let Some(first) = waiting.recv().await {
                let mut readers = vec![first];
                while let Ok(reader) = waiting.try_recv() {
                    readers.push(reader);
                }
                let seen = mirror.position();
                let answer = ask(&client, &keys).await.and_then(|newest| {
                    if mirror.fits(&newest, seen) {
                        return Ok(newest.last);
                    }
                    let why = "etcd's history is another one than before; the state is read again";
                    Err(StoreError::Unavailable { why: why.into() })
                });
                for reader in readers {
                    // Who does not wait any more needs no answer.
                    let _ = reader.send(answer.clone());
                }
            }
        };
        (Self { queue }, serve)
    }

    /// The revision of the newest commit.
    pub(super) async fn revision(&self) -> Result<Revision, StoreError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.queue.send(answer).await;
        sent.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

/// Asks etcd.
pub(super) async fn ask(client: &Client, keys: &Keys) -> Result<Newest, StoreError> {
    let question = ask_newest(keys);
    let answer = client.call(path::RANGE, &question, Repeat::Always, limits::READ);
    Ok(read_newest(&answer.await?))
}

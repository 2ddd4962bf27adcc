//! The channel of a watch: bounded by frames and by bytes, and it says when the reader does not read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use crate::limits;

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stalled {
    /// Nobody reads any more.
    Gone,
    /// Whoever reads has not for too long.
    Full,
}

#[derive(Debug)]
struct Shared {
    /// Bytes that may still wait.
    room: Semaphore,
    failed: AtomicBool,
}

/// The end that writes.
#[derive(Debug)]
pub(crate) struct FrameSender {
    sender: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
    patience: Duration,
}

/// The end that reads.
#[derive(Debug)]
pub struct Frames {
    receiver: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
}

/// What a frame counts for: one that is larger than the bound waits alone.
fn weight(frame: &Bytes) -> u32 {
    u32::try_from(frame.len().min(limits::WATCH_BUFFER_BYTES)).unwrap_or(u32::MAX)
}

pub(super) fn channel(patience: Duration) -> (FrameSender, Frames) {
    let (sender, receiver) = mpsc::channel(limits::WATCH_BUFFER);
    let shared = Arc::new(Shared {
        room: Semaphore::new(limits::WATCH_BUFFER_BYTES),
        failed: AtomicBool::new(false),
    });
    let sender = FrameSender {
        sender,
        shared: Arc::clone(&shared),
        patience,
    };
    (sender, Frames { receiver, shared })
}

impl FrameSender {
    /// Sends a frame as soon as there is room.
    pub(crate) async fn send(&self, frame: Bytes) -> Result<(), Stalled> {
        let weight = weight(&frame);
        // Nearly always there is room: no timer then.
        let frame = match self.shared.room.try_acquire_many(weight) {
            Ok(room) => match self.sender.try_send(frame) {
                Ok(()) => {
                    room.forget();
                    return Ok(());
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(Stalled::Gone),
                Err(mpsc::error::TrySendError::Full(frame)) => frame,
            },
            Err(_) => frame,
        };
        let slow = async {
            let room = tokio::select! {
                room = self.shared.room.acquire_many(weight) => room.map_err(|_| Stalled::Gone)?,
                () = self.sender.closed() => return Err(Stalled::Gone),
            };
            self.sender.send(frame).await.map_err(|_| Stalled::Gone)?;
            room.forget();
            Ok(())
        };
        tokio::time::timeout(self.patience, slow)
            .await
            .unwrap_or(Err(Stalled::Full))
    }

    /// Ends when nobody reads any more.
    pub(crate) async fn closed(&self) {
        self.sender.closed().await;
    }

    /// To wait for the end of the reader beside sending.
    pub(crate) fn reader(&self) -> Reader {
        Reader(self.sender.clone())
    }

    /// Whoever reads gets an error next.
    pub(crate) fn fail(&self) {
        self.shared.failed.store(true, Relaxed);
    }
}

/// The end that reads, seen from the one that writes.
pub(crate) struct Reader(mpsc::Sender<Bytes>);

impl Reader {
    /// Ends when nobody reads any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

impl Frames {
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.shared.failed.load(Relaxed) {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the client did not read");
            return Poll::Ready(Some(Err(error)));
        }
        let received = self.receiver.poll_recv(cx);
        if let Poll::Ready(Some(frame)) = &received {
            self.shared.room.add_permits(weight(frame) as usize);
        }
        received.map(|frame| frame.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_costs_a_bounded_amount() {
        let (sender, mut frames) = channel(limits::WATCH_STALL);
        let frame = Bytes::from(vec![0; limits::WATCH_BUFFER_BYTES / 4]);
        for _ in 0..4 {
            sender.send(frame.clone()).await.unwrap();
        }
        assert_eq!(sender.send(frame.clone()).await, Err(Stalled::Full));
        // Whoever reads again makes room; a frame above the bound waits until it is alone.
        for _ in 0..4 {
            let read = poll_fn(|cx| frames.poll_next(cx)).await;
            assert_eq!(read.unwrap().unwrap().len(), frame.len());
        }
        let large = Bytes::from(vec![0; limits::WATCH_BUFFER_BYTES * 3]);
        sender.send(large.clone()).await.unwrap();
        assert_eq!(sender.send(frame.clone()).await, Err(Stalled::Full));
        assert!(poll_fn(|cx| frames.poll_next(cx)).await.unwrap().is_ok());
        sender.fail();
        assert!(poll_fn(|cx| frames.poll_next(cx)).await.unwrap().is_err());
        drop(frames);
        assert_eq!(sender.send(frame).await, Err(Stalled::Gone));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_bounded_by_number_too() {
        let (sender, _frames) = channel(limits::WATCH_STALL);
        for _ in 0..limits::WATCH_BUFFER {
            sender.send(Bytes::from_static(b"x")).await.unwrap();
        }
        assert_eq!(
            sender.send(Bytes::from_static(b"x")).await,
            Err(Stalled::Full)
        );
    }
}

//! Cuts a connection whose peer takes nothing of what is written to it.
//!
//! An answer that nobody reads lies in memory until its connection ends. TCP alone waits for ever on a peer that is
//! alive and does not read. Conversations of people (consoles, followed logs) are let be: see [`Patience`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::limits;

/// Whether a connection may wait for its peer for ever.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patience(Arc<AtomicBool>);

impl Patience {
    /// From now on it may: what is written is a conversation with a bounded buffer.
    pub(crate) fn endless(&self) {
        self.0.store(true, Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct StallGuard<S> {
    stream: S,
    patience: Patience,
    /// When what could not be written is given up; set while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> StallGuard<S> {
    pub(super) fn new(stream: S, patience: Patience) -> Self {
        StallGuard {
            stream,
            patience,
            deadline: None,
        }
    }

    /// Watches the outcome of a write.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.deadline = None;
            return outcome;
        }
        let due = || Box::pin(tokio::time::sleep(limits::WRITE_STALL));
        let deadline = self.deadline.get_or_insert_with(due);
        while deadline.as_mut().poll(cx).is_ready() {
            if !self.patience.0.load(Relaxed) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            deadline
                .as_mut()
                .reset(Instant::now() + limits::WRITE_STALL);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        // Nothing to flush says nothing about a write that waits.
        if outcome.is_ready() {
            return outcome;
        }
        self.watch(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_cut_and_a_slow_one_is_not() {
        let (mut peer, stream) = tokio::io::duplex(16);
        let mut guard = StallGuard::new(stream, Patience::default());
        let writing = tokio::spawn(async move {
            let outcome = guard.write_all(&[0; 64]).await;
            (guard, outcome)
        });
        for _ in 0..4 {
            tokio::time::sleep(limits::WRITE_STALL / 2).await;
            peer.read_exact(&mut [0; 16]).await.unwrap();
        }
        let (mut guard, outcome) = writing.await.unwrap();
        outcome.unwrap();
        let error = guard.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_conversation_may_pause() {
        let (mut peer, stream) = tokio::io::duplex(16);
        let patience = Patience::default();
        let mut guard = StallGuard::new(stream, patience.clone());
        patience.endless();
        let writing = tokio::spawn(async move { guard.write_all(&[0; 64]).await });
        tokio::time::sleep(limits::WRITE_STALL * 10).await;
        assert!(!writing.is_finished());
        peer.read_exact(&mut [0; 64]).await.unwrap();
        writing.await.unwrap().unwrap();
    }
}

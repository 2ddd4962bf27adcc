//! Bodies: what comes in from any transport, and what goes out.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited};
use tokio::sync::mpsc;

use apimachinery::status::ApiError;

use crate::limits;

mod frames;
mod pieces;

pub use frames::Frames;
pub(crate) use frames::{FrameSender, Stalled};
pub(crate) use pieces::PIECE;
pub use pieces::Pieces;

/// An error of a transport.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body of any transport.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// A response body: complete, or a stream of chunks.
#[derive(Debug)]
pub enum ResponseBody {
    /// All of it, once.
    Full(Option<Bytes>),
    /// Chunks as they come; ends when the sender is dropped, fails when it sends an error.
    Stream(mpsc::Receiver<io::Result<Bytes>>),
    /// All of it, made while it is sent.
    #[doc(hidden)]
    Pieces(Pieces),
    /// Frames of a watch, bounded by number and bytes.
    #[doc(hidden)]
    Frames(Frames),
    /// Another body, and what is to be dropped when it ends or its client goes.
    #[doc(hidden)]
    Held(Box<Held>),
}

/// See [`ResponseBody::Held`].
pub struct Held {
    body: ResponseBody,
    _until: Box<dyn Send + Sync>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.body.fmt(f)
    }
}

impl ResponseBody {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        ResponseBody::Full(None)
    }

    /// The same body; `until` is dropped when it ends or its client goes.
    pub(crate) fn holding(self, until: impl Send + Sync + 'static) -> Self {
        ResponseBody::Held(Box::new(Held {
            body: self,
            _until: Box::new(until),
        }))
    }

    /// The same body; what is made while it is sent is made now.
    pub(crate) fn gathered(self) -> Self {
        match self {
            ResponseBody::Pieces(pieces) => pieces.whole().into(),
            other => other,
        }
    }

    /// A body of frames, with the sender to write to, which waits at most `patience` for the reader.
    pub(crate) fn frames(patience: Duration) -> (FrameSender, Self) {
        let (sender, body) = frames::channel(patience);
        (sender, ResponseBody::Frames(body))
    }

    /// A body that is written while it is read, with the sender to write to.
    #[must_use]
    pub fn channel(buffer: usize) -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, receiver) = mpsc::channel(buffer);
        (sender, ResponseBody::Stream(receiver))
    }
}

impl From<Bytes> for ResponseBody {
    fn from(data: Bytes) -> Self {
        ResponseBody::Full((!data.is_empty()).then_some(data))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            ResponseBody::Full(data) => Poll::Ready(data.take().map(|d| Ok(Frame::data(d)))),
            ResponseBody::Stream(receiver) => receiver
                .poll_recv(cx)
                .map(|item| item.map(|r| r.map(Frame::data))),
            ResponseBody::Pieces(pieces) => {
                Poll::Ready(pieces.next().map(|piece| Ok(Frame::data(piece))))
            }
            ResponseBody::Frames(frames) => frames
                .poll_next(cx)
                .map(|item| item.map(|r| r.map(Frame::data))),
            ResponseBody::Held(held) => Pin::new(&mut held.body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Full(data) => data.is_none(),
            ResponseBody::Pieces(pieces) => pieces.left() == 0,
            ResponseBody::Held(held) => held.body.is_end_stream(),
            ResponseBody::Stream(_) | ResponseBody::Frames(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Full(data) => {
                SizeHint::with_exact(data.as_ref().map_or(0, |d| d.len() as u64))
            }
            ResponseBody::Pieces(pieces) => SizeHint::with_exact(pieces.left()),
            ResponseBody::Held(held) => held.body.size_hint(),
            ResponseBody::Stream(_) | ResponseBody::Frames(_) => SizeHint::default(),
        }
    }
}

/// An empty request body.
pub(crate) fn empty_request() -> RequestBody {
    http_body_util::Empty::new()
        .map_err(|e: Infallible| match e {})
        .boxed_unsync()
}

/// What is said of a body above the limit.
pub(crate) fn too_large() -> ApiError {
    ApiError::too_large(format!("limit is {}", limits::MAX_BODY))
}

/// A request body that is there already.
pub(crate) fn full_request(bytes: Bytes) -> RequestBody {
    http_body_util::Full::new(bytes)
        .map_err(|e: Infallible| match e {})
        .boxed_unsync()
}

/// Reads a whole request body within the limits of size and time.
pub(crate) async fn read(body: RequestBody) -> Result<Bytes, ApiError> {
    // Boxed again: the compiler cannot prove that the bare adapter is `Send`.
    let limited: RequestBody = Limited::new(body, limits::MAX_BODY).boxed_unsync();
    match tokio::time::timeout(limits::BODY_TIMEOUT, limited.collect()).await {
        Err(_) => Err(ApiError::bad_request(
            "the request body did not arrive in time",
        )),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(e)) => Err(ApiError::bad_request(format!(
            "reading the request body: {e}"
        ))),
    }
}

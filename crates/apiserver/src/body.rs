//! Bodies: what comes in from any transport, and what goes out.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited};
use tokio::sync::mpsc;

use apimachinery::status::ApiError;

use crate::limits;

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
}

impl ResponseBody {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        ResponseBody::Full(None)
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
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, ResponseBody::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Full(data) => {
                SizeHint::with_exact(data.as_ref().map_or(0, |d| d.len() as u64))
            }
            ResponseBody::Stream(_) => SizeHint::default(),
        }
    }
}

/// An empty request body.
pub(crate) fn empty_request() -> RequestBody {
    http_body_util::Empty::new()
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
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => Err(ApiError::too_large(
            format!("limit is {}", limits::MAX_BODY),
        )),
        Ok(Err(e)) => Err(ApiError::bad_request(format!(
            "reading the request body: {e}"
        ))),
    }
}

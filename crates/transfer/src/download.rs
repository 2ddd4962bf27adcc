//! One file from its beginning to its end.
//!
//! ```text
//!  open ─► Receiving ─chunk─► Receiving ─► End
//!             │ broken, truncated, stalled
//!             ▼
//!          Broken ─pause─ get(Range: position-, If-Range) ─► Receiving      (ranges, attempts left)
//!             └─► error
//! ```

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::try_unfold;
use http::StatusCode;
use http::header::{self, HeaderMap};
use reqwest::Response;
use sha2::{Digest, Sha256};
use tokio::io::AsyncBufRead;
use tokio_util::io::StreamReader;
use tracing::warn;

use crate::error::chain;
use crate::{Endpoint, TransferError};

/// What names one version of a file: a strong entity tag, else its date (RFC 9110, 13.1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator(String);

impl Validator {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        text(header::ETAG)
            .filter(|tag| !tag.starts_with("W/"))
            .or_else(|| text(header::LAST_MODIFIED))
            .map(|value| Self(value.to_owned()))
    }
}

/// The digest of a download, readable after the download has been given away.
#[derive(Clone, Debug, Default)]
pub struct RunningDigest(Arc<Mutex<Sha256>>);

impl RunningDigest {
    fn update(&self, bytes: &[u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .update(bytes);
    }

    /// SHA-256 so far, in lower-case hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        let state = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        state
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// What the server says about the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its length.
    pub total: Option<u64>,
    /// Whether parts of it can be asked for.
    pub ranges: bool,
    /// Its version.
    pub validator: Option<Validator>,
    /// Its media type.
    pub content_type: Option<String>,
}

impl About {
    /// Whether the file can be read by position.
    #[must_use]
    pub fn by_position(&self) -> bool {
        self.ranges && self.total.is_some()
    }
}

/// See the module's story.
#[derive(Debug)]
pub struct Download {
    endpoint: Arc<Endpoint>,
    about: About,
    body: Option<Response>,
    /// Bytes pushed back, to be handed out again first.
    unread: Option<Bytes>,
    /// Position of the next byte from the server.
    position: u64,
    /// Where the answer in hand ends; servers may send less than asked for.
    segment_end: Option<u64>,
    /// Where this download ends, if that is known.
    end: Option<u64>,
    failures: u32,
    since_failure: u64,
    stall: Stall,
    /// Of what came in order; parts have none.
    digest: Option<RunningDigest>,
}

/// Time spent waiting, and what came of it.
#[derive(Debug, Default)]
struct Stall {
    waited: std::time::Duration,
    bytes: u64,
}

impl Download {
    /// Asks for the whole file, and learns whether its parts can be asked for.
    ///
    /// # Errors
    /// When the server cannot be reached within the allowed attempts, or has no such file.
    pub async fn open(endpoint: Arc<Endpoint>) -> Result<Self, TransferError> {
        let mut failures = 0;
        loop {
            match Self::first(endpoint.clone()).await {
                Err(error) if error.is_transient() => {
                    failures += 1;
                    pause(&endpoint, failures, error).await?;
                }
                done => return done,
            }
        }
    }

    async fn first(endpoint: Arc<Endpoint>) -> Result<Self, TransferError> {
        let response = endpoint.get(0, None, None).await?;
        let headers = response.headers();
        let content_type = headers.get(header::CONTENT_TYPE);
        let mut about = About {
            total: None,
            ranges: false,
            validator: Validator::of(headers),
            content_type: content_type
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned),
        };
        let mut segment_end = None;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let part = Part::of(&endpoint, headers)?;
                if part.start != 0 {
                    let why = format!("asked for byte 0, got byte {}", part.start);
                    return Err(TransferError::Range {
                        url: endpoint.name(),
                        why,
                    });
                }
                about.ranges = true;
                about.total = part.total;
                segment_end = Some(part.end);
            }
            StatusCode::OK => about.total = length(headers),
            // RFC 9110 15.5.17: no byte range of an empty file can be satisfied.
            _ => {
                return Err(TransferError::Empty {
                    url: endpoint.name(),
                });
            }
        }
        if about.total == Some(0) {
            return Err(TransferError::Empty {
                url: endpoint.name(),
            });
        }
        let end = about.total;
        let mut download = Self::at(endpoint, about, 0, end, Some(response), segment_end);
        download.digest = Some(RunningDigest::default());
        Ok(download)
    }

    fn at(
        endpoint: Arc<Endpoint>,
        about: About,
        position: u64,
        end: Option<u64>,
        body: Option<Response>,
        segment_end: Option<u64>,
    ) -> Self {
        Self {
            endpoint,
            about,
            body,
            unread: None,
            position,
            segment_end,
            end,
            failures: 0,
            since_failure: 0,
            stall: Stall::default(),
            digest: None,
        }
    }

    /// The same file from `start` to `end`; asked for with the first [`Download::chunk`].
    pub(crate) fn part(&self, start: u64, end: u64) -> Self {
        Self::at(
            self.endpoint.clone(),
            self.about.clone(),
            start,
            Some(end),
            None,
            None,
        )
    }

    /// What the server said.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The URL, for words.
    #[must_use]
    pub fn name(&self) -> String {
        self.endpoint.name()
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Position of the byte that the next [`Download::chunk`] begins with.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position - self.unread.as_ref().map_or(0, |bytes| bytes.len() as u64)
    }

    /// Hands `bytes`, the last that came, out again.
    pub fn unread(&mut self, bytes: Bytes) {
        self.unread = (!bytes.is_empty()).then_some(bytes);
    }

    /// SHA-256 of what was and will be received since [`Download::open`], in order.
    #[must_use]
    pub fn digest(&self) -> RunningDigest {
        self.digest.clone().unwrap_or_default()
    }

    /// The next bytes; `None` at the end, which has been verified where the length is known.
    ///
    /// # Errors
    /// When the transfer breaks and cannot be resumed within the allowed attempts.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, TransferError> {
        if let Some(bytes) = self.unread.take() {
            return Ok(Some(bytes));
        }
        loop {
            if self.end.is_some_and(|end| self.position >= end) {
                self.body = None;
                return Ok(None);
            }
            match self.receive().await {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) if self.segment_end == Some(self.position) => self.body = None,
                Ok(None) => match self.end {
                    None => return Ok(None),
                    Some(total) => {
                        let (url, received) = (self.name(), self.position);
                        self.broke(TransferError::Truncated {
                            url,
                            received,
                            total,
                        })
                        .await?;
                    }
                },
                Err(error) if error.is_transient() => self.broke(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Everything up to `limit` bytes or the end, whichever comes first; a little more may come.
    ///
    /// # Errors
    /// As [`Download::chunk`].
    pub async fn fill(&mut self, limit: usize) -> Result<Bytes, TransferError> {
        let mut head = bytes::BytesMut::new();
        while head.len() < limit {
            match self.chunk().await? {
                Some(bytes) => head.extend_from_slice(&bytes),
                None => break,
            }
        }
        Ok(head.freeze())
    }

    /// One chunk of the answer in hand; asks for an answer when there is none.
    async fn receive(&mut self) -> Result<Option<Bytes>, TransferError> {
        if self.body.is_none() {
            self.body = Some(self.again().await?);
        }
        let Some(body) = self.body.as_mut() else {
            return Ok(None);
        };
        let limits = self.endpoint.limits();
        let left = limits.stall_timeout.saturating_sub(self.stall.waited);
        let begun = Instant::now();
        let result = tokio::time::timeout(left, body.chunk()).await;
        self.stall.waited += begun.elapsed();
        let mut bytes = match result {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(error)) => {
                return Err(TransferError::Broken {
                    url: self.name(),
                    received: self.position,
                    total: self.about.total,
                    source: error.without_url().into(),
                });
            }
            Err(_) => {
                let (bytes, seconds) = (limits.stall_bytes, limits.stall_timeout.as_secs());
                self.stall = Stall::default();
                let (url, received, total) = (self.name(), self.position, self.about.total);
                return Err(TransferError::Stalled {
                    url,
                    received,
                    total,
                    bytes,
                    seconds,
                });
            }
        };
        if let Some(end) = self.end {
            let left = usize::try_from(end - self.position).unwrap_or(usize::MAX);
            bytes.truncate(left);
        }
        self.endpoint.count(bytes.len());
        if let Some(digest) = &self.digest {
            digest.update(&bytes);
        }
        self.position += bytes.len() as u64;
        self.since_failure += bytes.len() as u64;
        self.stall.bytes += bytes.len() as u64;
        if self.stall.bytes >= limits.stall_bytes {
            self.stall = Stall::default();
        }
        Ok(Some(bytes))
    }

    /// Asks for the rest, and makes sure that it is the rest of the same file.
    async fn again(&mut self) -> Result<Response, TransferError> {
        let validator = self.about.validator.as_ref();
        let (url, received) = (self.name(), self.position);
        let response = self
            .endpoint
            .get(self.position, self.end, validator)
            .await?;
        if response.status() == StatusCode::OK && self.position == 0 && !self.about.ranges {
            self.segment_end = None;
            let same = Validator::of(response.headers()) == self.about.validator
                && length(response.headers()) == self.about.total;
            return if same {
                Ok(response)
            } else {
                Err(TransferError::Changed { url, received })
            };
        }
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(TransferError::Changed { url, received });
        }
        let part = Part::of(&self.endpoint, response.headers())?;
        if part.start != self.position {
            let why = format!("asked for byte {}, got byte {}", self.position, part.start);
            return Err(TransferError::Range { url, why });
        }
        if part.total.is_some() && self.about.total.is_some() && part.total != self.about.total {
            return Err(TransferError::Changed { url, received });
        }
        self.segment_end = Some(part.end);
        Ok(response)
    }

    /// Counts a failure; an error when that was the last allowed or nothing can be resumed.
    async fn broke(&mut self, error: TransferError) -> Result<(), TransferError> {
        self.body = None;
        if self.position > 0 && !self.about.ranges {
            return Err(TransferError::NotResumable {
                source: Box::new(error),
            });
        }
        if self.since_failure >= self.endpoint.limits().progress_bytes {
            self.failures = 0;
        }
        self.since_failure = 0;
        self.failures += 1;
        pause(&self.endpoint, self.failures, error).await
    }

    /// The rest of the file as a reader. Its errors carry [`TransferError`]s.
    pub fn into_reader(self) -> impl AsyncBufRead + Send + Unpin {
        StreamReader::new(Box::pin(try_unfold(self, |mut download| async move {
            match download.chunk().await {
                Ok(Some(bytes)) => Ok(Some((bytes, download))),
                Ok(None) => Ok(None),
                Err(error) => Err(io::Error::other(error)),
            }
        })))
    }
}

async fn pause(
    endpoint: &Endpoint,
    failures: u32,
    error: TransferError,
) -> Result<(), TransferError> {
    if failures >= endpoint.limits().attempts {
        return Err(TransferError::GaveUp {
            attempts: failures,
            source: Box::new(error),
        });
    }
    let pause = endpoint.limits().pause(failures);
    warn!(failures, ?pause, "{}; trying again", chain(&error));
    tokio::time::sleep(pause).await;
    Ok(())
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// `Content-Range: bytes START-LAST/TOTAL` (RFC 9110, 14.4).
struct Part {
    start: u64,
    end: u64,
    total: Option<u64>,
}

impl Part {
    fn of(endpoint: &Endpoint, headers: &HeaderMap) -> Result<Self, TransferError> {
        let value = headers
            .get(header::CONTENT_RANGE)
            .and_then(|value| value.to_str().ok());
        let value = value.unwrap_or_default();
        Self::parse(value).ok_or_else(|| TransferError::Range {
            url: endpoint.name(),
            why: format!(
                "Content-Range is '{}'",
                value.chars().take(100).collect::<String>()
            ),
        })
    }

    fn parse(value: &str) -> Option<Self> {
        let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
        let (start, last) = range.split_once('-')?;
        let start: u64 = start.trim().parse().ok()?;
        let end = last.trim().parse::<u64>().ok()?.checked_add(1)?;
        let total = match total.trim() {
            "*" => None,
            total => Some(total.parse().ok()?),
        };
        (start < end && total.is_none_or(|total| end <= total)).then_some(Self {
            start,
            end,
            total,
        })
    }
}

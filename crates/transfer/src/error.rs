//! Why a transfer failed, and what the owner of the source can do about it.

use std::error::Error;

use http::StatusCode;

/// A transfer that failed. URLs in it bear neither password nor query.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The URL cannot be used at all.
    #[error("'{url}' is not a usable URL: {why}")]
    Url {
        /// As given, redacted.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The CA bundle is not PEM with certificates.
    #[error("the CA bundle for {url} is not usable")]
    Certificates {
        /// The source.
        url: String,
        /// What is wrong.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// An extra header is no HTTP header. Its value may be a secret and is not shown.
    #[error("the extra header '{name}' is not a valid HTTP header")]
    Header {
        /// Its name.
        name: String,
    },
    /// No answer: name resolution, connection, TLS, or a malformed answer.
    #[error("cannot reach {url}")]
    Unreachable {
        /// Where to.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No head of an answer within the limit.
    #[error("{url} did not answer within {seconds} s")]
    NoAnswer {
        /// Where to.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// An answer that is not the file.
    #[error("{url}: {status}: {}", hint(*.status))]
    Status {
        /// Where to.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// A chain of redirects that does not end.
    #[error("{url} redirects more than {limit} times, at last to {last}: use the final address")]
    Redirects {
        /// Where to.
        url: String,
        /// The bound.
        limit: usize,
        /// The last target.
        last: String,
    },
    /// A redirect that must not be followed.
    #[error("{url} redirects to '{target}': {why}")]
    RedirectTarget {
        /// Where to.
        url: String,
        /// The target.
        target: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file has no content.
    #[error("{url} is empty")]
    Empty {
        /// Where to.
        url: String,
    },
    /// The connection broke.
    #[error("the connection to {url} broke after {received} of {} bytes", known(*.total))]
    Broken {
        /// Where to.
        url: String,
        /// Bytes received.
        received: u64,
        /// Bytes there are, if the server said so.
        total: Option<u64>,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The body ended before its announced length.
    #[error("{url} is truncated: {received} of {total} bytes arrived")]
    Truncated {
        /// Where to.
        url: String,
        /// Bytes received.
        received: u64,
        /// Bytes announced.
        total: u64,
    },
    /// Too slow to call it a transfer.
    #[error("{url} stalled after {received} of {} bytes: less than {bytes} bytes in {seconds} s", known(*.total))]
    Stalled {
        /// Where to.
        url: String,
        /// Bytes received.
        received: u64,
        /// Bytes there are, if the server said so.
        total: Option<u64>,
        /// The least that was expected.
        bytes: u64,
        /// In which time.
        seconds: u64,
    },
    /// The file is another one than when the transfer began.
    #[error("{url} changed on the server during the transfer, after {received} bytes: start again")]
    Changed {
        /// Where to.
        url: String,
        /// Bytes received of the older version.
        received: u64,
    },
    /// The server answers range requests with something else than the range.
    #[error("{url}: the server's answer to a range request makes no sense: {why}")]
    Range {
        /// Where to.
        url: String,
        /// What came.
        why: String,
    },
    /// It broke, and the server offers no range requests to go on with.
    #[error("the transfer cannot be resumed because the server offers no range requests")]
    NotResumable {
        /// What happened.
        #[source]
        source: Box<Self>,
    },
    /// It failed as often as is allowed.
    #[error("gave up after {attempts} attempts")]
    GaveUp {
        /// How often.
        attempts: u32,
        /// The last failure.
        #[source]
        source: Box<Self>,
    },
}

impl TransferError {
    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::Broken { .. }
            | Self::Truncated { .. }
            | Self::Stalled { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            _ => false,
        }
    }
}

/// The message with all its causes, once each: `A: because B: because C`.
#[must_use]
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        // Some libraries repeat their source in their own words.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

fn known(total: Option<u64>) -> String {
    total.map_or_else(
        || "an unknown number of".to_owned(),
        |total| total.to_string(),
    )
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            "there is no file at this address: check the URL"
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "the server does not allow it: set credentials (secretRef or extraHeaders)"
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => "the proxy wants credentials",
        StatusCode::TOO_MANY_REQUESTS => "the server asks for fewer requests",
        status if status.is_server_error() => "the server has a problem of its own",
        _ => "this is no answer to a download",
    }
}

//! A source: its URL, how to speak to it, and how requests reach it through redirects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use reqwest::{Certificate, Client, Response, Url, redirect};

use crate::download::Validator;
use crate::{Limits, TransferError};

/// What to transfer, as a user gives it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `http` or `https`; may hold a user and password.
    pub url: String,
    /// Sent to the URL's own origin only.
    pub headers: Vec<(String, String)>,
    /// User and password for the URL's own origin.
    pub credentials: Option<(String, String)>,
    /// Further certificate authorities to trust, PEM.
    pub ca_pem: Vec<u8>,
    /// Bounds.
    pub limits: Limits,
}

/// A source that was looked at but not yet spoken to.
#[derive(Debug)]
pub struct Endpoint {
    client: Client,
    url: Url,
    headers: HeaderMap,
    limits: Limits,
    received: Arc<AtomicU64>,
}

impl Endpoint {
    /// Checks the request.
    ///
    /// # Errors
    /// When the URL, the headers or the certificates are not usable.
    pub fn new(request: &Request) -> Result<Self, TransferError> {
        let bad = |why: String| TransferError::Url {
            url: redact_text(&request.url),
            why,
        };
        let mut url = Url::parse(&request.url).map_err(|error| bad(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("only http and https are supported".to_owned()));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let invalid = || TransferError::Header { name: name.clone() };
            let key: HeaderName = name.trim().parse().map_err(|_| invalid())?;
            let mut value = HeaderValue::from_str(value.trim()).map_err(|_| invalid())?;
            value.set_sensitive(true);
            headers.append(key, value);
        }
        if let Some((user, password)) = &request.credentials {
            let refused = |()| bad("it cannot carry credentials".to_owned());
            url.set_username(user).map_err(refused)?;
            url.set_password(Some(password)).map_err(refused)?;
        }
        let client = client(&redact(&url), &request.ca_pem, &request.limits)?;
        let received = Arc::default();
        Ok(Self {
            client,
            url,
            headers,
            limits: request.limits.clone(),
            received,
        })
    }

    /// The URL without what is secret in it.
    #[must_use]
    pub fn name(&self) -> String {
        redact(&self.url)
    }

    /// Bytes of bodies received so far, by everything that reads from this endpoint.
    #[must_use]
    pub fn received(&self) -> Arc<AtomicU64> {
        self.received.clone()
    }

    pub(crate) fn count(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// One request for `start..end` (to the end of the file without `end`), through redirects.
    ///
    /// # Errors
    /// When there is no answer, or its status is neither 200 nor 206 nor 416.
    pub(crate) async fn get(
        &self,
        start: u64,
        end: Option<u64>,
        validator: Option<&Validator>,
    ) -> Result<Response, TransferError> {
        let last = end.map(|end| (end - 1).to_string()).unwrap_or_default();
        let mut url = self.url.clone();
        for _ in 0..=self.limits.redirects {
            let mut request = self
                .client
                .request(Method::GET, url.clone())
                .header(header::RANGE, format!("bytes={start}-{last}"))
                .header(header::ACCEPT_ENCODING, "identity");
            if let Some(validator) = validator {
                request = request.header(header::IF_RANGE, validator.as_str());
            }
            if url.origin() == self.url.origin() {
                request = request.headers(self.headers.clone());
            }
            let response = self.send(request).await?;
            let status = response.status();
            match status {
                StatusCode::OK
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::RANGE_NOT_SATISFIABLE => {
                    return Ok(response);
                }
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => url = self.follow(&url, &response)?,
                _ => {
                    return Err(TransferError::Status {
                        url: self.name(),
                        status,
                    });
                }
            }
        }
        Err(TransferError::Redirects {
            url: self.name(),
            limit: self.limits.redirects,
            last: redact(&url),
        })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, TransferError> {
        let limit = self.limits.response_timeout;
        match tokio::time::timeout(limit, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(TransferError::Unreachable {
                url: self.name(),
                source: error.without_url().into(),
            }),
            Err(_) => Err(TransferError::NoAnswer {
                url: self.name(),
                seconds: limit.as_secs(),
            }),
        }
    }

    fn follow(&self, from: &Url, response: &Response) -> Result<Url, TransferError> {
        let location = response.headers().get(header::LOCATION);
        let location = location
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let refused = |why| TransferError::RedirectTarget {
            url: self.name(),
            target: redact_text(location),
            why,
        };
        let target = from.join(location).map_err(|_| refused("this is no URL"))?;
        match (from.scheme(), target.scheme()) {
            _ if location.is_empty() => Err(refused("there is no Location")),
            ("https", "http") => Err(refused(
                "from https to http, which would give up its protection",
            )),
            (_, "http" | "https") => Ok(target),
            _ => Err(refused("only http and https are supported")),
        }
    }
}

/// A client that trusts the system's authorities and `ca_pem`.
fn client(url: &str, ca_pem: &[u8], limits: &Limits) -> Result<Client, TransferError> {
    let failed = |source: reqwest::Error| TransferError::Certificates {
        url: url.to_owned(),
        source: source.into(),
    };
    let authorities = Certificate::from_pem_bundle(ca_pem).map_err(failed)?;
    if authorities.is_empty() && !ca_pem.is_empty() {
        return Err(TransferError::Certificates {
            url: url.to_owned(),
            source: "it holds no PEM certificate".into(),
        });
    }
    let builder = || {
        Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(limits.connect_timeout)
            .pool_idle_timeout(limits.stall_timeout)
            .user_agent(concat!("ferrovirt/", env!("CARGO_PKG_VERSION")))
    };
    builder()
        .tls_certs_merge(authorities.clone())
        .build()
        // A bare machine has no certificate authorities at all; its http sources shall work, and
        // https with a CA of its own.
        .or_else(|_| builder().tls_certs_only(authorities).build())
        .map_err(failed)
}

/// A URL without user, password, query and fragment.
fn redact(url: &Url) -> String {
    let mut url = url.clone();
    // These fail for URLs that cannot have them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// The same for text that may be no URL.
fn redact_text(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) => redact(&url),
        Err(_) => {
            let plain: String = text
                .split(['?', '#'])
                .next()
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect();
            plain.rsplit('@').next().unwrap_or_default().to_owned()
        }
    }
}

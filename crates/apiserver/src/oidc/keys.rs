//! The keys of one issuer: fetched when needed, kept, fetched again when they may have changed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Uri;
use pki::IssuerKeys;
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::time::Instant;

use super::{FETCH, Issuer, https_url};
use crate::https;

/// Largest discovery document and key set.
const MAX_DOCUMENT: usize = 512 * 1024;
/// Keys older than this are fetched again in the background.
const OLD: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Clone)]
pub(super) struct KeySource(Arc<Inner>);

struct Inner {
    issuer: String,
    pause: Duration,
    discovery: Uri,
    tls: Arc<ClientConfig>,
    keys: ArcSwap<IssuerKeys>,
    /// Held while keys are fetched.
    fetching: tokio::sync::Mutex<()>,
    last: Mutex<Last>,
}

/// The last fetch.
#[derive(Default)]
struct Last {
    tried: Option<Instant>,
    succeeded: Option<Instant>,
    error: String,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl KeySource {
    pub(super) fn new(issuer: &Issuer, discovery: Uri, tls: ClientConfig) -> Self {
        KeySource(Arc::new(Inner {
            issuer: issuer.url.clone(),
            pause: issuer.pause,
            discovery,
            tls: Arc::new(tls),
            keys: ArcSwap::default(),
            fetching: tokio::sync::Mutex::default(),
            last: Mutex::default(),
        }))
    }

    /// The keys as they are known.
    pub(super) fn current(&self) -> Arc<IssuerKeys> {
        self.0.keys.load_full()
    }

    /// The keys as the issuer has them, unless it was asked a moment ago: then as they are known.
    pub(super) async fn refreshed(&self) -> Result<Arc<IssuerKeys>, String> {
        let waited_from = Instant::now();
        let _fetching = self.0.fetching.lock().await;
        {
            let last = self.0.last();
            // Who waited for another's fetch takes its outcome.
            let is_fresh = last
                .tried
                .is_some_and(|at| at >= waited_from || at.elapsed() < self.0.pause);
            if is_fresh && last.error.is_empty() {
                return Ok(self.current());
            }
            if is_fresh {
                return Err(last.error.clone());
            }
        }
        self.0.fetch().await?;
        Ok(self.current())
    }

    /// Fetches keys that have become old, behind the back of the caller.
    pub(super) fn refresh_when_old(&self) {
        let due = |last: &Last| {
            last.succeeded.is_some_and(|at| at.elapsed() > OLD)
                && last.tried.is_none_or(|at| at.elapsed() > self.0.pause)
        };
        if !due(&self.0.last()) {
            return;
        }
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let Ok(_fetching) = inner.fetching.try_lock() else {
                return;
            };
            // Failure is remembered and said in `fetch`; what is known stays in use meanwhile.
            let _ = inner.fetch().await;
        });
    }
}

impl Inner {
    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self) -> Result<(), String> {
        let fetched = self.documents().await;
        let now = Instant::now();
        let mut last = self.last();
        last.tried = Some(now);
        match fetched {
            Ok(keys) => {
                self.keys.store(Arc::new(keys));
                last.succeeded = Some(now);
                last.error.clear();
                Ok(())
            }
            Err(why) => {
                tracing::warn!(
                    issuer = self.issuer,
                    why,
                    "fetching the keys of an OIDC issuer"
                );
                last.error = format!("the issuer's keys cannot be fetched: {why}");
                Err(last.error.clone())
            }
        }
    }

    async fn documents(&self) -> Result<IssuerKeys, String> {
        let get = |uri: Uri| async move {
            https::get(&uri, Arc::clone(&self.tls), MAX_DOCUMENT, FETCH).await
        };
        let document = get(self.discovery.clone()).await?;
        let discovery: Discovery = serde_json::from_slice(&document)
            .map_err(|e| format!("{} is no discovery document: {e}", self.discovery))?;
        if discovery.issuer != self.issuer {
            return Err(format!(
                "{} is the discovery document of {:?}",
                self.discovery, discovery.issuer
            ));
        }
        let jwks = get(https_url(&discovery.jwks_uri)?).await?;
        IssuerKeys::parse(&jwks).map_err(|e| format!("{}: {e}", discovery.jwks_uri))
    }
}

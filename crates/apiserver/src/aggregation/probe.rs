//! Whether a server is well: its discovery document is asked for, again and again.
//!
//! ```text
//! destination known? ── no ─► its reason
//!      │ yes
//!      ▼ GET /apis/<group>/<version> ─► 200, an APIResourceList ─► Passed; its resources, its OpenAPI
//!                                    └► anything else           ─► FailedDiscoveryCheck
//! again: after half a minute when well; else soon, then less and less often; at once when the routes change
//! or a request could not be delivered
//! ```

use std::sync::Arc;
use std::time::Duration;

use ::authz::User;
use apimachinery::gvk::GroupVersion;
use apimachinery::status::ApiError;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;

use super::headers;
use super::remote::{Health, Remote, V2};
use crate::apiservices;
use crate::body;
use crate::registry::Registry;
use crate::service_resolver::Unavailable;

/// Time for one document.
const BOUND: Duration = Duration::from_secs(5);
/// Largest document.
const MAX_DOCUMENT: usize = 4 * 1024 * 1024;
/// Pause while all is well.
const WELL: Duration = Duration::from_secs(30);
/// First pause after a failure; it doubles up to [`WELL`].
const FIRST: Duration = Duration::from_millis(500);

/// Probes until the route is gone.
pub(super) async fn run(registry: Arc<Registry>, remote: Arc<Remote>) {
    let gone = remote.gone.clone();
    gone.run_until_cancelled_owned(async move {
        let mut pause = FIRST;
        loop {
            let wait = if Box::pin(remote.probe(&registry)).await {
                pause = FIRST;
                WELL
            } else {
                pause = (pause * 2).min(WELL);
                pause
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // However many ask, the server is not asked more often than this.
                () = remote.recheck.notified() => tokio::time::sleep(FIRST / 5).await,
            }
        }
    })
    .await;
}

impl Remote {
    /// One probe; says whether the server is well.
    async fn probe(&self, registry: &Arc<Registry>) -> bool {
        let before = self.health();
        let destination = self.destination.load_full();
        let found = match &*destination {
            Err(unavailable) => Err(unavailable.clone()),
            Ok(_) => self.discover().await.map_err(|e| Unavailable {
                reason: "FailedDiscoveryCheck",
                message: format!(
                    "failing or missing response from https://{}/apis/{}/{}: {}",
                    self.authority.as_ref().map_or("", |a| a.as_str()),
                    self.group,
                    self.version,
                    e.0.message
                ),
            }),
        };
        let health = match found {
            Ok(resources) => Health {
                available: Ok(()),
                resources: Some(Arc::new(resources)),
                // Not every server has documents; those that have none are well too.
                openapi: self.openapi_hash().await.ok().flatten(),
                openapi_v2: self.openapi_v2(before.openapi_v2.clone()).await,
            },
            Err(unavailable) => Health {
                available: Err(unavailable),
                resources: before.resources.clone(),
                openapi: None,
                openapi_v2: before.openapi_v2.clone(),
            },
        };
        let available = health.available.clone();
        self.set_health(health);
        let (reason, message) = match &available {
            Ok(()) => ("Passed", "all checks passed"),
            Err(unavailable) => (unavailable.reason, unavailable.message.as_str()),
        };
        apiservices::write_condition(registry, (&self.group, &self.version), reason, message).await;
        available.is_ok()
    }

    async fn discover(&self) -> Result<Value, ApiError> {
        let document = self
            .document(&format!("/apis/{}/{}", self.group, self.version))
            .await?;
        let is_list = document["kind"] == "APIResourceList" && document["resources"].is_array();
        if is_list {
            Ok(document)
        } else {
            Err(ApiError::internal("the answer is no APIResourceList"))
        }
    }

    async fn openapi_hash(&self) -> Result<Option<String>, ApiError> {
        let index = self.document("/openapi/v3").await?;
        let of = GroupVersion::new(self.group.clone(), self.version.clone());
        let path = format!("apis/{}/{}", of.group, of.version);
        let url = index["paths"][&path]["serverRelativeURL"].as_str();
        Ok(url.map(|url| match url.split_once("?hash=") {
            // It goes into a URL of ours.
            Some((_, hash)) if hash.bytes().all(|b| b.is_ascii_alphanumeric()) => hash.to_owned(),
            _ => schema::openapi::document_hash(url.as_bytes()),
        }))
    }

    /// What is said in v2, which is what it was `before` when the server says that nothing has changed, or nothing of
    /// use.
    async fn openapi_v2(&self, before: Option<Arc<V2>>) -> Option<Arc<V2>> {
        let known = before.as_ref().and_then(|v2| v2.tag.clone());
        let Ok(Some((tag, document))) = self.ask("/openapi/v2", known).await else {
            return before;
        };
        let of = GroupVersion::new(self.group.clone(), self.version.clone());
        let part = schema::openapi::v2_foreign_part(&of, document);
        let name = schema::openapi::document_hash(format!("{part:?}").as_bytes());
        Some(Arc::new(V2 { tag, name, part }))
    }

    async fn document(&self, path: &str) -> Result<Value, ApiError> {
        let answer = self.ask(path, None).await?;
        let nothing = || ApiError::internal("the answer is that nothing has changed");
        answer.map(|(_, document)| document).ok_or_else(nothing)
    }

    /// A document with its `ETag`; `None` when it still has the tag that is `known`.
    async fn ask(
        &self,
        path: &str,
        known: Option<HeaderValue>,
    ) -> Result<Option<(Option<HeaderValue>, Value)>, ApiError> {
        let conditional = known.is_some();
        let mut request = Request::new(body::empty_request());
        *request.uri_mut() = self.uri(path)?;
        let user = User::new("system:kube-aggregator", &["system:masters"]);
        headers::identify(&user, request.headers_mut())?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::ACCEPT, json);
        if let Some(known) = known {
            request.headers_mut().insert(header::IF_NONE_MATCH, known);
        }
        let exchange = async {
            let response = self.send(request, BOUND).await?;
            if conditional && response.status() == StatusCode::NOT_MODIFIED {
                return Ok(None);
            }
            if response.status() != StatusCode::OK {
                let status = response.status();
                return Err(ApiError::internal(format!("bad status: {status}")));
            }
            let tag = response.headers().get(header::ETAG).cloned();
            let body = Limited::new(response.into_body(), MAX_DOCUMENT);
            let bytes = body
                .collect()
                .await
                .map_err(|e| ApiError::internal(format!("reading the answer: {e}")))?
                .to_bytes();
            let document = serde_json::from_slice(&bytes)
                .map_err(|e| ApiError::internal(format!("the answer is no JSON: {e}")))?;
            Ok(Some((tag, document)))
        };
        tokio::time::timeout(BOUND, exchange)
            .await
            .map_err(|_| ApiError::internal(format!("no answer within {BOUND:?}")))?
    }
}

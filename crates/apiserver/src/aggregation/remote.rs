//! One group version of another server.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use http::uri::Authority;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use schema::openapi::V2Part;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::connector::{Connector, Destination};
use crate::body::RequestBody;
use crate::service_resolver::{Address, ServiceReference, Unavailable};
use crate::tls_client::{self, Identity, Trust};

/// Idle connections kept to one server, and for how long.
const IDLE: usize = 32;
const IDLE_FOR: Duration = Duration::from_secs(60);

/// What an APIService says of its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub service: ServiceReference,
    /// PEM, empty for the system's roots.
    pub ca: Vec<u8>,
    /// Whether any certificate will do.
    pub insecure: bool,
    pub group_priority: i64,
    pub version_priority: i64,
}

/// What a server says of its group version in its OpenAPI v2 document.
#[derive(Debug)]
pub(crate) struct V2 {
    /// The document's `ETag`, to ask whether there is a newer one.
    pub(super) tag: Option<HeaderValue>,
    /// A name for the content.
    pub name: String,
    /// The content.
    pub part: V2Part,
}

/// What the last probe found.
#[derive(Clone, Debug)]
pub(super) struct Health {
    /// Reason and message of the condition `Available`.
    pub available: Result<(), Unavailable>,
    /// The `APIResourceList` of when it was last well.
    pub resources: Option<Arc<Value>>,
    /// A name for the content of its OpenAPI document, when it has one.
    pub openapi: Option<String>,
    /// What its OpenAPI v2 document says of the group version, of when it was last well.
    pub openapi_v2: Option<Arc<V2>>,
}

/// See the module.
pub(crate) struct Remote {
    pub group: String,
    pub version: String,
    pub(super) spec: Spec,
    pub(super) destination: Arc<Destination>,
    /// Connections, or why there can be none.
    pub(super) client: Result<Client<Connector, RequestBody>, String>,
    pub(super) authority: Option<Authority>,
    health: ArcSwap<Health>,
    /// Asks for a probe now.
    pub(super) recheck: Notify,
    /// Cancelled when the route is gone: by the follower, or with the server.
    pub(super) gone: CancellationToken,
}

impl Remote {
    pub(super) fn new(
        (group, version): (String, String),
        spec: Spec,
        destination: Result<Vec<Address>, Unavailable>,
        identity: Option<&Identity>,
        stop: &CancellationToken,
    ) -> Self {
        let host = spec.service.host();
        let port = spec.service.port;
        let trust = if spec.insecure {
            Trust::Anyone
        } else {
            Trust::Bundle(&spec.ca)
        };
        let destination = Arc::new(ArcSwap::from_pointee(destination));
        let client = tls_client::config_as(trust, identity).map(|tls| {
            let connector = Connector {
                destination: Arc::clone(&destination),
                name: host.as_str().into(),
                tls: Arc::new(tls),
            };
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(IDLE)
                .pool_idle_timeout(IDLE_FOR)
                .pool_timer(TokioTimer::new())
                .build(connector)
        });
        Remote {
            group,
            version,
            authority: format!("{host}:{port}").parse().ok(),
            client,
            spec,
            destination,
            health: ArcSwap::from_pointee(Health {
                available: Err(Unavailable {
                    reason: "FailedDiscoveryCheck",
                    message: "the server was not asked yet".to_owned(),
                }),
                resources: None,
                openapi: None,
                openapi_v2: None,
            }),
            recheck: Notify::new(),
            gone: stop.child_token(),
        }
    }

    /// As the last probe found it.
    pub(super) fn health(&self) -> Arc<Health> {
        self.health.load_full()
    }

    pub(super) fn set_health(&self, health: Health) {
        self.health.store(Arc::new(health));
    }
}

//! API groups that other servers serve: requests for them are forwarded, their documents merged with ours.
//!
//! ```text
//! APIServices, Services, EndpointSlices, Endpoints ─► routes: (group, version) ─► Remote
//!                                                                                  │ probe: GET /apis/<g>/<v>
//! request, authorized ─► Remote ─► pool of TLS connections ─► server               ├─► condition Available
//!     headers: who asks (front proxy), nothing of ours            │                └─► discovery, OpenAPI
//!     answer, watch, upgraded connection ◄────────────────────────┘
//! ```
//! | | |
//! |---|---|
//! | [`connector`] | TLS connections for the pool, found by `crate::service_resolver` |
//! | [`headers`] | what is sent on, and what is not; pure |
//! | [`forward`] | one request |
//! | [`probe`] | whether a server is well, and what it serves |
//! | [`documents`] | discovery documents with theirs; pure |
//! | [`follow`] | keeps the routes |
//!
//! # Trust
//!
//! The remote server is known by its certificate, for `<service>.<namespace>.svc`, by the `caBundle`, whatever
//! address it was reached by. It knows us by the front-proxy certificate, and believes the user that we name:
//! APIServices are therefore the affair of cluster administrators, as upstream. Addresses that are never a server
//! of a cluster (link-local, where clouds keep their metadata; multicast; unspecified) are not connected to.
//! Loopback is: without a network of Services, a backend may run beside this server.
//!
//! Group versions that are built in are never taken over by another server.

mod connector;
mod documents;
mod follow;
mod forward;
mod headers;
mod probe;
mod remote;

use std::sync::Arc;

use ::authz::User;
use arc_swap::ArcSwap;

use self::remote::Remote;
use crate::request::RequestInfo;

pub(crate) use documents::{add_to_aggregated, add_to_group, add_to_groups};
pub(crate) use follow::start;
pub(crate) use forward::Incoming;
pub(crate) use remote::V2;

/// Where a request goes.
pub(crate) struct Route {
    pub remote: Arc<Remote>,
    /// As whom the server is asked, when not as the caller: for documents that are nobody's own.
    pub speaker: Option<User>,
}

/// The routes of now, best first.
#[derive(Default)]
pub(crate) struct Aggregator(ArcSwap<Vec<Arc<Remote>>>);

impl Aggregator {
    fn get(&self, group: &str, version: &str) -> Option<Arc<Remote>> {
        let routes = self.0.load();
        let serves = |r: &&Arc<Remote>| r.group == group && r.version == version;
        routes.iter().find(serves).cloned()
    }

    /// The server that answers a request, if it is not this one.
    pub(crate) fn find(&self, info: &RequestInfo) -> Option<Route> {
        if self.0.load().is_empty() {
            return None;
        }
        let parts: Vec<&str> = info.path.split('/').filter(|p| !p.is_empty()).collect();
        match parts.as_slice() {
            ["apis", group, version, ..] => Some(Route {
                remote: self.get(group, version)?,
                speaker: None,
            }),
            // Documents are for everybody who may see ours.
            ["openapi", "v3", "apis", group, version] => {
                let aggregator = User::new("system:aggregator", &["system:authenticated"]);
                Some(Route {
                    remote: self.get(group, version)?,
                    speaker: Some(aggregator),
                })
            }
            _ => None,
        }
    }

    /// Remote group versions with a name for the content of their OpenAPI document, where they have one.
    pub(crate) fn openapi(&self) -> Vec<(apimachinery::gvk::GroupVersion, String)> {
        let routes = self.0.load();
        routes
            .iter()
            .filter_map(|remote| {
                let hash = remote.health().openapi.clone()?;
                let of = apimachinery::gvk::GroupVersion::new(
                    remote.group.clone(),
                    remote.version.clone(),
                );
                Some((of, hash))
            })
            .collect()
    }

    /// What remote group versions are, in OpenAPI v2.
    pub(crate) fn openapi_v2(&self) -> Vec<Arc<V2>> {
        let routes = self.0.load();
        let known = routes.iter().filter_map(|r| r.health().openapi_v2.clone());
        known.collect()
    }

    fn routes(&self) -> Arc<Vec<Arc<Remote>>> {
        self.0.load_full()
    }
}

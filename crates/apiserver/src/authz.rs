//! Who may: RBAC over an index that follows the store.
//!
//! ```text
//! objects below /rbac.authorization.k8s.io/ (follow) ─► RbacIndex ─► ArcSwap, read per request
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use ::authz::{Attributes, RbacIndex, User, aggregate_all};
use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use arc_swap::ArcSwap;
use serde_json::Value;
use store::Entry;
use tokio_util::sync::CancellationToken;

use crate::follow::{self, CaughtUp, Objects, View};
use crate::registry::Registry;
use crate::registry::codec::{self, LoadError};
use crate::request::RequestInfo;

pub(crate) const PREFIX: &str = "/rbac.authorization.k8s.io/";

/// The authorizer's snapshot of RBAC.
#[derive(Default)]
pub(crate) struct Authorizer {
    index: ArcSwap<RbacIndex>,
    pub caught_up: Arc<CaughtUp>,
}

impl Authorizer {
    pub(crate) fn index(&self) -> Arc<RbacIndex> {
        self.index.load_full()
    }

    /// 403 unless the user may do this.
    pub(crate) fn check(&self, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        self.decide(attributes).map(|_| ())
    }

    /// Why the user may do this; 403 when nothing says so.
    pub(crate) fn decide(&self, attributes: &Attributes<'_>) -> Result<String, ApiError> {
        if let ::authz::Decision::Allow { reason } = self.index.load().authorize(attributes) {
            return Ok(reason);
        }
        let resource = if attributes.is_resource {
            GroupResource::new(attributes.group, attributes.resource)
        } else {
            GroupResource::default()
        };
        Err(ApiError::forbidden(
            &resource,
            attributes.name,
            attributes.denial(),
        ))
    }

    /// Whether the user may do this.
    pub(crate) fn allows(&self, attributes: &Attributes<'_>) -> bool {
        self.index.load().authorize(attributes).allowed()
    }

    /// Loads the index and keeps it fresh until `stop`. Returns after the first load.
    pub(crate) async fn start(
        registry: Arc<Registry>,
        stop: CancellationToken,
    ) -> Result<(), LoadError> {
        let (store, caught_up) = (
            Arc::clone(&registry.store),
            Arc::clone(&registry.authorizer.caught_up),
        );
        follow::start(Rbac(registry), store, caught_up, stop).await
    }
}

/// Makes the index of roles and bindings.
struct Rbac(Arc<Registry>);

impl View for Rbac {
    type Known = Value;
    const PREFIX: &'static str = PREFIX;
    const WHAT: &'static str = "RBAC objects";

    fn read(&self, entry: &Entry) -> Result<Option<Value>, LoadError> {
        codec::read_entry(&self.0.sealing, entry).map(Some)
    }

    async fn take_up(&mut self, objects: &Objects<Value>, _changed: &BTreeSet<Arc<str>>) {
        let mut cluster_roles: Vec<Value> = objects
            .below("/rbac.authorization.k8s.io/clusterroles/")
            .cloned()
            .collect();
        aggregate_all(&mut cluster_roles);
        let index = RbacIndex::from_objects(
            objects.below("/rbac.authorization.k8s.io/roles/"),
            cluster_roles.iter(),
            objects.below("/rbac.authorization.k8s.io/rolebindings/"),
            objects.below("/rbac.authorization.k8s.io/clusterrolebindings/"),
        );
        self.0.authorizer.index.store(Arc::new(index));
    }
}

/// The question that a request puts.
pub(crate) fn attributes<'a>(info: &'a RequestInfo, user: &'a User) -> Attributes<'a> {
    if !info.is_resource {
        return Attributes::path(user, info.verb, &info.path);
    }
    Attributes {
        version: &info.version,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        ..Attributes::resource(user, info.verb, &info.group, &info.resource)
    }
}

//! Who may: RBAC over an index that follows the store.
//!
//! ```text
//! store.watch(/rbac.authorization.k8s.io/) ─► objects by key ─► RbacIndex ─► ArcSwap, read per request
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use ::authz::{Attributes, RbacIndex, User, aggregate_all};
use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use arc_swap::ArcSwap;
use serde_json::Value;
use store::{Event, ListRequest, WatchItem};
use tokio_util::sync::CancellationToken;

use crate::registry::codec::{self, LoadError};
use crate::registry::{CaughtUp, Registry};
use crate::request::RequestInfo;

pub(crate) const PREFIX: &str = "/rbac.authorization.k8s.io/";

/// The authorizer's snapshot of RBAC.
#[derive(Default)]
pub(crate) struct Authorizer {
    index: ArcSwap<RbacIndex>,
    pub caught_up: CaughtUp,
}

type Objects = BTreeMap<Arc<str>, Value>;

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

    fn rebuild(&self, objects: &Objects) {
        let of = |resource: &'static str| {
            objects
                .iter()
                .filter(move |(key, _)| {
                    key.strip_prefix(PREFIX)
                        .is_some_and(|k| k.split('/').next() == Some(resource))
                })
                .map(|(_, v)| v)
        };
        let mut cluster_roles: Vec<Value> = of("clusterroles").cloned().collect();
        aggregate_all(&mut cluster_roles);
        let index = RbacIndex::from_objects(
            of("roles"),
            cluster_roles.iter(),
            of("rolebindings"),
            of("clusterrolebindings"),
        );
        self.index.store(Arc::new(index));
    }

    fn take(registry: &Registry, objects: &mut Objects, event: &Event) {
        match event
            .entry()
            .map(|e| codec::read_entry(&registry.sealing, &e))
        {
            Some(Ok(value)) => {
                objects.insert(Arc::clone(&event.key), value);
            }
            Some(Err(e)) => tracing::error!(error = %e, "an RBAC object stays as it was"),
            None => {
                objects.remove(&event.key);
            }
        }
    }

    /// Loads the index and keeps it fresh until `stop`. Returns after the first load.
    pub(crate) async fn start(
        registry: Arc<Registry>,
        stop: CancellationToken,
    ) -> Result<(), LoadError> {
        let (mut objects, mut at) = load(&registry).await?;
        registry.authorizer.rebuild(&objects);
        registry.authorizer.caught_up.advance(at);
        tokio::spawn(async move {
            let follow = async {
                loop {
                    if let Ok(mut events) = registry.store.watch(PREFIX, at).await {
                        loop {
                            match events.next().await {
                                Ok(WatchItem::Event(event)) => {
                                    Self::take(&registry, &mut objects, &event);
                                    registry.authorizer.rebuild(&objects);
                                    registry.authorizer.caught_up.advance(event.revision);
                                }
                                Ok(WatchItem::Progress(revision)) => {
                                    registry.authorizer.caught_up.advance(revision);
                                }
                                Err(store::WatchError::Closed) => return,
                                Err(_) => break,
                            }
                        }
                    }
                    // Too slow, or compacted: begin anew from the present state.
                    match load(&registry).await {
                        Ok((fresh, revision)) => {
                            (objects, at) = (fresh, revision);
                            registry.authorizer.rebuild(&objects);
                            registry.authorizer.caught_up.advance(at);
                        }
                        Err(e) => {
                            tracing::error!(error = %e, "reading RBAC objects; authorization stays as it was");
                            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = follow => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(())
    }
}

async fn load(registry: &Registry) -> Result<(Objects, store::Revision), LoadError> {
    let listing = registry.store.list(ListRequest::prefix(PREFIX)).await?;
    let mut objects = Objects::new();
    for entry in &listing.entries {
        let value = codec::read_entry(&registry.sealing, entry)?;
        objects.insert(Arc::clone(&entry.key), value);
    }
    Ok((objects, listing.revision))
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

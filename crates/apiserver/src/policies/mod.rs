//! ValidatingAdmissionPolicies: an index that follows the store, and the step of admission that asks it.
//!
//! ```text
//! store.watch(/admissionregistration.k8s.io/validatingadmissionpolic..) ─► objects by key ─► Index ─► ArcSwap
//!                                                                                          │
//! create, update, delete ─► judged by strategies ─► admit: match, params, evaluate ◄───────┘
//!                                                     │
//!                        403/422 with the message (Deny), Warning header (Warn), log (Audit)
//! ```
//!
//! Policies are compiled when they change, not when they are asked. What does not parse any more decides by its
//! failure policy.

mod admit;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cel::policy::{Binding, Policy};
use serde_json::Value;
use store::{Event, ListRequest, Store, StoreError, WatchItem};
use tokio_util::sync::CancellationToken;

use crate::registry::CaughtUp;
use crate::stack;

pub(crate) use admit::admit;

/// Begin of the keys of policies and bindings.
const PREFIX: &str = "/admissionregistration.k8s.io/validatingadmissionpolic";
const POLICY: &str = "/admissionregistration.k8s.io/validatingadmissionpolicies/";

/// The snapshot of policies.
#[derive(Default)]
pub(crate) struct Policies {
    index: ArcSwap<Index>,
    pub caught_up: CaughtUp,
}

/// Policies with their bindings.
#[derive(Default)]
pub(crate) struct Index {
    bound: Vec<(Arc<Policy>, Vec<Arc<Binding>>)>,
}

/// What is known of one stored object.
enum Known {
    Policy(Arc<Policy>),
    Binding(Arc<Binding>),
}

type Objects = BTreeMap<Arc<str>, Known>;

fn read(key: &str, bytes: &[u8]) -> Option<Known> {
    let object: Value = serde_json::from_slice(bytes).ok()?;
    Some(if key.starts_with(POLICY) {
        let policy = stack::compiling(|| Policy::compile(&object))?;
        Known::Policy(Arc::new(policy))
    } else {
        Known::Binding(Arc::new(Binding::read(&object)))
    })
}

impl Policies {
    fn rebuild(&self, objects: &Objects) {
        let bindings = || {
            objects.values().filter_map(|known| match known {
                Known::Binding(binding) => Some(binding),
                Known::Policy(_) => None,
            })
        };
        let bound = objects.values().filter_map(|known| match known {
            Known::Policy(policy) => {
                let bindings: Vec<_> = bindings()
                    .filter(|binding| binding.policy == policy.name)
                    .cloned()
                    .collect();
                (!bindings.is_empty()).then(|| (Arc::clone(policy), bindings))
            }
            Known::Binding(_) => None,
        });
        self.index.store(Arc::new(Index {
            bound: bound.collect(),
        }));
    }

    fn take(objects: &mut Objects, event: &Event) {
        match event
            .value
            .as_deref()
            .and_then(|bytes| read(&event.key, bytes))
        {
            Some(known) => {
                objects.insert(Arc::clone(&event.key), known);
            }
            None => {
                objects.remove(&event.key);
            }
        }
    }

    /// Loads the index and keeps it fresh until `stop`. Returns after the first load.
    pub(crate) async fn start(
        registry: Arc<crate::registry::Registry>,
        stop: CancellationToken,
    ) -> Result<(), StoreError> {
        let (mut objects, mut at) = load(&*registry.store).await?;
        registry.policies.rebuild(&objects);
        registry.policies.caught_up.advance(at);
        tokio::spawn(async move {
            let follow = async {
                loop {
                    if let Ok(mut events) = registry.store.watch(PREFIX, at).await {
                        loop {
                            match events.next().await {
                                Ok(WatchItem::Event(event)) => {
                                    Self::take(&mut objects, &event);
                                    registry.policies.rebuild(&objects);
                                    registry.policies.caught_up.advance(event.revision);
                                }
                                Ok(WatchItem::Progress(revision)) => {
                                    registry.policies.caught_up.advance(revision);
                                }
                                Err(store::WatchError::Closed) => return,
                                Err(_) => break,
                            }
                        }
                    }
                    // Too slow, or compacted: begin anew from the present state.
                    match load(&*registry.store).await {
                        Ok((fresh, revision)) => {
                            (objects, at) = (fresh, revision);
                            registry.policies.rebuild(&objects);
                            registry.policies.caught_up.advance(at);
                        }
                        Err(e) => {
                            tracing::error!(error = %e, "reading admission policies; they stay as they were");
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

async fn load(store: &dyn Store) -> Result<(Objects, store::Revision), StoreError> {
    let listing = store.list(ListRequest::prefix(PREFIX)).await?;
    let objects = listing
        .entries
        .iter()
        .filter_map(|entry| {
            read(&entry.key, &entry.value).map(|known| (Arc::clone(&entry.key), known))
        })
        .collect();
    Ok((objects, listing.revision))
}

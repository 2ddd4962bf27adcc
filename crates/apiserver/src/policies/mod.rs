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
use store::{Entry, Event, ListRequest, WatchItem};
use tokio_util::sync::CancellationToken;

use crate::registry::codec::{self, LoadError};
use crate::registry::{CaughtUp, Registry};
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

/// `None` when there was no stack to compile on.
fn read(registry: &Registry, entry: &Entry) -> Result<Option<Known>, LoadError> {
    let object = codec::read_entry(&registry.sealing, entry)?;
    Ok(if entry.key.starts_with(POLICY) {
        stack::compiling(|| Policy::compile(&object)).map(|policy| Known::Policy(Arc::new(policy)))
    } else {
        Some(Known::Binding(Arc::new(Binding::read(&object))))
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

    fn take(registry: &Registry, objects: &mut Objects, event: &Event) {
        match event.entry().map(|e| read(registry, &e)) {
            Some(Ok(Some(known))) => {
                objects.insert(Arc::clone(&event.key), known);
            }
            Some(Err(e)) => tracing::error!(error = %e, "an admission policy stays as it was"),
            Some(Ok(None)) | None => {
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
        registry.policies.rebuild(&objects);
        registry.policies.caught_up.advance(at);
        tokio::spawn(async move {
            let follow = async {
                loop {
                    if let Ok(mut events) = registry.store.watch(PREFIX, at).await {
                        loop {
                            match events.next().await {
                                Ok(WatchItem::Event(event)) => {
                                    Self::take(&registry, &mut objects, &event);
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
                    match load(&registry).await {
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

async fn load(registry: &Registry) -> Result<(Objects, store::Revision), LoadError> {
    let listing = registry.store.list(ListRequest::prefix(PREFIX)).await?;
    let mut objects = Objects::new();
    for entry in &listing.entries {
        if let Some(known) = read(registry, entry)? {
            objects.insert(Arc::clone(&entry.key), known);
        }
    }
    Ok((objects, listing.revision))
}

//! ValidatingAdmissionPolicies: an index that follows the store, and the step of admission that asks it.
//!
//! ```text
//! objects below /admissionregistration.k8s.io/validatingadmissionpolic.. (follow) ─► Index ─► ArcSwap
//!                                                                                          │
//! create, update, delete ─► judged by strategies ─► admit: match, params, evaluate ◄───────┘
//!                                                     │
//!                        403/422 with the message (Deny), Warning header (Warn), log (Audit)
//! ```
//!
//! Policies are compiled when they change, not when they are asked. What does not parse any more decides by its
//! failure policy.

mod admit;

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cel::policy::{Binding, Policy};
use store::Entry;
use tokio_util::sync::CancellationToken;

use crate::follow::{self, CaughtUp, Objects, View};
use crate::registry::Registry;
use crate::registry::codec::{self, LoadError};
use crate::stack;

pub(crate) use admit::admit;

/// Begin of the keys of policies and bindings.
const PREFIX: &str = "/admissionregistration.k8s.io/validatingadmissionpolic";
const POLICY: &str = "/admissionregistration.k8s.io/validatingadmissionpolicies/";

/// The snapshot of policies.
#[derive(Default)]
pub(crate) struct Policies {
    index: ArcSwap<Index>,
    pub caught_up: Arc<CaughtUp>,
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

impl Policies {
    /// Loads the index and keeps it fresh until `stop`. Returns after the first load.
    pub(crate) async fn start(
        registry: Arc<Registry>,
        stop: CancellationToken,
    ) -> Result<(), LoadError> {
        let (store, caught_up) = (
            Arc::clone(&registry.store),
            Arc::clone(&registry.policies.caught_up),
        );
        follow::start(Compiled(registry), store, caught_up, stop).await
    }
}

/// Compiles policies, and finds the bindings of each.
struct Compiled(Arc<Registry>);

impl View for Compiled {
    type Known = Known;
    const PREFIX: &'static str = PREFIX;
    const WHAT: &'static str = "admission policies";

    fn read(&self, entry: &Entry) -> Result<Option<Known>, LoadError> {
        let object = codec::read_entry(&self.0.sealing, entry)?;
        if !entry.key.starts_with(POLICY) {
            return Ok(Some(Known::Binding(Arc::new(Binding::read(&object)))));
        }
        match stack::compiling(|| Policy::compile(&object)) {
            Some(policy) => Ok(Some(Known::Policy(Arc::new(policy)))),
            None => Err(LoadError::NoStack(Arc::clone(&entry.key))),
        }
    }

    async fn take_up(&mut self, objects: &Objects<Known>, _changed: &BTreeSet<Arc<str>>) {
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
        let index = Index {
            bound: bound.collect(),
        };
        self.0.policies.index.store(Arc::new(index));
    }
}

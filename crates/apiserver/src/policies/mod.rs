//! Validating- and MutatingAdmissionPolicies: an index that follows the store, and the steps of admission that ask it.
//!
//! ```text
//! objects below /admissionregistration.k8s.io/ (follow) ─► Index ─► ArcSwap
//!                                                                     │
//! create, update ─► mutate: match, params, patches one by one ◄───────┤
//! create, update, delete ─► judged by strategies ─► admit: match, params, evaluate ◄─┘
//!                                                     │
//!                        403/422 with the message (Deny), Warning header (Warn), log (Audit)
//! ```
//!
//! What type checking finds in a validating policy is written into its status ([`status`]).
//!
//! Policies are compiled when they change, not when they are asked. What does not parse any more decides by its
//! failure policy.

mod admit;
mod authorizer;
mod mutate;
mod request;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cel::policy::{Binding, MutatingPolicy, Policy};
use store::Entry;
use tokio_util::sync::CancellationToken;

use crate::follow::{self, CaughtUp, Objects, View};
use crate::registry::Registry;
use crate::registry::codec::{self, LoadError};
use crate::stack;

pub(crate) use admit::admit;
pub(crate) use authorizer::authorizer;
pub(crate) use mutate::mutate;

/// Begin of the keys of policies and bindings.
const PREFIX: &str = "/admissionregistration.k8s.io/";

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
    mutating: Vec<(Arc<MutatingPolicy>, Vec<Arc<Binding>>)>,
}

/// What is known of one stored object.
enum Known {
    Policy(Arc<Policy>),
    Binding(Arc<Binding>),
    Mutating(Arc<MutatingPolicy>),
    MutatingBinding(Arc<Binding>),
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
        status::start(Arc::clone(&registry), stop.clone()).await?;
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
        let rest = entry.key.strip_prefix(PREFIX).unwrap_or_default();
        let resource = rest.split('/').next().unwrap_or_default();
        if !resource.contains("admissionpolic") {
            return Ok(None);
        }
        let object = codec::read_entry(&self.0.sealing, entry)?;
        let compiled = match resource {
            "validatingadmissionpolicies" => stack::compiling(|| Policy::compile(&object))
                .map(|policy| Known::Policy(Arc::new(policy))),
            "mutatingadmissionpolicies" => stack::compiling(|| MutatingPolicy::compile(&object))
                .map(|policy| Known::Mutating(Arc::new(policy))),
            "mutatingadmissionpolicybindings" => {
                Some(Known::MutatingBinding(Arc::new(Binding::read(&object))))
            }
            _ => Some(Known::Binding(Arc::new(Binding::read(&object)))),
        };
        match compiled {
            None => Err(LoadError::NoStack(Arc::clone(&entry.key))),
            known => Ok(known),
        }
    }

    async fn take_up(&mut self, objects: &Objects<Known>, _changed: &BTreeSet<Arc<str>>) {
        let mut index = Index::default();
        for known in objects.values() {
            match known {
                Known::Policy(policy) => {
                    let bindings = bindings(objects, &policy.name, |known| match known {
                        Known::Binding(binding) => Some(binding),
                        _ => None,
                    });
                    index.bound.push((Arc::clone(policy), bindings));
                }
                Known::Mutating(policy) => {
                    let bindings = bindings(objects, &policy.name, |known| match known {
                        Known::MutatingBinding(binding) => Some(binding),
                        _ => None,
                    });
                    index.mutating.push((Arc::clone(policy), bindings));
                }
                Known::Binding(_) | Known::MutatingBinding(_) => {}
            }
        }
        index.bound.retain(|(_, bindings)| !bindings.is_empty());
        index.mutating.retain(|(_, bindings)| !bindings.is_empty());
        self.0.policies.index.store(Arc::new(index));
    }
}

/// The bindings of a policy, by name.
fn bindings(
    objects: &Objects<Known>,
    policy: &str,
    binding: impl Fn(&Known) -> Option<&Arc<Binding>>,
) -> Vec<Arc<Binding>> {
    objects
        .values()
        .filter_map(binding)
        .filter(|binding| binding.policy == policy)
        .cloned()
        .collect()
}

//! Namespace deletion: empties a terminating namespace, then lets it go.
//!
//! ```text
//! Active ──delete──► Terminating ──contents gone──► finalizer `kubernetes` removed ──► gone
//!                        │  ▲
//!                        └──┘ what remains is said in status.conditions
//! ```

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use reconcile::{Next, ReconcileError, Reconciler, ResultExt, set_condition};
use tokio_util::sync::CancellationToken;

use crate::resources::{Deletable, Resources};

/// How soon, and how late, an emptying namespace is looked at again: finalizers of its contents take
/// their time, and one that nobody removes takes for ever.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
const FINALIZER: &str = "kubernetes";

struct Namespaces {
    client: Client,
    resources: Resources,
}

/// What a terminating namespace still holds.
#[derive(Debug)]
struct Remaining {
    kind: Deletable,
    count: usize,
    /// Finalizers that its objects wait for, sorted.
    finalizers: Vec<String>,
}

struct Observed {
    namespace: Arc<Namespace>,
    /// `None` while the namespace is not being deleted.
    remaining: Option<Vec<Remaining>>,
}

#[derive(Debug)]
enum Plan {
    Nothing,
    /// Delete what is there; report it.
    Empty {
        message: String,
    },
    /// Nothing is left: remove our finalizer.
    Finalize,
}

impl Reconciler for Namespaces {
    type Object = Namespace;
    type Observed = Observed;
    type Plan = Plan;
    const NAME: &'static str = "namespace-controller";

    async fn observe(&self, namespace: Arc<Namespace>) -> Result<Observed, ReconcileError> {
        if namespace.metadata.deletion_timestamp.is_none() {
            return Ok(Observed {
                namespace,
                remaining: None,
            });
        }
        let resources = self.resources.borrow().clone();
        if resources.is_empty() {
            return Err(ReconcileError::other(
                format!("emptying namespace {}", namespace.name_any()),
                "the served resources are not known yet",
            ));
        }
        let mut remaining = Vec::new();
        for kind in resources.iter().filter(|r| r.namespaced) {
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &namespace.name_any(), &kind.resource);
            let list = match api.list_metadata(&ListParams::default()).await {
                Ok(list) => list,
                // A CRD that went away meanwhile.
                Err(kube::Error::Api(s)) if s.code == 404 => continue,
                Err(e) => {
                    return Err(e).doing(|| {
                        format!(
                            "listing {} of {}",
                            kind.resource.plural,
                            namespace.name_any()
                        )
                    });
                }
            };
            if !list.items.is_empty() {
                let mut finalizers: Vec<String> = list
                    .items
                    .iter()
                    .flat_map(|o| o.finalizers().to_vec())
                    .collect();
                finalizers.sort();
                finalizers.dedup();
                remaining.push(Remaining {
                    kind: kind.clone(),
                    count: list.items.len(),
                    finalizers,
                });
            }
        }
        Ok(Observed {
            namespace,
            remaining: Some(remaining),
        })
    }

    fn plan(observed: &Observed, _now: Timestamp) -> Plan {
        match &observed.remaining {
            None => Plan::Nothing,
            Some(rest) if rest.is_empty() => Plan::Finalize,
            Some(rest) => Plan::Empty {
                message: sentence(rest),
            },
        }
    }

    async fn apply(&self, observed: Observed, plan: Plan) -> Result<Next, ReconcileError> {
        let name = observed.namespace.name_any();
        match plan {
            Plan::Nothing => Ok(Next::Change),
            Plan::Empty { message } => {
                self.report(&observed.namespace, "True", &message).await?;
                let mut failed = None;
                for rest in observed.remaining.into_iter().flatten() {
                    let api: Api<DynamicObject> =
                        Api::namespaced_with(self.client.clone(), &name, &rest.kind.resource);
                    match api
                        .delete_collection(&DeleteParams::background(), &ListParams::default())
                        .await
                    {
                        Ok(_) => {}
                        Err(kube::Error::Api(s)) if s.code == 404 || s.code == 405 => {}
                        // One kind that cannot be deleted does not keep the others.
                        Err(e) => {
                            let error = Err(e).doing(|| {
                                format!("deleting {} of {name}", rest.kind.resource.plural)
                            });
                            failed = failed.or(Some(error));
                        }
                    }
                }
                match failed {
                    Some(error) => error,
                    None => Ok(Next::After(again(&observed.namespace, Timestamp::now()))),
                }
            }
            Plan::Finalize => {
                self.finalize(&observed.namespace).await?;
                Ok(Next::Change)
            }
        }
    }
}

impl Namespaces {
    async fn report(
        &self,
        namespace: &Namespace,
        status: &str,
        message: &str,
    ) -> Result<(), ReconcileError> {
        let mut new = namespace.clone();
        let conditions = new
            .status
            .get_or_insert_default()
            .conditions
            .get_or_insert_default();
        set_condition(
            conditions,
            NamespaceCondition {
                type_: "NamespaceContentRemaining".to_owned(),
                status: status.to_owned(),
                reason: Some("SomeResourcesRemain".to_owned()),
                message: Some(message.to_owned()),
                last_transition_time: None,
            },
            Timestamp::now(),
        );
        let api: Api<Namespace> = Api::all(self.client.clone());
        reconcile::write_status(&api, &new, namespace.status.as_ref(), new.status.as_ref()).await
    }

    async fn finalize(&self, namespace: &Namespace) -> Result<(), ReconcileError> {
        let mut new = namespace.clone();
        if let Some(spec) = new.spec.as_mut() {
            spec.finalizers
                .get_or_insert_default()
                .retain(|f| f != FINALIZER);
        }
        let doing = || format!("finalizing namespace {}", namespace.name_any());
        let api: Api<Namespace> = Api::all(self.client.clone());
        match api
            .replace_subresource(
                "finalize",
                &namespace.name_any(),
                &PostParams::default(),
                &new,
            )
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(s)) if s.code == 404 => Ok(()),
            Err(e) => Err(e).doing(doing),
        }
    }
}

/// The longer it takes, the less it matters to be quick: a tenth of the time so far.
fn again(namespace: &Namespace, now: Timestamp) -> Duration {
    let since = namespace.metadata.deletion_timestamp.as_ref();
    let so_far = since.map(|t| now.duration_since(t.0)).unwrap_or_default();
    let so_far = Duration::try_from(so_far).unwrap_or_default();
    (so_far / 10).clamp(AGAIN.0, AGAIN.1)
}

/// What remains, as upstream words it: `Some resources are remaining: pods. has 2 resource instances, ...`.
fn sentence(rest: &[Remaining]) -> String {
    let parts: Vec<String> = rest
        .iter()
        .map(|r| {
            let group = if r.kind.resource.group.is_empty() {
                String::new()
            } else {
                format!(".{}", r.kind.resource.group)
            };
            let waits = if r.finalizers.is_empty() {
                String::new()
            } else {
                format!(" (finalizers: {})", r.finalizers.join(", "))
            };
            format!(
                "{}{group} has {} resource instances{waits}",
                r.kind.resource.plural, r.count
            )
        })
        .collect();
    format!("Some resources are remaining: {}", parts.join(", "))
}

/// Runs until cancelled.
pub async fn run(client: Client, resources: Resources, cancel: CancellationToken) {
    let api: Api<Namespace> = Api::all(client.clone());
    let controller = Controller::new(api, watcher::Config::default())
        .graceful_shutdown_on(async move { cancel.cancelled().await });
    reconcile::run(Namespaces { client, resources }, controller).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::ApiResource;

    #[test]
    fn a_namespace_that_does_not_empty_is_asked_less_and_less() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut namespace = Namespace::default();
        assert_eq!(again(&namespace, at(9)), AGAIN.0);
        namespace.metadata.deletion_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(100)),
        );
        assert_eq!(again(&namespace, at(99)), AGAIN.0);
        assert_eq!(again(&namespace, at(101)), AGAIN.0);
        assert_eq!(again(&namespace, at(130)), Duration::from_secs(3));
        assert_eq!(again(&namespace, at(9999)), AGAIN.1);
    }

    #[test]
    fn says_what_remains_and_what_it_waits_for() {
        let kind = Deletable {
            resource: ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()),
            namespaced: true,
        };
        let rest = [Remaining {
            kind,
            count: 2,
            finalizers: vec!["example.com/hold".into()],
        }];
        assert_eq!(
            sentence(&rest),
            "Some resources are remaining: pods has 2 resource instances (finalizers: example.com/hold)"
        );
    }
}

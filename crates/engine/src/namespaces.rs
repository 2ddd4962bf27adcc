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

/// How soon an emptying namespace is looked at again: finalizers of its contents take their time.
const AGAIN: Duration = Duration::from_millis(200);
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
                for rest in observed.remaining.into_iter().flatten() {
                    let api: Api<DynamicObject> =
                        Api::namespaced_with(self.client.clone(), &name, &rest.kind.resource);
                    match api
                        .delete_collection(&DeleteParams::background(), &ListParams::default())
                        .await
                    {
                        Ok(_) => {}
                        Err(kube::Error::Api(s)) if s.code == 404 || s.code == 405 => {}
                        Err(e) => {
                            return Err(e).doing(|| {
                                format!("deleting {} of {name}", rest.kind.resource.plural)
                            });
                        }
                    }
                }
                Ok(Next::After(AGAIN))
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

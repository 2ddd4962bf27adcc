//! What every namespace has: the ServiceAccount `default` and the cluster's CA certificate.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Api, ObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use reconcile::{Next, ReconcileError, Reconciler, create_if_absent, get_opt};
use tokio_util::sync::CancellationToken;

const ROOT_CA: &str = "kube-root-ca.crt";

struct Furnish {
    client: Client,
    ca_pem: String,
}

struct Observed {
    name: String,
    terminating: bool,
    account: bool,
    root_ca: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    account: bool,
    root_ca: bool,
}

impl Reconciler for Furnish {
    type Object = Namespace;
    type Observed = Observed;
    type Plan = Plan;
    const NAME: &'static str = "serviceaccount-controller";

    async fn observe(&self, namespace: Arc<Namespace>) -> Result<Observed, ReconcileError> {
        let name = namespace.name_any();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &name);
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &name);
        Ok(Observed {
            terminating: namespace.metadata.deletion_timestamp.is_some(),
            account: get_opt(&accounts, "default").await?.is_some(),
            root_ca: get_opt(&maps, ROOT_CA).await?.is_some(),
            name,
        })
    }

    fn plan(observed: &Observed, _now: Timestamp) -> Plan {
        Plan {
            account: !observed.terminating && !observed.account,
            root_ca: !observed.terminating && !observed.root_ca,
        }
    }

    async fn apply(&self, observed: Observed, plan: Plan) -> Result<Next, ReconcileError> {
        let meta = |name: &str| ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(observed.name.clone()),
            ..ObjectMeta::default()
        };
        if plan.account {
            let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &observed.name);
            let account = ServiceAccount {
                metadata: meta("default"),
                ..ServiceAccount::default()
            };
            create_if_absent(&api, &account).await?;
        }
        if plan.root_ca {
            let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &observed.name);
            let map = ConfigMap {
                metadata: meta(ROOT_CA),
                data: Some([("ca.crt".to_owned(), self.ca_pem.clone())].into()),
                ..ConfigMap::default()
            };
            create_if_absent(&api, &map).await?;
        }
        Ok(Next::Change)
    }
}

/// Runs until cancelled; `ca_pem` is what clients verify the API server with.
pub async fn run(client: Client, ca_pem: String, cancel: CancellationToken) {
    let to_namespace = |ns: Option<String>| ns.map(|ns| ObjectRef::<Namespace>::new(&ns));
    let controller = Controller::new(Api::all(client.clone()), watcher::Config::default())
        // A deleted account or map is made again.
        .watches(
            Api::<ServiceAccount>::all(client.clone()),
            watcher::Config::default().fields("metadata.name=default"),
            move |a| to_namespace(a.namespace()),
        )
        .watches(
            Api::<ConfigMap>::all(client.clone()),
            watcher::Config::default().fields("metadata.name=kube-root-ca.crt"),
            move |m| to_namespace(m.namespace()),
        )
        .graceful_shutdown_on(async move { cancel.cancelled().await });
    reconcile::run(Furnish { client, ca_pem }, controller).await;
}

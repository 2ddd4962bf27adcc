//! The VMRuntime: the switch of the VM stack, and what it says of itself (G-01 to G-13).
//!
//! ```text
//!  spec.enabled ─┐
//!  spec.useEmulation ─┼─► status.ready, conditions Ready and SoftwareEmulation
//!  nodes (label and annotation of the KVM probe) ─┘
//! ```
//!
//! Invariants: the object `vmruntime` always exists, deleted or not; `status.ready` is always there
//! (G-04); whether guests are emulated, and why, is said in words.

mod plan;

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, WatchStreamExt, watcher};
use reconcile::{
    Next, ReconcileError, Reconciler, ResultExt, create_if_absent, get_opt, write_status,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use api::vmruntime::{NAME, VMRuntime, VMRuntimeSpec, VMRuntimeStatus};
use plan::{Facts, NodeFacts};

/// Makes the singleton, disabled, if it is not there (G-01).
pub async fn ensure(client: &Client) -> Result<(), ReconcileError> {
    let api: Api<VMRuntime> = Api::all(client.clone());
    // Asked first: it is nearly always there, and a refused creation costs a start its validation.
    if get_opt(&api, NAME).await?.is_some() {
        return Ok(());
    }
    let runtime = VMRuntime {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            ..ObjectMeta::default()
        },
        spec: VMRuntimeSpec::default(),
        status: Some(VMRuntimeStatus::default()),
    };
    create_if_absent(&api, &runtime).await?;
    Ok(())
}

struct Runtimes {
    client: Client,
}

impl Reconciler for Runtimes {
    type Object = VMRuntime;
    type Observed = Facts;
    type Plan = VMRuntimeStatus;
    const NAME: &'static str = "vmruntime-controller";

    async fn observe(&self, runtime: Arc<VMRuntime>) -> Result<Facts, ReconcileError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes = nodes
            .list(&ListParams::default())
            .await
            .doing(|| "listing the nodes".to_owned())?;
        Ok(Facts {
            runtime,
            nodes: nodes.items.iter().map(NodeFacts::of).collect(),
        })
    }

    fn plan(facts: &Facts, now: Timestamp) -> VMRuntimeStatus {
        plan::status(facts, now)
    }

    async fn apply(&self, facts: Facts, plan: VMRuntimeStatus) -> Result<Next, ReconcileError> {
        let api: Api<VMRuntime> = Api::all(self.client.clone());
        let mut new = (*facts.runtime).clone();
        new.status = Some(plan);
        write_status(
            &api,
            &new,
            facts.runtime.status.as_ref(),
            new.status.as_ref(),
        )
        .await?;
        Ok(Next::Change)
    }
}

/// Makes the singleton again whenever it is deleted.
async fn keep_existing(client: Client) {
    let api: Api<VMRuntime> = Api::all(client.clone());
    let mut events = watcher(api, watcher::Config::default())
        .default_backoff()
        .boxed();
    loop {
        match events.try_next().await {
            Ok(Some(watcher::Event::Delete(_) | watcher::Event::InitDone)) => {
                if let Err(error) = ensure(&client).await {
                    warn!("{}", error.chain());
                }
            }
            Ok(None) => return,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Runs until cancelled.
pub async fn run(client: Client, cancel: CancellationToken) {
    let any = watcher::Config::default;
    let controller = Controller::new(Api::<VMRuntime>::all(client.clone()), any())
        .watches(Api::<Node>::all(client.clone()), any(), |_| {
            Some(ObjectRef::<VMRuntime>::new(NAME))
        })
        .graceful_shutdown_on({
            let cancel = cancel.clone();
            async move { cancel.cancelled().await }
        });
    tokio::select! {
        () = cancel.cancelled() => {}
        () = keep_existing(client.clone()) => {}
        () = reconcile::run(Runtimes { client }, controller) => {}
    }
}

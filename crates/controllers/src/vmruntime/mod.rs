//! The VMRuntime: the switch of the VM stack, and what it says of itself (G-01 to G-25).
//!
//! ```text
//!  spec.enabled, annotation ─┐
//!  VMs, instances, Pods ─────┴─► switch ─► status.phase ─► supervisors start and stop components
//!  spec.useEmulation ─┐
//!  nodes, components ─┤
//!  settings, classes ─┤
//!  newest preflight check ─┴─► plan ─► status.ready, conditions, preflightCheckSummary;
//!                                      a new check when one is due (`preflight::trigger`)
//! ```
//!
//! Invariants: the object `vmruntime` always exists, deleted or not; `status.ready` is always there
//! (G-04); the phase is written before anything is done about it, so that a crash at any point is
//! followed by the rest; a guest that runs is never without the components that look after it;
//! whether guests are emulated, and why, is said in words.

mod held;
mod plan;
mod settings;
mod switch;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, WatchStreamExt, watcher};
use reconcile::{
    Next, ReconcileError, Reconciler, Recorder, ResultExt, create_if_absent, delete_if_present,
    get_opt, report,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::preflight;
use crate::runtime::Runtime;
use api::preflight::VMRuntimePreflightCheck as Check;
use api::vmruntime::{
    COMPONENT_LABEL, NAME, NAMESPACE, RuntimePhase, VMRuntime, VMRuntimeSpec, VMRuntimeStatus,
};
use plan::{ComponentFacts, Facts, NodeFacts, Plan};
pub(crate) use plan::{PREFLIGHT_FAILED, PREFLIGHT_RUNNING};
use settings::ClassFacts;

/// How soon a runtime that is being disabled is looked at again.
const DISABLING: Duration = Duration::from_millis(250);
/// How soon one that is kept for its VMs is.
const VMS_EXIST: Duration = Duration::from_secs(2);

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
    recorder: Recorder,
}

impl Reconciler for Runtimes {
    type Object = VMRuntime;
    type Observed = Facts;
    type Plan = Plan;
    const NAME: &'static str = "vmruntime-controller";

    async fn observe(&self, runtime: Arc<VMRuntime>) -> Result<Facts, ReconcileError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes = nodes
            .list(&ListParams::default())
            .await
            .doing(|| "listing the nodes".to_owned())?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let pods = pods
            .list(&ListParams::default().labels(COMPONENT_LABEL))
            .await
            .doing(|| "listing the components".to_owned())?;
        let checks: Api<Check> = Api::namespaced(self.client.clone(), NAMESPACE);
        let checks = checks
            .list(&ListParams::default())
            .await
            .doing(|| "listing the preflight checks".to_owned())?;
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        let classes = classes
            .list(&ListParams::default())
            .await
            .doing(|| "listing the StorageClasses".to_owned())?;
        // While it is enabled, nothing depends on what exists.
        let held = if runtime.spec.is_enabled() {
            Vec::new()
        } else {
            held::observe(&self.client).await?
        };
        Ok(Facts {
            runtime,
            checked: nodes.items.iter().map(preflight::NodeFacts::of).collect(),
            checks: checks.items,
            nodes: nodes.items.iter().map(NodeFacts::of).collect(),
            components: pods.items.iter().filter_map(ComponentFacts::of).collect(),
            classes: classes.items.iter().map(ClassFacts::of).collect(),
            held,
        })
    }

    fn plan(facts: &Facts, now: Timestamp) -> Plan {
        plan::decide(facts, now)
    }

    async fn apply(&self, facts: Facts, plan: Plan) -> Result<Next, ReconcileError> {
        let api: Api<VMRuntime> = Api::all(self.client.clone());
        let before = facts.runtime.status.as_ref().and_then(|s| s.phase);
        let checks: Api<Check> = Api::namespaced(self.client.clone(), NAMESPACE);
        if let Some(check) = &plan.check {
            // Before it is recorded: its name is the same if this is repeated.
            create_if_absent(&checks, check).await?;
        }
        for check in preflight::trigger::surplus(&facts.runtime, &facts.checks) {
            delete_if_present(&checks, check).await?;
        }
        let (runtime, status) = (facts.runtime.as_ref(), Some(plan.status));
        report(&api, &self.recorder, runtime, status, None).await?;
        if before != Some(plan.phase) {
            info!(phase = ?plan.phase, "the VM runtime has another phase");
        }
        for note in plan.notes {
            self.recorder.tell(facts.runtime.as_ref(), &note).await;
        }
        for vm in &plan.delete {
            info!(
                namespace = vm.namespace,
                name = vm.name,
                "deleting a VM, as the annotation demands"
            );
            held::delete(&self.client, vm).await?;
        }
        Ok(match plan.phase {
            RuntimePhase::Disabling => Next::After(DISABLING),
            RuntimePhase::VMsExist => Next::After(VMS_EXIST),
            // Once more, for what was made in the moment of the disable.
            RuntimePhase::Disabled if before != Some(RuntimePhase::Disabled) => {
                Next::After(VMS_EXIST)
            }
            RuntimePhase::Disabled | RuntimePhase::Enabled => Next::Change,
        })
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

/// Runs until cancelled. `runtime` is what the singleton says, as [`crate::runtime::follow`] has it.
pub async fn run(client: Client, runtime: Runtime, cancel: CancellationToken) {
    let any = watcher::Config::default;
    let singleton = || Some(ObjectRef::<VMRuntime>::new(NAME));
    let controller = Controller::new(Api::<VMRuntime>::all(client.clone()), any())
        .watches(Api::<Node>::all(client.clone()), any(), move |_| {
            singleton()
        })
        .watches(Api::<StorageClass>::all(client.clone()), any(), move |_| {
            singleton()
        })
        .watches(
            Api::<Pod>::namespaced(client.clone(), NAMESPACE),
            any().labels(COMPONENT_LABEL),
            move |_| singleton(),
        )
        .watches(
            Api::<Check>::namespaced(client.clone(), NAMESPACE),
            any(),
            move |_| singleton(),
        )
        .graceful_shutdown_on({
            let cancel = cancel.clone();
            async move { cancel.cancelled().await }
        });
    let recorder = Recorder::new(client.clone(), "vmruntime-controller");
    let runtimes = Runtimes {
        client: client.clone(),
        recorder,
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = keep_existing(client.clone()) => {}
        () = waiting::run(client, runtime) => {}
        () = reconcile::run(runtimes, controller) => {}
    }
}

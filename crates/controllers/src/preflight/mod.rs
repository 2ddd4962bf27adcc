//! VMRuntimePreflightChecks: one run each, from its creation to its verdict (G-30 to G-40).
//!
//! ```text
//!  VMRuntime, version, labels of nodes ─► trigger ─► a check       (by the VMRuntime's controller, which records
//!  bmctl check, a manifest ──────────────────────► a check          what it was for, and prunes old ones)
//!                                                     │ nodes: those ready and not left out
//!                        node agents: checks.<node> ──┤
//!                              deadline ──────────────┴─► pass, failures, message, Event
//! ```
//!
//! Who writes the status: this controller `nodes` and the verdict, each node agent its own key of `checks`, all
//! with the version they read.
//!
//! Invariants: a check that has a verdict is never changed again; a check ends, whether or not nodes answer; what
//! started a check automatically gives it its name, so that a crash cannot start it twice.

mod plan;
pub(crate) mod trigger;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::runtime::{Controller, watcher};
use reconcile::{
    EventKind, Next, ReconcileError, Reconciler, Recorder, ResultExt, get_opt, report,
};
use tokio_util::sync::CancellationToken;

use api::preflight::VMRuntimePreflightCheck as Check;
use api::vmruntime::{NAME, NAMESPACE, VMRuntime};
use plan::Facts;
use reconcile::Note;

pub use api::preflight::SKIP_LABEL;
pub use trigger::VERSION;

/// A node, as checks see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    pub name: String,
    pub ready: bool,
    /// Whether it is left out (G-32).
    pub skipped: bool,
}

impl NodeFacts {
    pub(crate) fn of(node: &Node) -> Self {
        use kube::ResourceExt;
        let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
        Self {
            name: node.name_any(),
            ready: conditions
                .into_iter()
                .flatten()
                .any(|c| c.type_ == "Ready" && c.status == "True"),
            skipped: node.labels().contains_key(SKIP_LABEL),
        }
    }
}

struct Checks {
    client: Client,
    recorder: Recorder,
    /// Since when nodes can have been heard: a check is not failed for the time that nobody was there.
    since: Timestamp,
    patience: SignedDuration,
}

impl Reconciler for Checks {
    type Object = Check;
    type Observed = Facts;
    type Plan = plan::Plan;
    const NAME: &'static str = "preflight-controller";

    async fn observe(&self, check: Arc<Check>) -> Result<Facts, ReconcileError> {
        let (mut nodes, mut use_emulation) = (Vec::new(), None);
        if check.pass().is_none() {
            let api: Api<Node> = Api::all(self.client.clone());
            let all = api.list(&ListParams::default()).await;
            let all = all.doing(|| "listing the nodes".to_owned())?;
            nodes = all.items.iter().map(NodeFacts::of).collect();
            let runtime: Option<VMRuntime> = get_opt(&Api::all(self.client.clone()), NAME).await?;
            use_emulation = runtime.and_then(|r| r.spec.use_emulation);
        }
        Ok(Facts {
            check,
            nodes,
            use_emulation,
            since: self.since,
            patience: self.patience,
        })
    }

    fn plan(facts: &Facts, now: Timestamp) -> plan::Plan {
        plan::decide(facts, now)
    }

    async fn apply(&self, facts: Facts, plan: plan::Plan) -> Result<Next, ReconcileError> {
        let api: Api<Check> = Api::namespaced(self.client.clone(), NAMESPACE);
        let (check, event) = (facts.check.as_ref(), plan.event.as_ref());
        report(&api, &self.recorder, check, plan.status, event).await?;
        Ok(Next::at(plan.again_at, Timestamp::now()))
    }
}

fn note(passed: bool, message: &str) -> Note {
    let (kind, reason) = if passed {
        (EventKind::Normal, "PreflightCheckPassed")
    } else {
        (EventKind::Warning, "PreflightCheckFailed")
    };
    Note {
        kind,
        reason,
        message: message.to_owned(),
    }
}

/// Runs until cancelled. Nodes have `patience` to answer a check: an agent needs seconds, one that is just starting, on
/// a busy host, a minute. Those that stay silent have failed it.
pub async fn run(client: Client, patience: SignedDuration, cancel: CancellationToken) {
    let any = watcher::Config::default;
    let checks = Controller::new(Api::<Check>::namespaced(client.clone(), NAMESPACE), any());
    let known = checks.store();
    let controller = checks
        .watches(Api::<Node>::all(client.clone()), any(), move |_| {
            let running = known.state().into_iter().filter(|c| c.pass().is_none());
            running
                .map(|c| kube::runtime::reflector::ObjectRef::from_obj(c.as_ref()))
                .collect::<Vec<_>>()
        })
        .graceful_shutdown_on(async move { cancel.cancelled().await });
    let recorder = Recorder::new(client.clone(), "preflight-controller");
    let checks = Checks {
        client,
        recorder,
        since: Timestamp::now(),
        patience,
    };
    reconcile::run(checks, controller).await;
}

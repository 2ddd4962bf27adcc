//! The node's part in preflight checks (G-30 to G-40): looks at its host afresh, judges, and answers.
//!
//! ```text
//!  check that asks this node ─► Probe::facts ─────────────► judge ─► status.checks.<node>
//!                                 │ one child process per aspect,      (pure)
//!                                 │ time-bounded, as root or as the
//!                                 └ QEMU user: `ferrovirt preflight-probe ASPECT`
//! ```
//!
//! Invariants: every check answers, also when a probe crashes or hangs (then that is the answer); nothing is
//! answered from memory or cache; an answer is written under the node's own key only, and only while the check runs.

mod answer;
mod child;
mod facts;
mod judge;
mod limits;

use std::sync::Arc;

use api::preflight::{NodeChecks, VMRuntimePreflightCheck as Check};
use api::vmruntime::{EmulationPolicy, NAMESPACE};
use host::kvm::KvmReport;
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use reconcile::{Next, ReconcileError, Reconciler, ResultExt, get_opt};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use answer::main as answer;
pub use child::ChildProcesses;
pub use facts::{Aspect, Facts, Found, KvmFacts, QemuFacts, SandboxFacts, TimeFacts};
pub use judge::judge;

/// How often an answer is written again when others write at the same time.
const TRIES: usize = 50;

/// Looks at a host.
pub trait Probe: Send + Sync + 'static {
    /// What is the case now. Bounded in time.
    fn facts(&self, emulation: EmulationPolicy) -> impl Future<Output = Facts> + Send;
}

/// One look at the host.
struct Look {
    begun: Instant,
    emulation: EmulationPolicy,
    checks: NodeChecks,
}

struct Responder<P> {
    client: Client,
    node: String,
    probe: P,
    /// Hosts are looked at by one check at a time, since probes measure time. The last look is kept for checks that
    /// were waiting for their turn when it began: it is as fresh as theirs would be.
    turn: Mutex<Option<Look>>,
    /// What was found of KVM last.
    fresh: watch::Sender<Option<KvmReport>>,
}

impl<P: Probe> Responder<P> {
    /// Looks at the host, not before now.
    async fn look(&self, emulation: EmulationPolicy) -> NodeChecks {
        let asked = Instant::now();
        let mut turn = self.turn.lock().await;
        let fits = |look: &&Look| look.begun >= asked && look.emulation == emulation;
        if let Some(look) = turn.as_ref().filter(fits) {
            return look.checks.clone();
        }
        let begun = Instant::now();
        let facts = self.probe.facts(emulation).await;
        if let Some(Ok(kvm)) = &facts.kvm {
            self.fresh.send_replace(Some(kvm.report()));
        }
        let checks = NodeChecks::of(judge(&facts, emulation));
        *turn = Some(Look {
            begun,
            emulation,
            checks: checks.clone(),
        });
        checks
    }

    /// Writes the answer, unless the check has ended or is another one meanwhile.
    async fn write(&self, check: &Check, checks: &NodeChecks) -> Result<(), ReconcileError> {
        let api: Api<Check> = Api::namespaced(self.client.clone(), NAMESPACE);
        let name = check.name_any();
        for _ in 0..TRIES {
            let Some(now) = get_opt(&api, &name).await? else {
                return Ok(());
            };
            let status = now.status.clone().unwrap_or_default();
            if now.uid() != check.uid() || !status.waits_for(&self.node) {
                return Ok(());
            }
            let node = &self.node;
            let patch = serde_json::json!({
                "metadata": {"resourceVersion": now.resource_version()},
                "status": {"checks": {node: checks}},
            });
            let written = api
                .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await;
            match written {
                // Another node was quicker.
                Err(kube::Error::Api(s)) if s.code == 409 => {}
                Err(kube::Error::Api(s)) if s.code == 404 => return Ok(()),
                other => {
                    other.doing(|| format!("answering the preflight check {name}"))?;
                    return Ok(());
                }
            }
        }
        Err(ReconcileError::other(
            format!("answering the preflight check {name}"),
            "others keep writing at the same time",
        ))
    }
}

impl<P: Probe> Reconciler for Responder<P> {
    type Object = Check;
    type Observed = (Arc<Check>, String);
    type Plan = Option<EmulationPolicy>;
    const NAME: &'static str = "preflight-responder";

    async fn observe(&self, check: Arc<Check>) -> Result<Self::Observed, ReconcileError> {
        Ok((check, self.node.clone()))
    }

    fn plan((check, node): &Self::Observed, _now: Timestamp) -> Option<EmulationPolicy> {
        let asked = check.metadata.deletion_timestamp.is_none();
        let status = check.status.as_ref().filter(|_| asked)?;
        status.waits_for(node).then(|| status.emulation())
    }

    async fn apply(
        &self,
        (check, node): Self::Observed,
        plan: Option<EmulationPolicy>,
    ) -> Result<Next, ReconcileError> {
        let Some(emulation) = plan else {
            return Ok(Next::Change);
        };
        let checks = self.look(emulation).await;
        for failed in checks.failures() {
            info!(
                node,
                check = failed.check_name,
                "preflight: {}",
                failed.message.as_deref().unwrap_or_default()
            );
        }
        self.write(&check, &checks).await?;
        Ok(Next::Change)
    }
}

/// Answers for `node` until cancelled. `fresh` gets what each check finds of KVM.
pub async fn run<P: Probe>(
    client: Client,
    node: String,
    probe: P,
    fresh: watch::Sender<Option<KvmReport>>,
    cancel: CancellationToken,
) {
    let checks = Api::<Check>::namespaced(client.clone(), NAMESPACE);
    let controller = Controller::new(checks, watcher::Config::default()).graceful_shutdown_on({
        let cancel = cancel.clone();
        async move { cancel.cancelled().await }
    });
    let responder = Responder {
        client,
        node,
        probe,
        turn: Mutex::new(None),
        fresh,
    };
    reconcile::run(responder, controller).await;
}

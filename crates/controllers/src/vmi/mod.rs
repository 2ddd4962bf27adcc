//! VirtualMachineInstances: volumes ready, one launcher Pod, and the phases until the node agent
//! takes over.
//!
//! ```text
//!           volumes ready, Pod made     Pod on a node        guest runs (node agent)
//!  Pending ────────────────────► Scheduling ──────► Scheduled ──────────► Running
//!     │                               │                 │                    │
//!     └───────────────────────────────┴── Pod ended ────┴────────────────────┴──► Succeeded | Failed
//! ```
//!
//! Who writes the status: this controller until `Scheduled`, and again once the Pod has ended; the
//! node agent in between. Both write with the version they read, so neither overwrites the other.
//!
//! Invariants: the Pod's name follows from the VMI's UID, so there is never a second one; the
//! finalizer stays until every Pod of the VMI is gone; a VMI that waits says for what.

mod plan;
mod pod;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use reconcile::{
    Next, Note, ReconcileError, Reconciler, Recorder, ResultExt, add_finalizer, controls,
    create_owned, get_opt, release, report,
};
use tokio_util::sync::CancellationToken;

use crate::runtime::{Runtime, changes};
use api::cdi::DataVolume;
use api::kubevirt::{CREATED_BY_LABEL, VMI_FINALIZER, VirtualMachineInstance as Vmi};
use api::vmruntime::EmulationPolicy;
use plan::{Facts, NodeKvm, Step, VolumeFacts};

pub(crate) use plan::waits;
pub use plan::{KVM_ANNOTATION, KVM_LABEL, SCHEDULABLE_LABEL};

struct Instances {
    client: Client,
    runtime: Runtime,
    recorder: Recorder,
}

impl Instances {
    async fn pods(&self, vmi: &Vmi) -> Result<Vec<Pod>, ReconcileError> {
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), &vmi.namespace().unwrap_or_default());
        let selector = format!("{CREATED_BY_LABEL}={}", vmi.uid().unwrap_or_default());
        let pods = api
            .list(&ListParams::default().labels(&selector))
            .await
            .doing(|| format!("listing the Pods of VMI {}", vmi.name_any()))?;
        // Labels can be forged by anybody who may write Pods; owner references say who made them.
        Ok(pods
            .items
            .into_iter()
            .filter(|p| controls(vmi, p))
            .collect())
    }

    async fn volumes(&self, vmi: &Vmi) -> Result<Vec<VolumeFacts>, ReconcileError> {
        let namespace = vmi.namespace().unwrap_or_default();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let data_volumes: Api<DataVolume> = Api::namespaced(self.client.clone(), &namespace);
        let mut facts = Vec::new();
        for volume in &vmi.spec.volumes {
            let Some((claim_name, is_data_volume)) = plan::claim_of(volume) else {
                continue;
            };
            let claim = get_opt(&claims, claim_name).await?;
            // A claim that a DataVolume fills must be full, however the VM refers to it.
            let filled_by = claim.as_ref().and_then(|c| {
                let owner = c
                    .owner_references()
                    .iter()
                    .find(|r| r.kind == "DataVolume")?;
                Some(owner.name.clone())
            });
            let data_volume = match filled_by {
                Some(name) => get_opt(&data_volumes, &name).await?,
                None if is_data_volume => get_opt(&data_volumes, claim_name).await?,
                None => None,
            };
            facts.push(VolumeFacts {
                volume: volume.name.clone(),
                claim_name: claim_name.to_owned(),
                is_data_volume,
                claim,
                data_volume,
            });
        }
        Ok(facts)
    }

    /// What the nodes say of hardware virtualization; asked only when it decides.
    async fn kvm(&self) -> Result<Vec<NodeKvm>, ReconcileError> {
        if self.runtime.borrow().emulation != EmulationPolicy::Never {
            return Ok(Vec::new());
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        let nodes = nodes
            .list(&ListParams::default())
            .await
            .doing(|| "listing the nodes".to_owned())?;
        Ok(nodes.items.iter().map(NodeKvm::of).collect())
    }

    async fn delete_pod(&self, pod: &Pod, grace_seconds: u32) -> Result<(), ReconcileError> {
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let params = DeleteParams {
            grace_period_seconds: Some(grace_seconds),
            preconditions: Some(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(&pod.name_any(), &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => Ok(()),
            Err(e) => Err(e).doing(|| format!("deleting Pod {}", pod.name_any())),
        }
    }
}

impl Reconciler for Instances {
    type Object = Vmi;
    type Observed = Facts;
    type Plan = plan::Plan;
    const NAME: &'static str = "virtualmachineinstance-controller";

    async fn observe(&self, vmi: Arc<Vmi>) -> Result<Facts, ReconcileError> {
        let pods = self.pods(&vmi).await?;
        let volumes = if pods.is_empty() {
            self.volumes(&vmi).await?
        } else {
            Vec::new()
        };
        let name_taken = if pods.is_empty() {
            let name = pod::name_of(&vmi);
            let api: Api<Pod> =
                Api::namespaced(self.client.clone(), &vmi.namespace().unwrap_or_default());
            get_opt(&api, &name).await?.map(|_| name)
        } else {
            None
        };
        Ok(Facts {
            name_taken,
            pods,
            volumes,
            kvm: self.kvm().await?,
            runtime: self.runtime.borrow().clone(),
            vmi,
        })
    }

    fn plan(facts: &Facts, now: Timestamp) -> plan::Plan {
        plan::decide(facts, now)
    }

    async fn apply(&self, facts: Facts, plan: plan::Plan) -> Result<Next, ReconcileError> {
        let namespace = facts.vmi.namespace().unwrap_or_default();
        let vmis: Api<Vmi> = Api::namespaced(self.client.clone(), &namespace);
        let (vmi, event) = (facts.vmi.as_ref(), plan.event.as_ref());
        report(&vmis, &self.recorder, vmi, plan.status, event).await?;
        match plan.step {
            Step::Nothing => {}
            Step::AddFinalizer => add_finalizer(&vmis, vmi, VMI_FINALIZER).await?,
            Step::RemoveFinalizer => release(&vmis, vmi, VMI_FINALIZER).await?,
            Step::MakePod(pod) => {
                let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
                create_owned(&pods, vmi, &*pod).await?;
                let message = format!("Created virtual machine pod {}", pod.name_any());
                let note = Note::normal("SuccessfulCreate", message);
                self.recorder.tell(vmi, &note).await;
            }
            Step::DeletePod {
                name,
                grace_seconds,
            } => {
                if let Some(pod) = facts.pods.iter().find(|p| p.name_any() == name) {
                    self.delete_pod(pod, grace_seconds).await?;
                }
            }
        }
        Ok(Next::Change)
    }
}

/// Runs until cancelled.
pub async fn run(client: Client, runtime: Runtime, cancel: CancellationToken) {
    let any = watcher::Config::default;
    let vmis: Controller<Vmi> = Controller::new(Api::all(client.clone()), any());
    let known = vmis.store();
    let by_claim = {
        let known = known.clone();
        move |namespace: Option<String>, claim: String| -> Vec<ObjectRef<Vmi>> {
            known
                .state()
                .iter()
                .filter(|vmi| {
                    let phase = vmi.status.as_ref().and_then(|s| s.phase);
                    vmi.namespace() == namespace
                        && phase.is_none_or(|p| p == api::kubevirt::VmiPhase::Pending)
                        && vmi
                            .spec
                            .volumes
                            .iter()
                            .any(|v| plan::claim_of(v).is_some_and(|(c, _)| c == claim))
                })
                .map(|vmi| ObjectRef::from_obj(vmi.as_ref()))
                .collect()
        }
    };
    let by_data_volume = by_claim.clone();
    let controller = vmis
        .owns(
            Api::<Pod>::all(client.clone()),
            any().labels("kubevirt.io=virt-launcher"),
        )
        .watches(
            Api::<PersistentVolumeClaim>::all(client.clone()),
            any(),
            move |claim| by_claim(claim.namespace(), claim.name_any()),
        )
        .watches(
            Api::<DataVolume>::all(client.clone()),
            any(),
            move |volume| by_data_volume(volume.namespace(), volume.name_any()),
        )
        .reconcile_all_on(changes(runtime.clone()))
        .graceful_shutdown_on(async move { cancel.cancelled().await });
    let recorder = Recorder::new(client.clone(), "virtualmachine-controller");
    let instances = Instances {
        client,
        runtime,
        recorder,
    };
    reconcile::run(instances, controller).await;
}

//! VirtualMachines: DataVolumes from their templates, one instance by run strategy, and the status
//! that people read.
//!
//! ```text
//!  VM ──► DataVolumes (templates; go with the VM)
//!   │
//!   └──► VMI of the same name, as `machine::lifecycle` decides; recreated after it ends, with
//!        back-off when starts fail
//! ```
//!
//! Invariants: there is never more than one instance, since it has the VM's name; the status (with
//! the requests by hand and the count of failed starts) is written before the instance is touched,
//! so a crash between the two repeats the action instead of losing the request; the finalizer stays
//! until the instance is gone.

mod objects;
mod plan;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::Api;
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use reconcile::{
    Next, Note, ReconcileError, Reconciler, Recorder, add_finalizer, create_if_absent,
    create_owned, delete_if_present, get_opt, release, report,
};
use tokio_util::sync::CancellationToken;

use crate::runtime::{Runtime, changes};
use api::cdi::DataVolume;
use api::kubevirt::{VM_FINALIZER, VirtualMachine as Vm, VirtualMachineInstance as Vmi};
use plan::{Facts, Step};

pub(crate) use plan::waits;

struct Machines {
    client: Client,
    runtime: Runtime,
    recorder: Recorder,
}

impl Reconciler for Machines {
    type Object = Vm;
    type Observed = Facts;
    type Plan = plan::Plan;
    const NAME: &'static str = "virtualmachine-controller";

    async fn observe(&self, vm: Arc<Vm>) -> Result<Facts, ReconcileError> {
        let namespace = vm.namespace().unwrap_or_default();
        let vmis: Api<Vmi> = Api::namespaced(self.client.clone(), &namespace);
        let volumes: Api<DataVolume> = Api::namespaced(self.client.clone(), &namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let instance = get_opt(&vmis, &vm.name_any()).await?;
        let mut names: Vec<&str> = vm
            .spec
            .data_volume_templates
            .iter()
            .map(objects::template_name)
            .chain(
                vm.spec
                    .template
                    .spec
                    .volumes
                    .iter()
                    .filter_map(|v| v.data_volume.as_ref().map(|d| d.name.as_str())),
            )
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut data_volumes = Vec::new();
        for name in names {
            if let Some(found) = get_opt(&volumes, name).await? {
                data_volumes.push(found);
            }
        }
        let mut missing_claims = Vec::new();
        for volume in &vm.spec.template.spec.volumes {
            if let Some(source) = &volume.persistent_volume_claim
                && get_opt(&claims, &source.claim_name).await?.is_none()
            {
                missing_claims.push(source.claim_name.clone());
            }
        }
        Ok(Facts {
            runtime: self.runtime.borrow().clone(),
            vm,
            instance,
            data_volumes,
            missing_claims,
        })
    }

    fn plan(facts: &Facts, now: Timestamp) -> plan::Plan {
        plan::decide(facts, now)
    }

    async fn apply(&self, facts: Facts, plan: plan::Plan) -> Result<Next, ReconcileError> {
        let namespace = facts.vm.namespace().unwrap_or_default();
        let vms: Api<Vm> = Api::namespaced(self.client.clone(), &namespace);
        let vmis: Api<Vmi> = Api::namespaced(self.client.clone(), &namespace);
        let (vm, event) = (facts.vm.as_ref(), plan.event.as_ref());
        report(&vms, &self.recorder, vm, plan.status, event).await?;
        match plan.step {
            Step::Nothing => {}
            Step::AddFinalizer => add_finalizer(&vms, vm, VM_FINALIZER).await?,
            Step::RemoveFinalizer => release(&vms, vm, VM_FINALIZER).await?,
            Step::MakeDataVolumes(all) => {
                let api: Api<DataVolume> = Api::namespaced(self.client.clone(), &namespace);
                for volume in &all {
                    create_if_absent(&api, volume).await?;
                    let message = format!("Created DataVolume {}", volume.name_any());
                    let note = Note::normal("SuccessfulDataVolumeCreate", message);
                    self.recorder.tell(vm, &note).await;
                }
            }
            Step::MakeInstance(vmi) => {
                create_owned(&vmis, vm, &*vmi).await?;
                let message = format!(
                    "Started the virtual machine by creating the new virtual machine instance {}",
                    vmi.name_any()
                );
                let note = Note::normal("SuccessfulCreate", message);
                self.recorder.tell(vm, &note).await;
            }
            Step::DeleteInstance => {
                if let Some(vmi) = &facts.instance {
                    delete_if_present(&vmis, vmi).await?;
                    let message = format!(
                        "Stopped the virtual machine by deleting the virtual machine instance {}",
                        vmi.name_any()
                    );
                    let note = Note::normal("SuccessfulDelete", message);
                    self.recorder.tell(vm, &note).await;
                }
            }
        }
        Ok(Next::at(plan.again_at, Timestamp::now()))
    }
}

/// Runs until cancelled.
pub async fn run(client: Client, runtime: Runtime, cancel: CancellationToken) {
    let any = watcher::Config::default;
    let controller = Controller::new(Api::<Vm>::all(client.clone()), any())
        .owns(Api::<Vmi>::all(client.clone()), any())
        .owns(Api::<DataVolume>::all(client.clone()), any())
        .reconcile_all_on(changes(runtime.clone()))
        .graceful_shutdown_on(async move { cancel.cancelled().await });
    let recorder = Recorder::new(client.clone(), "virtualmachine-controller");
    let machines = Machines {
        client,
        runtime,
        recorder,
    };
    reconcile::run(machines, controller).await;
}

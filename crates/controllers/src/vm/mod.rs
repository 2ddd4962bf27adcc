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
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::Api;
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use reconcile::{
    EventKind, Next, ReconcileError, Reconciler, Recorder, add_finalizer, create_if_absent,
    delete_if_present, get_opt, remove_finalizer, write_status,
};
use tokio_util::sync::CancellationToken;

use crate::owner::controls;
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
        let mut new = (*facts.vm).clone();
        new.status = plan.status;
        write_status(&vms, &new, facts.vm.status.as_ref(), new.status.as_ref()).await?;
        if let Some(note) = plan.event {
            self.recorder
                .publish(&new, note.kind, note.reason, &note.message)
                .await;
        }
        match plan.step {
            Step::Nothing => {}
            Step::AddFinalizer => add_finalizer(&vms, facts.vm.as_ref(), VM_FINALIZER).await?,
            Step::RemoveFinalizer => {
                if let Some(now) = get_opt(&vms, &facts.vm.name_any()).await? {
                    remove_finalizer(&vms, &now, VM_FINALIZER).await?;
                }
            }
            Step::MakeDataVolumes(all) => {
                let api: Api<DataVolume> = Api::namespaced(self.client.clone(), &namespace);
                for volume in &all {
                    create_if_absent(&api, volume).await?;
                    let message = format!("Created DataVolume {}", volume.name_any());
                    self.recorder
                        .publish(
                            facts.vm.as_ref(),
                            EventKind::Normal,
                            "SuccessfulDataVolumeCreate",
                            &message,
                        )
                        .await;
                }
            }
            Step::MakeInstance(vmi) => {
                let made = create_if_absent(&vmis, &*vmi).await?;
                if !controls(facts.vm.as_ref(), &made) {
                    return Err(ReconcileError::other(
                        format!("creating VMI {}", vmi.name_any()),
                        "a VMI of that name exists and does not belong to this VM: delete it or rename the VM",
                    ));
                }
                let message = format!(
                    "Started the virtual machine by creating the new virtual machine instance {}",
                    vmi.name_any()
                );
                self.recorder
                    .publish(
                        facts.vm.as_ref(),
                        EventKind::Normal,
                        "SuccessfulCreate",
                        &message,
                    )
                    .await;
            }
            Step::DeleteInstance => {
                if let Some(vmi) = &facts.instance {
                    delete_if_present(&vmis, vmi).await?;
                    let message = format!(
                        "Stopped the virtual machine by deleting the virtual machine instance {}",
                        vmi.name_any()
                    );
                    self.recorder
                        .publish(
                            facts.vm.as_ref(),
                            EventKind::Normal,
                            "SuccessfulDelete",
                            &message,
                        )
                        .await;
                }
            }
        }
        Ok(plan.again_at.map_or(Next::Change, |at| {
            let wait = at.duration_since(Timestamp::now());
            Next::After(Duration::try_from(wait).unwrap_or(Duration::from_millis(1)))
        }))
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

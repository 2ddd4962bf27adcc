//! While the VM stack is off, its controllers do not run: here VMs, instances and DataVolumes are told
//! that they wait, and for what.
//!
//! Invariant: it runs in the phase `Disabled` only, when no other controller of these kinds does; it writes
//! status and Events, and makes nothing.

use std::sync::Arc;

use jiff::Timestamp;
use kube::api::Api;
use kube::core::object::HasStatus;
use kube::runtime::{Controller, watcher};
use kube::{Client, Resource, ResourceExt};
use reconcile::{Next, Note, ReconcileError, Reconciler, Recorder, report};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::runtime::{Runtime, RuntimeFacts};
use crate::{datavolume, vm, vmi};
use api::cdi::{DataVolume, DataVolumeStatus};
use api::kubevirt::{
    VirtualMachine as Vm, VirtualMachineInstance as Vmi, VirtualMachineInstanceStatus,
    VirtualMachineStatus,
};
use api::vmruntime::RuntimePhase;

/// A kind whose objects wait while the runtime is disabled.
trait Waits:
    Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + HasStatus<Status: PartialEq + std::fmt::Debug + Send + Sync>
    + Send
    + Sync
    + 'static
{
    /// What the kind's own controller would say.
    fn words(this: &Arc<Self>, now: Timestamp) -> (Option<Self::Status>, Option<Note>);
}

macro_rules! waits {
    ($kind:ty, $status:ty, $words:path) => {
        impl Waits for $kind {
            fn words(this: &Arc<Self>, now: Timestamp) -> (Option<$status>, Option<Note>) {
                $words(this, now)
            }
        }
    };
}
waits!(Vm, VirtualMachineStatus, vm::waits);
waits!(Vmi, VirtualMachineInstanceStatus, vmi::waits);
waits!(DataVolume, DataVolumeStatus, datavolume::waits);

struct Waiting {
    client: Client,
    recorder: Recorder,
}

struct Told<K>(Waiting, std::marker::PhantomData<fn() -> K>);

impl<K: Waits> Reconciler for Told<K> {
    type Object = K;
    type Observed = Arc<K>;
    type Plan = (Option<K::Status>, Option<Note>);
    const NAME: &'static str = "vmruntime-controller";

    async fn observe(&self, object: Arc<K>) -> Result<Arc<K>, ReconcileError> {
        Ok(object)
    }

    fn plan(object: &Arc<K>, now: Timestamp) -> Self::Plan {
        if object.meta().deletion_timestamp.is_some() {
            // It goes by itself: nothing of ours holds it.
            return (None, None);
        }
        K::words(object, now)
    }

    async fn apply(
        &self,
        object: Arc<K>,
        (status, note): Self::Plan,
    ) -> Result<Next, ReconcileError> {
        let Some(status) = status else {
            return Ok(Next::Change);
        };
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.0.client.clone(), &namespace);
        let recorder = &self.0.recorder;
        report(&api, recorder, object.as_ref(), Some(status), note.as_ref()).await?;
        Ok(Next::Change)
    }
}

async fn tell<K: Waits>(client: Client) {
    let controller = Controller::new(Api::<K>::all(client.clone()), watcher::Config::default());
    let recorder = Recorder::new(client.clone(), "vmruntime-controller");
    let told: Told<K> = Told(Waiting { client, recorder }, std::marker::PhantomData);
    reconcile::run(told, controller).await;
}

/// Waits until the runtime is disabled, or until it is not.
async fn until(runtime: &mut Runtime, disabled: bool) {
    let is = |facts: &RuntimeFacts| (facts.phase == Some(RuntimePhase::Disabled)) == disabled;
    if runtime.wait_for(is).await.is_err() {
        // Nobody follows the runtime any more: all is ending.
        std::future::pending::<()>().await;
    }
}

/// Runs for ever: whenever the runtime is disabled.
pub(super) async fn run(client: Client, mut runtime: Runtime) {
    loop {
        until(&mut runtime, true).await;
        tokio::select! {
            () = until(&mut runtime, false) => {}
            () = tell::<Vm>(client.clone()) => {}
            () = tell::<Vmi>(client.clone()) => {}
            () = tell::<DataVolume>(client.clone()) => {}
        }
    }
}

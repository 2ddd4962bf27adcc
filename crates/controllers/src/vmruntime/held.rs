//! What keeps the runtime from being off: VMs, and Pods that run for them or for imports.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PartialObjectMeta, Preconditions};
use kube::{Client, Resource};
use reconcile::{ReconcileError, ResultExt};

use super::switch::{Held, Kind};
use api::kubevirt::{
    VM_FINALIZER, VMI_FINALIZER, VirtualMachine as Vm, VirtualMachineInstance as Vmi,
};

/// Pods of VMs and of imports, by label and by the kind that owns them: labels alone can be forged.
const WORKLOADS: [(&str, &str); 2] = [
    ("kubevirt.io=virt-launcher", "VirtualMachineInstance"),
    ("cdi.kubevirt.io=importer", "DataVolume"),
];

async fn list<K>(
    client: &Client,
    selector: &str,
    what: &str,
) -> Result<Vec<PartialObjectMeta<K>>, ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let all = Api::<K>::all(client.clone())
        .list_metadata(&ListParams::default().labels(selector))
        .await
        .doing(|| format!("listing the {what}"))?;
    Ok(all.items)
}

fn held<K>(kind: Kind, object: &PartialObjectMeta<K>, charged: bool) -> Held
where
    K: Resource<DynamicType = ()>,
{
    Held {
        kind,
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        charged,
        deleting: object.metadata.deletion_timestamp.is_some(),
    }
}

fn has_finalizer<K: Resource<DynamicType = ()>>(object: &PartialObjectMeta<K>, name: &str) -> bool {
    object
        .metadata
        .finalizers
        .iter()
        .flatten()
        .any(|f| f == name)
}

/// The kind that controls an object.
fn owner<K: Resource<DynamicType = ()>>(object: &PartialObjectMeta<K>) -> Option<&str> {
    let owners = object.metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|o| o.controller == Some(true));
    controllers.next().map(|o| o.kind.as_str())
}

/// All of it, in all namespaces.
pub(super) async fn observe(client: &Client) -> Result<Vec<Held>, ReconcileError> {
    let mut all = Vec::new();
    for vm in list::<Vm>(client, "", "VirtualMachines").await? {
        all.push(held(Kind::Machine, &vm, has_finalizer(&vm, VM_FINALIZER)));
    }
    for vmi in list::<Vmi>(client, "", "VirtualMachineInstances").await? {
        if owner(&vmi) != Some("VirtualMachine") {
            all.push(held(
                Kind::Instance,
                &vmi,
                has_finalizer(&vmi, VMI_FINALIZER),
            ));
        }
    }
    for (selector, kind) in WORKLOADS {
        for pod in list::<Pod>(client, selector, "Pods of VMs and imports").await? {
            if owner(&pod) == Some(kind) {
                all.push(held(Kind::Workload, &pod, true));
            }
        }
    }
    Ok(all)
}

/// Deletes a VM, and with it what it owns: it is gone when they are (G-22).
pub(super) async fn delete(client: &Client, vm: &Held) -> Result<(), ReconcileError> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(vm.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::foreground()
    };
    let (namespace, name) = (vm.namespace.as_str(), vm.name.as_str());
    let deleted = match vm.kind {
        Kind::Machine => {
            let api = Api::<Vm>::namespaced(client.clone(), namespace);
            api.delete(name, &params).await.map(drop)
        }
        Kind::Instance => {
            let api = Api::<Vmi>::namespaced(client.clone(), namespace);
            api.delete(name, &params).await.map(drop)
        }
        // Those are deleted by who made them.
        Kind::Workload => Ok(()),
    };
    match deleted {
        Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => Ok(()),
        other => other.doing(|| format!("deleting VM {namespace}/{name}")),
    }
}

//! What a VM makes: its instance and its DataVolumes. Pure.

use kube::ResourceExt;
use kube::api::ObjectMeta;

use api::cdi::DataVolume;
use api::kubevirt::{
    DataVolumeTemplate, VM_GENERATION_ANNOTATION, VMI_FINALIZER, VirtualMachine as Vm,
    VirtualMachineInstance as Vmi,
};
use reconcile::controlled_by;

/// Label on an instance and its Pod: name of the VM.
const VM_NAME_LABEL: &str = "vm.kubevirt.io/name";

/// Name of the DataVolume of a template; admission demands one.
pub(super) fn template_name(template: &DataVolumeTemplate) -> &str {
    template
        .metadata
        .as_ref()
        .and_then(|m| m.name.as_deref())
        .unwrap_or_default()
}

/// The instance.
pub(super) fn instance(vm: &Vm) -> Vmi {
    let template = vm.spec.template.metadata.clone().unwrap_or_default();
    let mut labels = template.labels.unwrap_or_default();
    let short: String = vm.name_any().chars().take(63).collect();
    labels.insert(
        VM_NAME_LABEL.to_owned(),
        short.trim_end_matches(['-', '.']).to_owned(),
    );
    let mut annotations = template.annotations.unwrap_or_default();
    annotations.insert(
        VM_GENERATION_ANNOTATION.to_owned(),
        vm.metadata.generation.unwrap_or_default().to_string(),
    );
    Vmi {
        metadata: ObjectMeta {
            name: Some(vm.name_any()),
            namespace: vm.namespace(),
            labels: Some(labels),
            annotations: Some(annotations),
            finalizers: Some(vec![VMI_FINALIZER.to_owned()]),
            owner_references: Some(vec![controlled_by(vm)]),
            ..ObjectMeta::default()
        },
        spec: vm.spec.template.spec.clone(),
        status: None,
    }
}

/// The DataVolume of a template.
pub(super) fn data_volume(vm: &Vm, template: &DataVolumeTemplate) -> DataVolume {
    let metadata = template.metadata.clone().unwrap_or_default();
    let mut labels = metadata.labels.unwrap_or_default();
    labels.insert(
        "kubevirt.io/created-by".to_owned(),
        vm.uid().unwrap_or_default(),
    );
    DataVolume {
        metadata: ObjectMeta {
            name: metadata.name,
            namespace: vm.namespace(),
            labels: Some(labels),
            annotations: metadata.annotations,
            owner_references: Some(vec![controlled_by(vm)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

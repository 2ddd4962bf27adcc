//! `kubevirt.io/v1`: [`VirtualMachine`] says what should run, [`VirtualMachineInstance`] is what runs.
//!
//! A VirtualMachine's controller creates one VirtualMachineInstance of the same name by run strategy;
//! the instance becomes one `virt-launcher` Pod. Only honoured fields are in these types.

mod condition;
mod domain;
mod vm;
mod vmi;
mod volume;

pub use condition::{Condition, ConditionStatus, condition, is_true, set_condition};
pub use domain::*;
pub use vm::*;
pub use vmi::*;
pub use volume::*;

/// API group of KubeVirt's core kinds.
pub const GROUP: &str = "kubevirt.io";
/// The one served and stored version.
pub const VERSION: &str = "v1";
/// Finalizer that keeps a VMI until its guest is gone.
pub const VMI_FINALIZER: &str = "kubevirt.io/foregroundDeleteVirtualMachine";
/// Finalizer that keeps a VM until its VMI is gone.
pub const VM_FINALIZER: &str = "kubevirt.io/virtualMachineControllerFinalize";
/// Label of a launcher Pod; its value is [`LAUNCHER_APP`].
pub const APP_LABEL: &str = "kubevirt.io";
/// Value of [`APP_LABEL`] on launcher Pods.
pub const LAUNCHER_APP: &str = "virt-launcher";
/// Label on launcher Pods: UID of the VMI they run.
pub const CREATED_BY_LABEL: &str = "kubevirt.io/created-by";
/// Label on launcher Pods and VMIs: the node.
pub const NODE_NAME_LABEL: &str = "kubevirt.io/nodeName";
/// Annotation on launcher Pods: name of the VMI they run.
pub const DOMAIN_ANNOTATION: &str = "kubevirt.io/domain";
/// Label on launcher Pods: name of the VMI (shortened if needed).
pub const VMI_NAME_LABEL: &str = "vmi.kubevirt.io/id";
/// Annotation with the generation of the VM that a VMI was made from.
pub const VM_GENERATION_ANNOTATION: &str = "kubevirt.io/vm-generation";
/// Annotation that says how PCI devices are laid out; part of KubeVirt's defaults.
pub const PCI_TOPOLOGY_ANNOTATION: &str = "kubevirt.io/pci-topology-version";

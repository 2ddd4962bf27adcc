//! `vm.cluster.gke.io/v1`: [`VMRuntime`], the switch of the VM stack (G-01 to G-13).
//!
//! The object is a singleton named [`NAME`]; it exists from the start and is disabled (G-01).
//! All spec fields are nullable: a stored object does not change when a default does (G-03).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// API group of the VM runtime.
pub const GROUP: &str = "vm.cluster.gke.io";
/// The one served and stored version.
pub const VERSION: &str = "v1";
/// Name of the singleton.
pub const NAME: &str = "vmruntime";
/// Namespace of the platform's own Pods and checks.
pub const NAMESPACE: &str = "vm-system";
/// Label of the platform's own Pods: the name of the component.
pub const COMPONENT_LABEL: &str = "ferrovirt.io/component";
/// Whether a disable deletes the VMs that exist: `"true"` or `"false"`. The spelling is the product's
/// own (G-24); it alone is ever written.
pub const FORCE_DISABLE: &str = "baremetal.cluster.gke.io/vmrumtime-force-disable";
/// The same, spelled as one would; [`FORCE_DISABLE`] wins where both are there.
pub const FORCE_DISABLE_CORRECT: &str = "baremetal.cluster.gke.io/vmruntime-force-disable";

/// The platform's own components, as KubeVirt's and CDI's users know them.
pub mod component {
    /// The switch itself. It alone runs while the runtime is disabled (G-21).
    pub const RUNTIME_MANAGER: &str = "vmruntime-controller-manager";
    /// VirtualMachines and VirtualMachineInstances.
    pub const VIRT_CONTROLLER: &str = "virt-controller";
    /// The agent of each node.
    pub const VIRT_HANDLER: &str = "virt-handler";
    /// DataVolumes.
    pub const CDI_DEPLOYMENT: &str = "cdi-deployment";
}

/// Settings of the VM stack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "vm.cluster.gke.io",
    version = "v1",
    kind = "VMRuntime",
    plural = "vmruntimes",
    singular = "vmruntime",
    status = "VMRuntimeStatus",
    derive = "PartialEq",
    doc = "VMRuntime switches the VM stack on and off. There is one, named vmruntime.",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Enabled","type":"string","jsonPath":".spec.enabled"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.ready"}"#,
    printcolumn = r#"{"name":"PreflightCheck","type":"string","jsonPath":".status.preflightCheckSummary.preflightCheckPassed"}"#
)]
pub struct VMRuntimeSpec {
    /// Whether VMs can run; they cannot if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// `true`: always emulate. `false`: hardware virtualization or nothing.
    /// Not given: hardware where the node's probe passes, else emulation, and a condition says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_emulation: Option<bool>,
    /// Format of disk images that are imported from now on; `raw` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_image_format: Option<VmImageFormat>,
    /// What happens to VMs when their node is drained. `{}` takes all defaults; if not given, guests are shut down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction_policy: Option<EvictionPolicy>,
    /// StorageClasses of VM disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSettings>,
    /// Features by name. Which of them are in effect is in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub feature_gates: Option<BTreeMap<String, FeatureGate>>,
    /// GPUs for guests. Only `false` can be honoured.
    #[serde(rename = "enableGPU")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_gpu: Option<bool>,
    /// Whether NVIDIA's driver is installed on nodes. Only `false` can be honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_nvidia_driver: Option<bool>,
    /// Address of the upload proxy. There is none: only the empty string can be honoured.
    #[serde(rename = "cdiUploadProxyVIP")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdi_upload_proxy_vip: Option<String>,
    /// Whether the upload proxy has no address of its own. It never has.
    #[serde(rename = "disableCDIUploadProxyVIP")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_cdi_upload_proxy_vip: Option<bool>,
    /// Whether optimizations of Windows guests that nested virtualization does not stand are left out. There are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy_on_nested_virtualization: Option<bool>,
    /// AppArmor profile of launchers. They are confined otherwise: only the empty string can be honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_armor_launcher_profile: Option<String>,
}

/// What happens to VMs when their node is drained (G-X07).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvictionPolicy {
    /// How VMs leave a node; `LiveMigrate` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction_strategy: Option<EvictionStrategy>,
    /// Migrations that may fail before a VM is restarted instead: 1 to 5, 3 if not given.
    #[serde(rename = "maxMigrationAttemptsPerVM")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "migration_attempts")]
    pub max_migration_attempts_per_vm: Option<u32>,
    /// How long the target of a migration may take to start, as `30s`, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    pub migration_target_initialization_timeout: Option<String>,
}

impl EvictionPolicy {
    /// How VMs leave a node.
    pub fn strategy(&self) -> EvictionStrategy {
        self.eviction_strategy.unwrap_or_default()
    }
}

/// How VMs leave a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EvictionStrategy {
    /// They move while they run; those that cannot are restarted.
    #[default]
    LiveMigrate,
    /// They are stopped, and started again when a node takes them.
    Restart,
}

/// StorageClasses of VM disks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageSettings {
    /// Class of disks that name none; the cluster's default if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_storage_class: Option<String>,
    /// Class of the scratch space of imports, which need none here; the cluster's default if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_scratch_space_storage_class: Option<String>,
}

/// Whether a feature is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FeatureGate {
    /// It is.
    Enabled,
    /// It is not.
    Disabled,
}

/// Features that the original product knows. None of them is part of this version.
pub const FEATURE_GATES: [&str; 2] = ["EjectableCDROMs", "VMPersistentState"];

fn migration_attempts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "minimum": 1, "maximum": 5, "nullable": true})
}

/// Go's durations, as `metav1.Duration` has them.
fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "nullable": true,
        "maxLength": 32,
        "pattern": r"^([0-9]+(\.[0-9]+)?(ns|us|\u00b5s|ms|s|m|h))+$",
    })
}

/// Format of disk images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VmImageFormat {
    /// Fast, and as large as the disk (though sparse).
    #[default]
    Raw,
    /// Copy on write.
    Qcow2,
}

/// How guests are to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EmulationPolicy {
    /// Hardware where the probe passes, else emulation.
    Automatic,
    /// Always emulation.
    Always,
    /// Hardware, or the guest does not start.
    Never,
}

impl EmulationPolicy {
    /// What a value of `useEmulation` means.
    pub fn of(use_emulation: Option<bool>) -> Self {
        match use_emulation {
            None => Self::Automatic,
            Some(true) => Self::Always,
            Some(false) => Self::Never,
        }
    }
}

impl VMRuntimeSpec {
    /// Whether VMs can run.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(false)
    }

    /// How guests are to be run.
    pub fn emulation(&self) -> EmulationPolicy {
        EmulationPolicy::of(self.use_emulation)
    }

    /// The class of disks that name none, if one is set here.
    pub fn default_storage_class(&self) -> Option<&str> {
        let class = self.storage.as_ref()?.default_storage_class.as_deref();
        class.filter(|c| !c.is_empty())
    }

    /// The class of scratch space, if one is set here.
    pub fn default_scratch_space_storage_class(&self) -> Option<&str> {
        let storage = self.storage.as_ref()?;
        let class = storage.default_scratch_space_storage_class.as_deref();
        class.filter(|c| !c.is_empty())
    }

    /// The format in effect (G-03).
    pub fn effective_image_format(&self) -> VmImageFormat {
        self.vm_image_format.unwrap_or_default()
    }
}

/// Where the VM stack is between off and on. The VMRuntime's controller alone decides it, and every
/// component follows it: what is written here is what holds, also after a crash.
///
/// ```text
///            enabled: true                     enabled: false, no VMs, or they are to be deleted
///  Disabled ──────────────► Enabled ─────────────────────────────► Disabling ──► Disabled
///                              ▲  enabled: false, VMs exist            ▲  nothing runs any more
///                              └──────────► VMsExist ──────────────────┘
///                             enabled: true           the last VM is gone
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RuntimePhase {
    /// Nothing of the VM stack runs.
    Disabled,
    /// The VM stack runs.
    Enabled,
    /// It is to be disabled and goes on running for the VMs that exist (G-22, G-23).
    VMsExist,
    /// Its components end what still runs: no guest and no import begins.
    Disabling,
}

impl RuntimePhase {
    /// Whether the components of the VM stack run.
    pub fn has_components(self) -> bool {
        self != Self::Disabled
    }

    /// Whether guests and imports may begin.
    pub fn may_start(self) -> bool {
        matches!(self, Self::Enabled | Self::VMsExist)
    }
}

/// What is known of the VM stack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VMRuntimeStatus {
    /// Whether it is enabled and works (G-04). Always there, so that `kubectl wait --for=jsonpath` works.
    #[serde(default)]
    pub ready: bool,
    /// Where the VM stack is between off and on; nothing until that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RuntimePhase>,
    /// The format that images are imported in.
    #[serde(rename = "effectiveVMImageFormat")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_vm_image_format: Option<VmImageFormat>,
    /// Ready, Enabled, SoftwareEmulation, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The latest preflight check (G-36).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight_check_summary: Option<PreflightCheckSummary>,
    /// What the latest automatic check was started for; what differs from it starts another one (G-31).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight_basis: Option<PreflightBasis>,
    /// The StorageClasses in effect: those of the spec, else the cluster's default, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSettings>,
    /// The features in effect, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<String, FeatureGate>,
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The latest preflight check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreflightCheckSummary {
    /// Name of the check object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight_check_name: Option<String>,
    /// Whether it passed; nothing while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight_check_passed: Option<bool>,
    /// Result of each check over all nodes, by the name of the check (`CPU`, `KVM`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_statuses: BTreeMap<String, FeatureStatus>,
}

/// What automatic preflight checks depend on, as it was when the controller looked last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreflightBasis {
    /// How many automatic checks were started.
    #[serde(default)]
    pub sequence: i64,
    /// Whether the runtime was enabled.
    #[serde(default)]
    pub enabled: bool,
    /// Version of the platform.
    #[serde(default)]
    pub version: String,
    /// `spec.useEmulation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_emulation: Option<bool>,
    /// Features that were on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Nodes that were left out by their label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_nodes: Vec<String>,
}

/// Result of one check over all nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeatureStatus {
    /// Whether it passed on every node.
    #[serde(default)]
    pub passed: bool,
    /// On how many nodes it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::int64")]
    pub failed_node_num: Option<u32>,
}

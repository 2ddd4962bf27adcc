//! `cdi.kubevirt.io/v1beta1`: a [`DataVolume`] prepares a claim for a VM.
//!
//! ```text
//! Pending -> ImportScheduled -> ImportInProgress -> Succeeded
//!    `-> WaitForFirstConsumer         `-> (retries) ... Failed only when it can never work
//! ```

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kubevirt::ConditionStatus;

/// API group of CDI.
pub const GROUP: &str = "cdi.kubevirt.io";
/// The one served and stored version.
pub const VERSION: &str = "v1beta1";

/// What to put on a claim, and what claim. Immutable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "cdi.kubevirt.io",
    version = "v1beta1",
    kind = "DataVolume",
    plural = "datavolumes",
    singular = "datavolume",
    shortname = "dv",
    shortname = "dvs",
    category = "all",
    namespaced,
    status = "DataVolumeStatus",
    derive = "PartialEq",
    doc = "DataVolume is a claim together with the image that is put on it.",
    printcolumn = r#"{"name":"Phase","type":"string","description":"The phase the data volume is in","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Progress","type":"string","description":"Transfer progress in percentage if known, N/A otherwise","jsonPath":".status.progress"}"#,
    printcolumn = r#"{"name":"Restarts","type":"integer","description":"The number of times the transfer has been restarted.","jsonPath":".status.restartCount"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
pub struct DataVolumeSpec {
    /// Where the image comes from: exactly one source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<DataVolumeSourceSpec>,
    /// The claim, with access and volume mode chosen by the storage class. Exactly one of `storage` and `pvc` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,
    /// The claim, in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvc: Option<StorageSpec>,
    /// `kubevirt` (a disk image; what it is if not given).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

impl DataVolumeSpec {
    /// The claim that is asked for, whichever way.
    pub fn claim(&self) -> Option<&StorageSpec> {
        self.storage.as_ref().or(self.pvc.as_ref())
    }
}

/// Where an image comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataVolumeSourceSpec {
    /// A web server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
    /// Nowhere: an empty disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blank: Option<BlankSource>,
}

/// An image on a web server: raw or qcow2, plain or compressed by gzip or xz.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpSource {
    /// `http://` or `https://` URL of the image.
    #[serde(default)]
    pub url: String,
    /// A Secret with the keys `accessKeyId` and `secretKey`, used as basic authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<String>,
    /// A ConfigMap with certificates of authorities to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_config_map: Option<String>,
}

/// An empty disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlankSource {}

/// The claim that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Access modes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub access_modes: Vec<String>,
    /// `Filesystem` or `Block`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mode: Option<String>,
    /// Storage class; the default one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// Size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<StorageResources>,
    /// A volume to bind to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// Labels that the volume must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

impl StorageSpec {
    /// The size that is asked for.
    pub fn size(&self) -> Option<&Quantity> {
        self.resources.as_ref()?.requests.get("storage")
    }
}

/// Size of a claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageResources {
    /// `storage`: the size.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::quantities")]
    pub requests: BTreeMap<String, Quantity>,
    /// `storage`: the largest size.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

/// What is known of a DataVolume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataVolumeStatus {
    /// The claim; its name is that of the DataVolume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_name: Option<String>,
    /// Where it is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<DataVolumePhase>,
    /// `12.34%`, or `N/A`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// How often the transfer was started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_count: Option<i32>,
    /// Bound, Running, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<DataVolumeCondition>,
}

/// Where a DataVolume is in its life; the phases of imports and blank disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DataVolumePhase {
    /// Accepted; the claim is not bound.
    Pending,
    /// The claim is bound.
    #[serde(rename = "PVCBound")]
    PvcBound,
    /// The storage class waits for a Pod that uses the claim.
    WaitForFirstConsumer,
    /// Another controller fills the claim.
    PendingPopulation,
    /// The importer's Pod is there.
    ImportScheduled,
    /// The importer runs.
    ImportInProgress,
    /// The image is there.
    Succeeded,
    /// It will never be.
    Failed,
    /// Nobody can tell.
    Unknown,
}

impl DataVolumePhase {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::PvcBound => "PVCBound",
            Self::WaitForFirstConsumer => "WaitForFirstConsumer",
            Self::PendingPopulation => "PendingPopulation",
            Self::ImportScheduled => "ImportScheduled",
            Self::ImportInProgress => "ImportInProgress",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }
}

impl std::fmt::Display for DataVolumePhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One observed aspect, as CDI writes it: with a heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataVolumeCondition {
    /// `Ready`, `Bound` or `Running`.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// When the status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// When anything of it last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_time: Option<Time>,
    /// A CamelCase word for machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Puts a condition in place. The transition time moves with the status, the heartbeat with any change.
/// Says whether anything changed.
pub fn set_condition(
    conditions: &mut Vec<DataVolumeCondition>,
    type_: &str,
    status: ConditionStatus,
    reason: &str,
    message: &str,
    now: jiff::Timestamp,
) -> bool {
    let text = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    let (reason, message, now) = (text(reason), text(message), Some(Time(now)));
    match conditions.iter_mut().find(|c| c.type_ == type_) {
        Some(c) if c.status == status && c.reason == reason && c.message == message => false,
        Some(c) => {
            if c.status != status {
                c.last_transition_time = now.clone();
            }
            (c.status, c.reason, c.message, c.last_heartbeat_time) = (status, reason, message, now);
            true
        }
        None => {
            conditions.push(DataVolumeCondition {
                type_: type_.to_owned(),
                status,
                last_transition_time: now.clone(),
                last_heartbeat_time: now,
                reason,
                message,
            });
            true
        }
    }
}

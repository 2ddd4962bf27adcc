//! What to do about a claim and about a volume. Pure.

use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, Pod,
};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::{Config, IS_DEFAULT, PROVISIONER};

/// Keeps a claim while a Pod uses it (upstream's name).
pub(super) const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Keeps a PV until its directory is gone.
pub(super) const VOLUME_FINALIZER: &str = "local.ferrovirt.io/directory";
/// Keeps a PV while it is bound; the API server puts it on every PV (upstream's name).
pub(super) const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
/// Who made a PV (upstream's annotation).
pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// All that the decision about a claim needs.
pub(super) struct ClaimFacts<'a> {
    pub claim: &'a PersistentVolumeClaim,
    pub classes: &'a [StorageClass],
    pub volume: Option<&'a PersistentVolume>,
    /// Pods that use the claim and have not ended.
    pub users: &'a [String],
}

/// What to do about a claim.
#[derive(Debug, PartialEq)]
pub(super) enum ClaimPlan {
    /// Somebody else's, or all done.
    Nothing,
    /// Put our finalizer on it first.
    Protect,
    /// Make (or find) the volume, then its directory, then bind.
    Provision { class: String, volume: String },
    /// The claim names a volume that is there: say Bound.
    Bind { volume: String },
    /// It is being deleted, but used.
    Keep { users: Vec<String> },
    /// It is being deleted, and nobody uses it.
    Release,
    /// It cannot be served; the message says why and what to do.
    Refuse { message: String },
}

/// Decides about a claim.
pub(super) fn claim(facts: &ClaimFacts<'_>) -> ClaimPlan {
    let claim = facts.claim;
    let protected = claim.finalizers().iter().any(|f| f == CLAIM_PROTECTION);
    if claim.metadata.deletion_timestamp.is_some() {
        return match (protected, facts.users) {
            (false, _) => ClaimPlan::Nothing,
            (true, []) => ClaimPlan::Release,
            (true, users) => ClaimPlan::Keep {
                users: users.to_vec(),
            },
        };
    }
    let Some(spec) = claim.spec.as_ref() else {
        return ClaimPlan::Nothing;
    };
    if !protected {
        return ClaimPlan::Protect;
    }
    let bound = claim
        .status
        .as_ref()
        .is_some_and(|s| s.phase.as_deref() == Some("Bound"));
    if let Some(volume) = spec.volume_name.as_ref().filter(|v| !v.is_empty()) {
        if bound {
            return ClaimPlan::Nothing;
        }
        let ours = facts.volume.is_some_and(|pv| claimed_by(pv, claim));
        return if ours {
            ClaimPlan::Bind {
                volume: volume.clone(),
            }
        } else {
            ClaimPlan::Refuse {
                message: format!(
                    "the claim names PersistentVolume {volume:?}, which does not exist or is not reserved for it; remove spec.volumeName to have a volume made"
                ),
            }
        };
    }
    let class = match class_of(claim, facts.classes) {
        Ok(class) => class,
        Err(message) => return ClaimPlan::Refuse { message },
    };
    if class.provisioner != PROVISIONER {
        return ClaimPlan::Nothing;
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return ClaimPlan::Refuse {
            message: format!(
                "StorageClass {:?} makes directories: set spec.volumeMode to Filesystem",
                class.name_any()
            ),
        };
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return ClaimPlan::Refuse {
            message: format!(
                "StorageClass {:?} cannot fill a claim from spec.dataSource: use a DataVolume",
                class.name_any()
            ),
        };
    }
    match claim.uid() {
        Some(uid) => ClaimPlan::Provision {
            class: class.name_any(),
            volume: format!("pvc-{uid}"),
        },
        None => ClaimPlan::Nothing,
    }
}

fn class_of<'a>(
    claim: &PersistentVolumeClaim,
    classes: &'a [StorageClass],
) -> Result<&'a StorageClass, String> {
    let wanted = claim
        .spec
        .as_ref()
        .and_then(|s| s.storage_class_name.as_deref());
    match wanted {
        Some("") => Err(
            "the claim asks for no StorageClass (\"\") and names no volume: set spec.storageClassName or spec.volumeName"
                .to_owned(),
        ),
        Some(name) => classes
            .iter()
            .find(|c| c.name_any() == name)
            .ok_or_else(|| format!("storageclass.storage.k8s.io {name:?} not found")),
        None => classes
            .iter()
            .find(|c| c.annotations().get(IS_DEFAULT).is_some_and(|v| v == "true"))
            .ok_or_else(|| {
                "no StorageClass is the default: set spec.storageClassName".to_owned()
            }),
    }
}

/// Whether `pv` is reserved for exactly this claim.
pub(crate) fn claimed_by(pv: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    pv.spec
        .as_ref()
        .and_then(|s| s.claim_ref.as_ref())
        .is_some_and(|r| r.uid == claim.uid() && r.uid.is_some())
}

/// The PersistentVolume for a claim.
pub(super) fn volume_for(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    name: &str,
    config: &Config,
) -> PersistentVolume {
    let spec = claim.spec.clone().unwrap_or_default();
    let capacity = spec
        .resources
        .and_then(|r| r.requests)
        .unwrap_or_default()
        .into_iter()
        .filter(|(k, _)| k == "storage")
        .collect();
    let here = NodeSelectorTerm {
        match_expressions: Some(vec![NodeSelectorRequirement {
            key: "kubernetes.io/hostname".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![config.node.clone()]),
        }]),
        match_fields: None,
    };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some([(PROVISIONED_BY.to_owned(), PROVISIONER.to_owned())].into()),
            finalizers: Some(vec![VOLUME_FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            capacity: Some(capacity),
            access_modes: spec.access_modes,
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                name: claim.metadata.name.clone(),
                namespace: claim.namespace(),
                uid: claim.uid(),
                ..ObjectReference::default()
            }),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone(),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: Some("Filesystem".to_owned()),
            local: Some(k8s_openapi::api::core::v1::LocalVolumeSource {
                path: config.root.join(name).to_string_lossy().into_owned(),
                fs_type: None,
            }),
            node_affinity: Some(k8s_openapi::api::core::v1::VolumeNodeAffinity {
                required: Some(NodeSelector {
                    node_selector_terms: vec![here],
                }),
            }),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// Whether a volume is on this node, and so this provisioner's to make and to remove.
pub(super) fn is_here(pv: &PersistentVolume, node: &str) -> bool {
    let required = pv
        .spec
        .as_ref()
        .and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    required
        .iter()
        .flat_map(|required| &required.node_selector_terms)
        .flat_map(|term| term.match_expressions.iter().flatten())
        .filter(|expression| expression.key == "kubernetes.io/hostname")
        .flat_map(|expression| expression.values.iter().flatten())
        .any(|value| value == node)
}

/// What to do about a volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VolumePlan {
    /// Not ours, or all as it should be.
    Nothing,
    /// Say this phase.
    Phase(&'static str),
    /// Nobody needs it: remove the directory, then the object.
    Reclaim,
    /// Its object was deleted, but its policy is to retain the data: the directory stays.
    LetGo,
}

/// Decides about a volume; `claim_lives` says whether the claim of its `claimRef` exists.
pub(super) fn volume(pv: &PersistentVolume, claim_lives: bool) -> VolumePlan {
    if pv.annotations().get(PROVISIONED_BY).map(String::as_str) != Some(PROVISIONER) {
        return VolumePlan::Nothing;
    }
    let phase = pv.status.as_ref().and_then(|s| s.phase.as_deref());
    let policy = pv
        .spec
        .as_ref()
        .and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
    if claim_lives {
        return if phase == Some("Bound") {
            VolumePlan::Nothing
        } else {
            VolumePlan::Phase("Bound")
        };
    }
    if policy != Some("Retain") {
        return VolumePlan::Reclaim;
    }
    if pv.metadata.deletion_timestamp.is_some() {
        return VolumePlan::LetGo;
    }
    if phase == Some("Released") {
        VolumePlan::Nothing
    } else {
        VolumePlan::Phase("Released")
    }
}

/// The claims that a Pod names.
pub(crate) fn claim_names(pod: &Pod) -> impl Iterator<Item = &str> {
    pod.spec
        .iter()
        .flat_map(|s| s.volumes.iter().flatten())
        .filter_map(|v| v.persistent_volume_claim.as_ref())
        .map(|c| c.claim_name.as_str())
}

/// Whether a Pod may still use its volumes.
pub(super) fn uses_volumes(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

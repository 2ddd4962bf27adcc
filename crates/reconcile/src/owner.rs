//! Owner references: who controls what.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

/// A controller reference to `owner`, which blocks a foreground deletion of it.
#[must_use]
pub fn controlled_by<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Whether `owner` controls `object`.
#[must_use]
pub fn controls<K: Resource, O: Resource>(owner: &K, object: &O) -> bool {
    owner.uid().is_some()
        && object
            .owner_references()
            .iter()
            .any(|r| r.controller == Some(true) && Some(&r.uid) == owner.uid().as_ref())
}

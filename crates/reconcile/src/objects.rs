//! Idempotent writes: each may be repeated after a crash, and finds its work done.

use std::fmt::Debug;

use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ReconcileError, ResultExt};

/// What every helper here needs of a kind.
pub trait Object:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize
{
}
impl<K> Object for K where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize
{
}

fn named<K: Object>(verb: &str, object: &K) -> String {
    match object.namespace() {
        Some(ns) => format!("{verb} {} {ns}/{}", K::kind(&()), object.name_any()),
        None => format!("{verb} {} {}", K::kind(&()), object.name_any()),
    }
}

/// Reads an object that may not exist.
pub async fn get_opt<K: Object>(api: &Api<K>, name: &str) -> Result<Option<K>, ReconcileError> {
    api.get_opt(name)
        .await
        .doing(|| format!("reading {} {name}", K::kind(&())))
}

/// Creates `object`; when one of that name exists, returns that one instead.
///
/// # Caveats
/// The existing object may belong to somebody else: compare owner references before using it.
pub async fn create_if_absent<K: Object>(api: &Api<K>, object: &K) -> Result<K, ReconcileError> {
    match api.create(&PostParams::default(), object).await {
        Ok(created) => Ok(created),
        Err(kube::Error::Api(s)) if s.reason == "AlreadyExists" => api
            .get(&object.name_any())
            .await
            .doing(|| named("reading the existing", object)),
        Err(e) => Err(e).doing(|| named("creating", object)),
    }
}

/// Deletes the object with this very UID; absent, or replaced by another, is success.
pub async fn delete_if_present<K: Object>(api: &Api<K>, object: &K) -> Result<(), ReconcileError> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(s)) if s.code == 404 || s.code == 409 => Ok(()),
        Err(e) => Err(e).doing(|| named("deleting", object)),
    }
}

/// Writes the status of `object` (its resourceVersion guards against a newer one), unless it is
/// what `before` had already.
pub async fn write_status<K: Object, S: PartialEq>(
    api: &Api<K>,
    object: &K,
    before: Option<&S>,
    after: Option<&S>,
) -> Result<(), ReconcileError> {
    if before == after {
        return Ok(());
    }
    match api
        .replace_status(&object.name_any(), &PostParams::default(), object)
        .await
    {
        Ok(_) => Ok(()),
        // It is gone: there is nobody left to tell.
        Err(kube::Error::Api(s)) if s.code == 404 => Ok(()),
        Err(e) => Err(e).doing(|| named("writing the status of", object)),
    }
}

async fn patch_finalizers<K: Object>(
    api: &Api<K>,
    object: &K,
    finalizers: Vec<String>,
) -> Result<(), ReconcileError> {
    // The resourceVersion makes it a compare-and-swap: a list in a merge patch replaces the list.
    let patch = serde_json::json!({"metadata": {
        "resourceVersion": object.resource_version(),
        "finalizers": finalizers,
    }});
    match api
        .patch(
            &object.name_any(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(s)) if s.code == 404 => Ok(()),
        Err(e) => Err(e).doing(|| named("writing the finalizers of", object)),
    }
}

/// Adds a finalizer, if it is not there.
pub async fn add_finalizer<K: Object>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
) -> Result<(), ReconcileError> {
    let mut all = object.finalizers().to_vec();
    if all.iter().any(|f| f == finalizer) {
        return Ok(());
    }
    all.push(finalizer.to_owned());
    patch_finalizers(api, object, all).await
}

/// Removes a finalizer, if it is there.
pub async fn remove_finalizer<K: Object>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
) -> Result<(), ReconcileError> {
    let all = object.finalizers();
    if !all.iter().any(|f| f == finalizer) {
        return Ok(());
    }
    let rest = all.iter().filter(|f| *f != finalizer).cloned().collect();
    patch_finalizers(api, object, rest).await
}

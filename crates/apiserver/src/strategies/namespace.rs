//! Namespaces: the label of their name, the finalizer of the namespace controller, and those that stay.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::child;
use crate::strategy::{Context, Strategy};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct Namespace;

#[async_trait]
impl Strategy for Namespace {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        meta::set_label(object, NAME_LABEL, cx.name);
        if let Some(spec) = child(object, "spec") {
            let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
            if let Some(list) = finalizers.as_array_mut()
                && !list.iter().any(|f| f == "kubernetes")
            {
                list.push(json!("kubernetes"));
            }
        }
        object["status"] = json!({"phase": "Active"});
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        old: &Value,
    ) -> Result<(), ApiError> {
        meta::set_label(object, NAME_LABEL, cx.name);
        // Only /finalize changes spec.finalizers.
        if cx.subresource != "finalize"
            && let (Some(spec), Some(finalizers)) =
                (child(object, "spec"), old.pointer("/spec/finalizers"))
        {
            spec.insert("finalizers".to_owned(), finalizers.clone());
        }
        if cx.subresource == "finalize"
            && let Some(status) = old.get("status")
        {
            object["status"] = status.clone();
        }
        Ok(())
    }

    async fn validate_delete(&self, cx: &Context<'_>, _object: &Value) -> Result<(), ApiError> {
        if IMMORTAL.contains(&cx.name) {
            return Err(ApiError::forbidden(
                &GroupResource::new("", "namespaces"),
                cx.name,
                "this namespace may not be deleted",
            ));
        }
        Ok(())
    }
}

//! Namespaces: the label of their name, the finalizer of the namespace controller, and those that stay.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::gvk::GroupResource;
use apimachinery::status::ApiError;
use apimachinery::{meta, name};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::child;
use super::spot::{Faults, Spot};
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

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        match cx.subresource {
            "status" => phase(object, &mut faults),
            _ => finalizers(object, cx.subresource == "finalize", &mut faults),
        }
        Ok(faults.0)
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

/// Finalizers of the specification are `kubernetes` or of somebody's domain. Only `/finalize` tells which is wrong.
fn finalizers(object: &Value, indexed: bool, faults: &mut Faults) {
    let spec = Spot::of(object, "spec");
    for finalizer in spec.items("finalizers") {
        let given = finalizer.as_text();
        let at = if indexed {
            finalizer.path.clone()
        } else {
            spec.at("finalizers")
        };
        faults.named(&at, given, name::qualified_name);
        if !given.contains('/') && given != "kubernetes" {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            faults.invalid(&at, given, detail);
        }
    }
}

/// The phase says whether the Namespace is going away, and nothing else.
fn phase(object: &Value, faults: &mut Faults) {
    let given = Spot::of(object, "status").text("phase");
    let (expected, when) = if meta::is_deleting(object) {
        ("Terminating", "not empty")
    } else {
        ("Active", "empty")
    };
    if given != expected {
        let at = FieldPath::new("status").child("Phase");
        let detail = format!("may only be '{expected}' if `deletionTimestamp` is {when}");
        faults.invalid(&at, given, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;

    #[test]
    fn finalizers_and_the_phase_are_judged() {
        let object = json!({"spec": {"finalizers": ["kubernetes", "a.b/c", "odd"]}, "status": {"phase": "Terminating"}});
        assert_eq!(
            judged(|faults| finalizers(&object, true, faults)),
            ["spec.finalizers[2] Invalid"]
        );
        assert_eq!(
            judged(|faults| phase(&object, faults)),
            ["status.Phase Invalid"]
        );
    }
}

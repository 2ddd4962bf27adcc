//! Ingresses and their classes: data here, judged as clients expect.

use apimachinery::field::FieldError;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::default;
use super::ingress_rules;
use super::spot::{Faults, Spot};
use crate::strategy::{Context, Strategy};

pub(super) struct Ingress;
pub(super) struct IngressClass;

#[async_trait]
impl Strategy for Ingress {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        object["status"] = json!({"loadBalancer": {}});
        if object.pointer("/spec/ingressClassName").is_some()
            || apimachinery::meta::annotation(object, "kubernetes.io/ingress.class").is_some()
        {
            return Ok(());
        }
        let classes = cx
            .reader
            .list("networking.k8s.io", "ingressclasses", "")
            .await?;
        let default = classes.iter().find(|class| {
            apimachinery::meta::annotation(class, "ingressclass.kubernetes.io/is-default-class")
                == Some("true")
        });
        if let Some(name) = default.and_then(apimachinery::meta::name) {
            object["spec"]["ingressClassName"] = json!(name);
        }
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        match cx.subresource {
            "status" => ingress_rules::balanced(&Spot::of(object, "status"), &mut faults),
            _ => ingress_rules::ingress(object, &mut faults),
        }
        if old.is_none() {
            ingress_rules::class_annotation(object, &mut faults);
        }
        Ok(faults.0)
    }
}

#[async_trait]
impl Strategy for IngressClass {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete_class(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete_class(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Faults::default();
        ingress_rules::class(object, &mut faults);
        if let Some(old) = old {
            let (spec, before) = (Spot::of(object, "spec"), Spot::of(old, "spec"));
            faults.immutable(&spec.child("controller"), &before.child("controller"));
        }
        Ok(faults.0)
    }
}

/// Parameters are those of the whole cluster, unless they say otherwise.
fn complete_class(object: &mut Value) {
    if let Some(parameters) = object
        .pointer_mut("/spec/parameters")
        .and_then(Value::as_object_mut)
    {
        default(parameters, "scope", "Cluster");
    }
}

//! Ingresses and their classes: data here, judged as clients expect.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{immutable, list, text};
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
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        if !cx.subresource.is_empty() {
            return Ok(errors);
        }
        let spec = FieldPath::new("spec");
        if list(object, "/spec/rules").next().is_none()
            && object.pointer("/spec/defaultBackend").is_none()
        {
            errors.push(FieldError::invalid(
                &spec,
                json!([]),
                "either `defaultBackend` or `rules` must be specified",
            ));
        }
        if let Some(one) = object.pointer("/spec/defaultBackend") {
            backend(one, &spec.child("defaultBackend"), &mut errors);
        }
        for (index, rule) in list(object, "/spec/rules").enumerate() {
            self::rule(rule, &spec.child("rules").index(index), &mut errors);
        }
        let class = text(object, "/spec/ingressClassName");
        for detail in name::dns1123_subdomain(class)
            .into_iter()
            .filter(|_| !class.is_empty())
        {
            errors.push(FieldError::invalid(
                &spec.child("ingressClassName"),
                class,
                detail,
            ));
        }
        Ok(errors)
    }
}

fn rule(rule: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let host = text(rule, "/host");
    if !host.is_empty() {
        if host.parse::<std::net::IpAddr>().is_ok() {
            let detail = "must be a DNS name, not an IP address";
            errors.push(FieldError::invalid(&at.child("host"), host, detail));
        } else {
            for detail in name::dns1123_subdomain(host.strip_prefix("*.").unwrap_or(host)) {
                errors.push(FieldError::invalid(&at.child("host"), host, detail));
            }
        }
    }
    if rule.get("http").is_none() {
        return;
    }
    let paths = at.child("http").child("paths");
    if list(rule, "/http/paths").next().is_none() {
        errors.push(FieldError::required(&paths, ""));
    }
    for (index, path) in list(rule, "/http/paths").enumerate() {
        let at = paths.index(index);
        const TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
        let (ty, given) = (text(path, "/pathType"), text(path, "/path"));
        match ty {
            "" => errors.push(FieldError::required(
                &at.child("pathType"),
                "pathType must be specified",
            )),
            "Exact" | "Prefix" if !given.starts_with('/') => errors.push(FieldError::invalid(
                &at.child("path"),
                given,
                "must be an absolute path",
            )),
            other if !TYPES.contains(&other) => errors.push(FieldError::not_supported(
                &at.child("pathType"),
                other,
                &TYPES,
            )),
            _ => {}
        }
        backend(
            path.get("backend").unwrap_or(&Value::Null),
            &at.child("backend"),
            errors,
        );
    }
}

fn backend(backend: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let has = |field: &str| backend.get(field).is_some_and(|v| !v.is_null());
    match (has("service"), has("resource")) {
        (false, false) => errors.push(FieldError::required(
            at,
            "resource or service backend is required",
        )),
        (true, true) => errors.push(FieldError::invalid(
            at,
            "",
            "cannot set both resource and service backends",
        )),
        (true, false) => {
            let at = at.child("service");
            let given = text(backend, "/service/name");
            if given.is_empty() {
                errors.push(FieldError::required(&at.child("name"), ""));
            }
            for detail in name::dns1123_label(given)
                .into_iter()
                .filter(|_| !given.is_empty())
            {
                errors.push(FieldError::invalid(&at.child("name"), given, detail));
            }
            let named = text(backend, "/service/port/name");
            let number = backend
                .pointer("/service/port/number")
                .and_then(Value::as_i64)
                .unwrap_or(0);
            if !named.is_empty() && number != 0 {
                errors.push(FieldError::invalid(
                    &at,
                    "",
                    "cannot set both port name & port number",
                ));
            } else if named.is_empty() && number == 0 {
                errors.push(FieldError::required(&at, "port name or number is required"));
            } else if named.is_empty() && !(1..=65535).contains(&number) {
                errors.push(FieldError::invalid(
                    &at.child("port").child("number"),
                    number,
                    "must be between 1 and 65535, inclusive",
                ));
            }
        }
        (false, true) => {}
    }
}

#[async_trait]
impl Strategy for IngressClass {
    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        let at = FieldPath::new("spec").child("controller");
        let given = text(object, "/spec/controller");
        match old {
            Some(old) => immutable(object, old, &["/spec/controller"], &mut errors),
            None if given.is_empty() => errors.push(FieldError::required(&at, "")),
            None => {
                if !given.contains('/') || given.len() > 250 {
                    let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
                    errors.push(FieldError::invalid(&at, given, detail));
                }
            }
        }
        Ok(errors)
    }
}

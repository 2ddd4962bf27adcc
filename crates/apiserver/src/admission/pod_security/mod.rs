//! Pod Security admission: labels of a namespace say which Pods are refused, and which are warned about.
//!
//! `pod-security.kubernetes.io/{enforce,warn,audit}` are `privileged`, `baseline` or `restricted`. Versions
//! (`*-version`) are taken as `latest`. Workloads are only warned about: their Pods are refused one by one.

mod checks;

use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::Value;

use crate::registry::Call;

/// How much a Pod may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn of(namespace: &Value, mode: &str) -> Level {
        let label = format!("pod-security.kubernetes.io/{mode}");
        match meta::label(namespace, &label) {
            Some("baseline") => Level::Baseline,
            None | Some("" | "privileged") => Level::Privileged,
            // What cannot be read is the strictest, as upstream.
            Some(_) => Level::Restricted,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// Where workloads keep the template of their Pods.
fn template(call: &Call<'_>) -> Option<&'static str> {
    match (call.kind.group.as_str(), call.kind.plural.as_str()) {
        ("", "pods") => Some(""),
        ("", "podtemplates") => Some("/template"),
        ("", "replicationcontrollers")
        | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => Some("/spec/template"),
        ("batch", "cronjobs") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Judges a Pod, or the template of a workload.
pub(super) async fn admit(
    call: &Call<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let Some(pointer) = template(call) else {
        return Ok(());
    };
    let is_pod = pointer.is_empty();
    // Of a Pod that exists, only images may change, which no check looks at.
    if old.is_some_and(|old| is_pod || old.pointer(pointer) == object.pointer(pointer)) {
        return Ok(());
    }
    let Some(namespace) = call
        .reader
        .get("", "namespaces", "", call.namespace)
        .await?
    else {
        return Ok(());
    };
    let enforce = Level::of(&namespace, "enforce");
    let warn = Level::of(&namespace, "warn");
    if enforce == Level::Privileged && warn == Level::Privileged {
        return Ok(());
    }
    let Some(pod) = object.pointer(pointer) else {
        return Ok(());
    };
    let version = |mode: &str| {
        let label = format!("pod-security.kubernetes.io/{mode}-version");
        meta::label(&namespace, &label)
            .unwrap_or("latest")
            .to_owned()
    };
    if is_pod && enforce > Level::Privileged {
        let violations = checks::violations(pod, enforce);
        if !violations.is_empty() {
            let why = format!(
                "violates PodSecurity \"{}:{}\": {}",
                enforce.as_str(),
                version("enforce"),
                violations.join(", ")
            );
            let name = meta::name(object).unwrap_or_default();
            return Err(ApiError::forbidden(&call.kind.group_resource(), name, why));
        }
    }
    if warn > Level::Privileged {
        let violations = checks::violations(pod, warn);
        if !violations.is_empty() {
            call.warn(format!(
                "would violate PodSecurity \"{}:{}\": {}",
                warn.as_str(),
                version("warn"),
                violations.join(", ")
            ));
        }
    }
    Ok(())
}

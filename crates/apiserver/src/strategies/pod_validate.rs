//! What a Pod must be like, and what of it may change.

use std::collections::HashSet;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::quantity::Quantity;
use serde_json::Value;

use super::fields::{list, text};
use super::pod_parts;

/// Everything wrong with the specification of a new Pod, or of a template of Pods, which stands at `spec`.
pub(super) fn pod(object: &Value, spec: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut volumes = HashSet::new();
    for (index, volume) in list(object, "/spec/volumes").enumerate() {
        let at = spec.child("volumes").index(index).child("name");
        let given = text(volume, "/name");
        if given.is_empty() {
            errors.push(FieldError::required(&at, ""));
        }
        for detail in name::dns1123_label(given)
            .into_iter()
            .filter(|_| !given.is_empty())
        {
            errors.push(FieldError::invalid(&at, given, detail));
        }
        if !volumes.insert(given) {
            errors.push(FieldError::duplicate(&at, given));
        }
        pod_parts::volume(volume, &spec.child("volumes").index(index), errors);
    }
    if list(object, "/spec/containers").count() == 0 {
        errors.push(FieldError::required(&spec.child("containers"), ""));
    }
    let mut names = HashSet::new();
    for field in ["containers", "initContainers"] {
        for (index, container) in list(object, &format!("/spec/{field}")).enumerate() {
            self::container(
                container,
                &volumes,
                &mut names,
                &spec.child(field).index(index),
                errors,
            );
        }
    }
    choice(
        object,
        "restartPolicy",
        &["Always", "OnFailure", "Never"],
        spec,
        errors,
    );
    choice(
        object,
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        spec,
        errors,
    );
    let grace = object
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64);
    if let Some(grace) = grace.filter(|g| *g < 0) {
        errors.push(FieldError::invalid(
            &spec.child("terminationGracePeriodSeconds"),
            grace,
            "must be greater than or equal to 0",
        ));
    }
    if let Some(deadline) = object
        .pointer("/spec/activeDeadlineSeconds")
        .and_then(Value::as_i64)
        .filter(|d| *d < 1)
    {
        errors.push(FieldError::invalid(
            &spec.child("activeDeadlineSeconds"),
            deadline,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    pod_parts::placement(object, spec, errors);
    let node = text(object, "/spec/nodeName");
    if !node.is_empty() {
        for detail in name::dns1123_subdomain(node) {
            errors.push(FieldError::invalid(&spec.child("nodeName"), node, detail));
        }
    }
    let account = text(object, "/spec/serviceAccountName");
    for detail in name::dns1123_subdomain(account)
        .into_iter()
        .filter(|_| !account.is_empty())
    {
        errors.push(FieldError::invalid(
            &spec.child("serviceAccountName"),
            account,
            detail,
        ));
    }
}

fn choice(
    object: &Value,
    field: &str,
    known: &[&str],
    spec: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    let given = text(object, &format!("/spec/{field}"));
    if !known.contains(&given) {
        errors.push(FieldError::not_supported(&spec.child(field), given, known));
    }
}

fn container<'a>(
    container: &'a Value,
    volumes: &HashSet<&str>,
    names: &mut HashSet<&'a str>,
    at: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    let given = text(container, "/name");
    if given.is_empty() {
        errors.push(FieldError::required(&at.child("name"), ""));
    } else {
        for detail in name::dns1123_label(given) {
            errors.push(FieldError::invalid(&at.child("name"), given, detail));
        }
        if !names.insert(given) {
            errors.push(FieldError::duplicate(&at.child("name"), given));
        }
    }
    let image = text(container, "/image");
    if image.is_empty() {
        errors.push(FieldError::required(&at.child("image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            &at.child("image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
    let policy = text(container, "/imagePullPolicy");
    if !matches!(policy, "Always" | "IfNotPresent" | "Never") {
        errors.push(FieldError::not_supported(
            &at.child("imagePullPolicy"),
            policy,
            &["Always", "IfNotPresent", "Never"],
        ));
    }
    let mut mounted = HashSet::new();
    for (index, mount) in list(container, "/volumeMounts").enumerate() {
        let at = at.child("volumeMounts").index(index);
        let volume = text(mount, "/name");
        if volume.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if !volumes.contains(volume) {
            errors.push(FieldError::not_found(&at.child("name"), volume));
        }
        let path = text(mount, "/mountPath");
        if path.is_empty() {
            errors.push(FieldError::required(&at.child("mountPath"), ""));
        } else if !mounted.insert(path) {
            errors.push(FieldError::invalid(
                &at.child("mountPath"),
                path,
                "must be unique",
            ));
        }
    }
    pod_parts::environment(container, at, errors);
    pod_parts::probes(container, at, errors);
    ports(container, &at.child("ports"), errors);
    resources(container, &at.child("resources"), errors);
}

fn ports(container: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut names = HashSet::new();
    for (index, port) in list(container, "/ports").enumerate() {
        let at = path.index(index);
        let number = port
            .get("containerPort")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        if number == 0 {
            errors.push(FieldError::required(&at.child("containerPort"), ""));
        } else if !(1..=65535).contains(&number) {
            errors.push(FieldError::invalid(
                &at.child("containerPort"),
                number,
                "must be between 1 and 65535, inclusive",
            ));
        }
        let given = text(port, "/name");
        if !given.is_empty() {
            for detail in name::port_name(given) {
                errors.push(FieldError::invalid(&at.child("name"), given, detail));
            }
            if !names.insert(given) {
                errors.push(FieldError::duplicate(&at.child("name"), given));
            }
        }
        let host = port.get("hostPort").and_then(Value::as_i64).unwrap_or(0);
        if host != 0 && !(1..=65535).contains(&host) {
            errors.push(FieldError::invalid(
                &at.child("hostPort"),
                host,
                "must be between 1 and 65535, inclusive",
            ));
        }
        let protocol = text(port, "/protocol");
        if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
            errors.push(FieldError::not_supported(
                &at.child("protocol"),
                protocol,
                &["SCTP", "TCP", "UDP"],
            ));
        }
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

fn resources(container: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    for side in ["limits", "requests"] {
        for (resource, value) in container
            .pointer(&format!("/resources/{side}"))
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let at = path.child(side).key(resource);
            pod_parts::resource_name(resource, &at, errors);
            match quantity(value) {
                None => errors.push(FieldError::invalid(&at, value.clone(), "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")),
                Some(given) if given < Quantity::default() => {
                    errors.push(FieldError::invalid(&at, value.clone(), "must be greater than or equal to 0"));
                }
                Some(given) if side == "requests" => {
                    let limit = container.pointer("/resources/limits").and_then(|l| l.get(resource));
                    if let Some((limit, text)) = limit.and_then(|l| Some((quantity(l)?, l)))
                        && given > limit
                    {
                        let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
                        errors.push(FieldError::invalid(&path.child("requests"), value.clone(), format!("must be less than or equal to {resource} limit of {text}")));
                    }
                }
                Some(_) => {}
            }
        }
    }
}

/// Of a running Pod only images, deadlines, tolerations (more of them) and scheduling gates (fewer) may change.
pub(super) fn update(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let masked = |value: &Value| {
        let mut spec = value.get("spec").cloned().unwrap_or_default();
        for list in ["containers", "initContainers"] {
            for container in spec
                .get_mut(list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
                .filter_map(Value::as_object_mut)
            {
                container.remove("image");
            }
        }
        if let Some(spec) = spec.as_object_mut() {
            for key in [
                "activeDeadlineSeconds",
                "tolerations",
                "terminationGracePeriodSeconds",
                "schedulingGates",
            ] {
                spec.remove(key);
            }
        }
        spec
    };
    if masked(object) != masked(old) {
        errors.push(FieldError::forbidden(
            &FieldPath::new("spec"),
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
    for old_toleration in list(old, "/spec/tolerations") {
        if !list(object, "/spec/tolerations").any(|t| t == old_toleration) {
            errors.push(FieldError::forbidden(
                &FieldPath::new("spec").child("tolerations"),
                "existing toleration can not be modified except its tolerationSeconds",
            ));
            break;
        }
    }
    for field in ["containers", "initContainers"] {
        for (index, container) in list(object, &format!("/spec/{field}")).enumerate() {
            if text(container, "/image").is_empty() {
                errors.push(FieldError::required(
                    &FieldPath::new("spec")
                        .child(field)
                        .index(index)
                        .child("image"),
                    "",
                ));
            }
        }
    }
}

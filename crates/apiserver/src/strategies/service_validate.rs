//! What a Service must be like.

use std::collections::HashSet;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use serde_json::Value;

use super::fields::{list, text};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Everything wrong with a Service.
pub(super) fn service(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = FieldPath::new("spec");
    let ty = text(object, "/spec/type");
    if !TYPES.contains(&ty) {
        errors.push(FieldError::not_supported(&spec.child("type"), ty, &TYPES));
    }
    let headless = text(object, "/spec/clusterIP") == "None";
    let count = list(object, "/spec/ports").count();
    if count == 0 && !headless && ty != "ExternalName" {
        errors.push(FieldError::required(&spec.child("ports"), ""));
    }
    if ty == "ExternalName" {
        let external = text(object, "/spec/externalName");
        if external.is_empty() {
            errors.push(FieldError::required(&spec.child("externalName"), ""));
        } else {
            for detail in name::dns1123_subdomain(external.trim_end_matches('.')) {
                errors.push(FieldError::invalid(
                    &spec.child("externalName"),
                    external,
                    detail,
                ));
            }
        }
    }
    if headless && matches!(ty, "NodePort" | "LoadBalancer") {
        errors.push(FieldError::invalid(
            &spec.child("clusterIPs").index(0),
            "None",
            format!("may not be set to 'None' for {ty} services"),
        ));
    }
    let address = text(object, "/spec/clusterIP");
    if !address.is_empty() && !headless && address.parse::<std::net::IpAddr>().is_err() {
        errors.push(FieldError::invalid(
            &spec.child("clusterIPs").index(0),
            address,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ));
    }
    ports(object, count, &spec.child("ports"), &mut errors);
    let affinity = text(object, "/spec/sessionAffinity");
    if !matches!(affinity, "None" | "ClientIP") {
        errors.push(FieldError::not_supported(
            &spec.child("sessionAffinity"),
            affinity,
            &["ClientIP", "None"],
        ));
    }
    for (key, value) in object
        .pointer("/spec/selector")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for detail in name::label_key(key) {
            errors.push(FieldError::invalid(
                &spec.child("selector"),
                key.as_str(),
                detail,
            ));
        }
        for detail in name::label_value(value.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(
                &spec.child("selector"),
                value.clone(),
                detail,
            ));
        }
    }
    if let Some(old) = old
        && text(old, "/spec/type") != "ExternalName"
        && ty != "ExternalName"
        && text(old, "/spec/clusterIP") != address
    {
        errors.push(FieldError::invalid(
            &spec.child("clusterIPs").index(0),
            address,
            "may not change once set",
        ));
    }
    errors
}

fn ports(object: &Value, count: usize, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut names = HashSet::new();
    let mut used = HashSet::new();
    for (index, port) in list(object, "/spec/ports").enumerate() {
        let at = path.index(index);
        let given = text(port, "/name");
        if given.is_empty() && count > 1 {
            errors.push(FieldError::required(&at.child("name"), ""));
        }
        if !given.is_empty() {
            for detail in name::dns1123_label(given) {
                errors.push(FieldError::invalid(&at.child("name"), given, detail));
            }
            if !names.insert(given) {
                errors.push(FieldError::duplicate(&at.child("name"), given));
            }
        }
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        if !(1..=65535).contains(&number) {
            errors.push(FieldError::invalid(
                &at.child("port"),
                number,
                "must be between 1 and 65535, inclusive",
            ));
        }
        let protocol = text(port, "/protocol");
        if !PROTOCOLS.contains(&protocol) {
            errors.push(FieldError::not_supported(
                &at.child("protocol"),
                protocol,
                &PROTOCOLS,
            ));
        }
        if !used.insert((number, protocol)) {
            errors.push(FieldError::duplicate(
                &at,
                serde_json::json!({"protocol": protocol, "port": number}),
            ));
        }
        match port.get("targetPort") {
            Some(Value::Number(n)) if !n.as_i64().is_some_and(|n| (1..=65535).contains(&n)) => {
                errors.push(FieldError::invalid(
                    &at.child("targetPort"),
                    n.as_i64().unwrap_or(0),
                    "must be between 1 and 65535, inclusive",
                ));
            }
            Some(Value::String(target)) => {
                for detail in name::port_name(target) {
                    errors.push(FieldError::invalid(
                        &at.child("targetPort"),
                        target.as_str(),
                        detail,
                    ));
                }
            }
            _ => {}
        }
    }
}

//! What an Ingress and its class must be like: hosts, paths, backends, and parameters of controllers.

use apimachinery::field::FieldError;
use apimachinery::name;
use serde_json::Value;

use super::spot::{Faults, Spot};

/// Everything wrong with an Ingress.
pub(super) fn ingress(object: &Value, faults: &mut Faults) {
    let spec = Spot::of(object, "spec");
    if spec.count("rules") == 0 && !spec.has("defaultBackend") {
        let detail = "either `defaultBackend` or `rules` must be specified";
        faults.invalid(&spec.path, spec.child("rules").value.clone(), detail);
    }
    if let Some(given) = spec.given("defaultBackend") {
        backend(&given, faults);
    }
    for rule in spec.items("rules") {
        if !rule.text("host").is_empty() {
            let given = rule.text("host");
            if given.parse::<std::net::IpAddr>().is_ok() {
                let detail = "must be a DNS name, not an IP address";
                faults.invalid(&rule.at("host"), given, detail);
            }
            host(&rule.child("host"), faults);
        }
        if let Some(http) = rule.given("http") {
            if http.count("paths") == 0 {
                faults.required(&http.at("paths"), "");
            }
            for one in http.items("paths") {
                path(&one, faults);
            }
        }
    }
    for tls in spec.items("tls") {
        for one in tls.items("hosts") {
            host(&one, faults);
        }
        faults.named_if_given(&tls, "secretName", name::dns1123_subdomain);
    }
    if spec.has("ingressClassName") {
        let given = spec.text("ingressClassName");
        faults.named(&spec.at("ingressClassName"), given, name::dns1123_subdomain);
    }
}

/// The old annotation and the field say the same, on a new Ingress.
pub(super) fn class_annotation(object: &Value, faults: &mut Faults) {
    const ANNOTATION: &str = "kubernetes.io/ingress.class";
    let spec = Spot::of(object, "spec");
    let given = apimachinery::meta::annotation(object, ANNOTATION);
    if let Some(given) = given
        && spec.has("ingressClassName")
        && given != spec.text("ingressClassName")
    {
        // Upstream leaves out the step `metadata`.
        let at = apimachinery::field::FieldPath::new("annotations").child(ANNOTATION);
        let detail = "must match `ingressClassName` when both are specified";
        faults.invalid(&at, given, detail);
    }
}

/// A host name, or all names one label below one.
fn host(spot: &Spot<'_>, faults: &mut Faults) {
    let given = spot.as_text();
    if !given.contains('*') {
        faults.named(&spot.path, given, name::dns1123_subdomain);
        return;
    }
    let below = given.strip_prefix("*.").unwrap_or_default();
    if below.is_empty() || !name::dns1123_subdomain(below).is_empty() {
        let detail = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        faults.invalid(&spot.path, given, detail);
    }
}

fn path(spot: &Spot<'_>, faults: &mut Faults) {
    const TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
    const PARTS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
    const ENDS: [&str; 2] = ["/..", "/."];
    if !spot.has("pathType") {
        let detail = "pathType must be specified";
        faults.required(&spot.at("pathType"), detail);
        return;
    }
    let (ty, given, at) = (spot.text("pathType"), spot.text("path"), spot.at("path"));
    let absolute = given.starts_with('/');
    match ty {
        "Exact" | "Prefix" => {
            if !absolute {
                faults.invalid(&at, given, "must be an absolute path");
            }
            for part in PARTS.into_iter().filter(|part| given.contains(part)) {
                faults.invalid(&at, given, format!("must not contain '{part}'"));
            }
            for end in ENDS.into_iter().filter(|end| given.ends_with(end)) {
                faults.invalid(&at, given, format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !given.is_empty() && !absolute {
                faults.invalid(&at, given, "must be an absolute path");
            }
        }
        other => faults.not_supported(&spot.at("pathType"), other, &TYPES),
    }
    backend(&spot.child("backend"), faults);
}

fn backend(spot: &Spot<'_>, faults: &mut Faults) {
    match (spot.given("service"), spot.given("resource")) {
        (Some(_), Some(_)) => {
            let detail = "cannot set both resource and service backends";
            faults.invalid(&spot.path, "", detail);
        }
        (None, None) => {
            let detail = "resource or service backend is required";
            faults.invalid(&spot.path, "", detail);
        }
        (None, Some(resource)) => reference(&resource, faults),
        (Some(service), None) => {
            faults.demanded(&service, &["name"]);
            faults.named_if_given(&service, "name", name::dns1123_label);
            let port = service.child("port");
            match (port.text("name"), port.int("number").unwrap_or(0)) {
                ("", 0) => {
                    let detail = "port name or number is required";
                    faults.required(&spot.path, detail);
                }
                ("", number) => faults.port(&port.at("number"), number),
                (named, 0) => faults.named(&port.at("name"), named, name::port_name),
                _ => {
                    let detail = "cannot set both port name & port number";
                    faults.invalid(&spot.path, "", detail);
                }
            }
        }
    }
}

fn reference(spot: &Spot<'_>, faults: &mut Faults) {
    if spot.has("apiGroup") {
        let given = spot.text("apiGroup");
        faults.named(&spot.at("apiGroup"), given, name::dns1123_subdomain);
    }
    faults.demanded(spot, &["kind", "name"]);
    for field in ["kind", "name"] {
        faults.named_if_given(spot, field, name::path_segment);
    }
}

/// Everything wrong with an IngressClass.
pub(super) fn class(object: &Value, faults: &mut Faults) {
    const LONGEST: usize = 250;
    let spec = Spot::of(object, "spec");
    let (given, at) = (spec.text("controller"), spec.at("controller"));
    if given.is_empty() {
        faults.required(&at, "");
    } else {
        if given.len() > LONGEST {
            faults.0.push(FieldError::too_long(&at, LONGEST));
        }
        let (domain, path) = given.split_once('/').unwrap_or(("", ""));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&b);
        let good = name::dns1123_subdomain(domain).is_empty()
            && !path.is_empty()
            && path.bytes().all(plain);
        if !good {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            faults.invalid(&at, given, detail);
        }
    }
    let Some(parameters) = spec.given("parameters") else {
        return;
    };
    reference(&parameters, faults);
    let namespace = parameters.at("namespace");
    match parameters.text("scope") {
        _ if !parameters.has("scope") => faults.required(&parameters.at("scope"), ""),
        "Namespace" => {
            if parameters.has("namespace") {
                let given = parameters.text("namespace");
                faults.named(&namespace, given, name::dns1123_label);
            } else {
                let detail = "`parameters.scope` is set to 'Namespace'";
                faults.required(&namespace, detail);
            }
        }
        "Cluster" => {
            if parameters.has("namespace") {
                let detail = "`parameters.scope` is set to 'Cluster'";
                faults.forbidden(&namespace, detail);
            }
        }
        other => {
            faults.not_supported(&parameters.at("scope"), other, &["Cluster", "Namespace"]);
        }
    }
}

/// Addresses where what serves a Service or an Ingress is reached.
pub(super) fn balanced(status: &Spot<'_>, faults: &mut Faults) {
    for one in status.child("loadBalancer").items("ingress") {
        if !one.text("ip").is_empty() {
            faults.address(&one.at("ip"), one.text("ip"));
        }
        let host = one.text("hostname");
        if !host.is_empty() {
            faults.named(&one.at("hostname"), host, name::dns1123_subdomain);
            if host.parse::<std::net::IpAddr>().is_ok() {
                let detail = "must be a DNS name, not an IP address";
                faults.invalid(&one.at("hostname"), host, detail);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use serde_json::json;

    #[test]
    fn an_ingress_is_judged_by_field() {
        let service = json!({"service": {"name": "s", "port": {"number": 80}}});
        let of = |spec: Value| {
            let object = json!({"spec": spec});
            judged(|faults| ingress(&object, faults))
        };
        let on = |path: Value| of(json!({"rules": [{"http": {"paths": [path]}}]}));
        assert!(of(json!({"defaultBackend": service, "tls": [{"hosts": ["a.b", "*.c.d"], "secretName": "s"}]})).is_empty());
        assert!(on(json!({"pathType": "Prefix", "path": "/", "backend": service})).is_empty());
        assert_eq!(of(json!({})), ["spec Invalid"]);
        for (host, expected) in [
            ("10.0.0.1", true),
            ("*.a.b", false),
            ("*", true),
            ("a.*.b", true),
            ("A_", true),
        ] {
            let found = of(json!({"rules": [{"host": host}]}));
            assert_eq!(!found.is_empty(), expected, "{host}: {found:?}");
        }
        let backend_at = "spec.rules[0].http.paths[0].backend";
        for (path, expected) in [
            (
                json!({"backend": service}),
                vec!["spec.rules[0].http.paths[0].pathType Required".to_owned()],
            ),
            (
                json!({"pathType": "Exact", "path": "a//b", "backend": {}}),
                vec![
                    format!("{backend_at} Invalid"),
                    "spec.rules[0].http.paths[0].path Invalid".to_owned(),
                ],
            ),
            (
                json!({"pathType": "Odd", "backend": {"service": {"name": "A_", "port": {"name": "x", "number": 1}}}}),
                vec![
                    format!("{backend_at} Invalid"),
                    format!("{backend_at}.service.name Invalid"),
                    "spec.rules[0].http.paths[0].pathType NotSupported".to_owned(),
                ],
            ),
            (
                json!({"pathType": "Prefix", "path": "/", "backend": {"service": {"port": {"number": 70000}}}}),
                vec![
                    format!("{backend_at}.service.name Required"),
                    format!("{backend_at}.service.port.number Invalid"),
                ],
            ),
            (
                json!({"pathType": "Prefix", "path": "/", "backend": {"resource": {"kind": "a/b"}}}),
                vec![
                    format!("{backend_at}.resource.kind Invalid"),
                    format!("{backend_at}.resource.name Required"),
                ],
            ),
        ] {
            assert_eq!(on(path.clone()), expected, "{path}");
        }
    }

    #[test]
    fn a_class_names_its_controller_and_parameters() {
        for (spec, expected) in [
            (json!({"controller": "acme.io/foo"}), vec![]),
            (json!({}), vec!["spec.controller Required"]),
            (
                json!({"controller": "acme"}),
                vec!["spec.controller Invalid"],
            ),
            (
                json!({"controller": "a.b/c", "parameters": {"kind": "K", "name": "n"}}),
                vec!["spec.parameters.scope Required"],
            ),
            (
                json!({"controller": "a.b/c", "parameters": {"kind": "K", "name": "n", "scope": "Cluster", "namespace": "x"}}),
                vec!["spec.parameters.namespace Forbidden"],
            ),
            (
                json!({"controller": "a.b/c", "parameters": {"scope": "Namespace"}}),
                vec![
                    "spec.parameters.kind Required",
                    "spec.parameters.name Required",
                    "spec.parameters.namespace Required",
                ],
            ),
        ] {
            let object = json!({"spec": spec});
            assert_eq!(judged(|faults| class(&object, faults)), expected, "{spec}");
        }
    }
}

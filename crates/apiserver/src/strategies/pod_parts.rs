//! Parts of Pods, judged: volumes, environment, probes, placement.

use std::collections::HashSet;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::selector::label_errors;
use serde_json::Value;

use super::fields::{list, text};

const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// One volume: exactly one source, which says what it must.
pub(super) fn volume(volume: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    const REQUIRED: [(&str, &str); 8] = [
        ("hostPath", "path"),
        ("secret", "secretName"),
        ("configMap", "name"),
        ("persistentVolumeClaim", "claimName"),
        ("csi", "driver"),
        ("nfs", "server"),
        ("nfs", "path"),
        ("iscsi", "targetPortal"),
    ];
    let sources: Vec<&String> = volume
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != "name")
        .map(|(key, _)| key)
        .collect();
    if sources.is_empty() {
        errors.push(FieldError::required(at, "must specify a volume type"));
    }
    for extra in sources.iter().skip(1) {
        errors.push(FieldError::forbidden(
            &at.child(extra.as_str()),
            "may not specify more than 1 volume type",
        ));
    }
    for (source, field) in REQUIRED {
        if volume.get(source).is_some() && text(volume, &format!("/{source}/{field}")).is_empty() {
            errors.push(FieldError::required(&at.child(source).child(field), ""));
        }
    }
    const TYPES: [&str; 8] = [
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    let ty = text(volume, "/hostPath/type");
    if !TYPES.contains(&ty) {
        errors.push(FieldError::not_supported(
            &at.child("hostPath").child("type"),
            ty,
            &TYPES,
        ));
    }
    for source in ["secret", "configMap", "projected", "downwardAPI"] {
        let mode = volume
            .pointer(&format!("/{source}/defaultMode"))
            .and_then(Value::as_i64);
        if let Some(mode) = mode.filter(|m| !(0..=0o777).contains(m)) {
            errors.push(FieldError::invalid(
                &at.child(source).child("defaultMode"),
                mode,
                "must be a number between 0 and 0777 (octal), both inclusive",
            ));
        }
        for (index, item) in list(volume, &format!("/{source}/items")).enumerate() {
            let at = at.child(source).child("items").index(index);
            if source != "downwardAPI" && text(item, "/key").is_empty() {
                errors.push(FieldError::required(&at.child("key"), ""));
            }
            let path = text(item, "/path");
            if path.is_empty() {
                errors.push(FieldError::required(&at.child("path"), ""));
            } else if path.starts_with('/') {
                let detail = "must be a relative path";
                errors.push(FieldError::invalid(&at.child("path"), path, detail));
            } else if path.split('/').any(|part| part == "..") {
                let detail = "must not contain '..'";
                errors.push(FieldError::invalid(&at.child("path"), path, detail));
            }
        }
    }
}

/// `env` and `envFrom` of a container.
pub(super) fn environment(container: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    for (index, variable) in list(container, "/env").enumerate() {
        let at = at.child("env").index(index);
        let given = text(variable, "/name");
        if given.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if !given
            .bytes()
            .all(|b| (b' '..=b'~').contains(&b) && b != b'=')
        {
            errors.push(FieldError::invalid(
                &at.child("name"),
                given,
                "a valid environment variable name must consist only of printable ASCII characters other than '='",
            ));
        }
        if let Some(from) = variable.get("valueFrom").and_then(Value::as_object) {
            value_source(variable, from, &at.child("valueFrom"), errors);
        }
    }
    for (index, source) in list(container, "/envFrom").enumerate() {
        let at = at.child("envFrom").index(index);
        let given: Vec<&str> = ["configMapRef", "secretRef"]
            .into_iter()
            .filter(|s| source.get(s).is_some())
            .collect();
        for one in &given {
            if text(source, &format!("/{one}/name")).is_empty() {
                errors.push(FieldError::required(&at.child(one).child("name"), ""));
            }
        }
        if given.len() != 1 {
            let detail = if given.is_empty() {
                "must specify one of: `configMapRef` or `secretRef`"
            } else {
                "may not have more than one field specified at a time"
            };
            errors.push(FieldError::invalid(&at, "", detail));
        }
    }
}

fn value_source(
    variable: &Value,
    from: &serde_json::Map<String, Value>,
    at: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    if let Some(reference) = from.get("fieldRef") {
        let at = at.child("fieldRef");
        let path = text(reference, "/fieldPath");
        let (base, subscript) = path.split_once('[').unwrap_or((path, ""));
        const FIELDS: [&str; 9] = [
            "metadata.name",
            "metadata.namespace",
            "metadata.uid",
            "spec.nodeName",
            "spec.serviceAccountName",
            "status.hostIP",
            "status.hostIPs",
            "status.podIP",
            "status.podIPs",
        ];
        if path.is_empty() {
            errors.push(FieldError::required(&at.child("fieldPath"), ""));
        } else if !subscript.is_empty()
            && matches!(base, "metadata.labels" | "metadata.annotations")
        {
            // One label or annotation.
        } else if !FIELDS.contains(&path) {
            errors.push(FieldError::not_supported(
                &at.child("fieldPath"),
                path,
                &FIELDS,
            ));
        }
    }
    for (source, field) in [
        ("resourceFieldRef", "resource"),
        ("configMapKeyRef", "key"),
        ("secretKeyRef", "key"),
    ] {
        if let Some(reference) = from.get(source)
            && text(reference, &format!("/{field}")).is_empty()
        {
            errors.push(FieldError::required(&at.child(source).child(field), ""));
        }
    }
    if from.is_empty() {
        errors.push(FieldError::invalid(
            at,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef`, or `fileKeyRef`",
        ));
    } else if !text(variable, "/value").is_empty() {
        errors.push(FieldError::invalid(
            at,
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if from.len() > 1 {
        errors.push(FieldError::invalid(
            at,
            "",
            "may not have more than one field specified at a time",
        ));
    }
}

/// Probes and lifecycle handlers of a container.
pub(super) fn probes(container: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(field) else {
            continue;
        };
        let at = at.child(field);
        handler(probe, &at, errors);
        for number in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            if let Some(given) = probe.get(number).and_then(Value::as_i64).filter(|n| *n < 0) {
                errors.push(FieldError::invalid(&at.child(number), given, NOT_NEGATIVE));
            }
        }
        let threshold = probe.get("successThreshold").and_then(Value::as_i64);
        if field != "readinessProbe"
            && let Some(given) = threshold.filter(|n| *n != 1)
        {
            errors.push(FieldError::invalid(
                &at.child("successThreshold"),
                given,
                "must be 1",
            ));
        }
    }
    for field in ["postStart", "preStop"] {
        if let Some(hook) = container.pointer(&format!("/lifecycle/{field}")) {
            handler(hook, &at.child("lifecycle").child(field), errors);
        }
    }
}

fn handler(handler: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    const KINDS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    let given: Vec<&str> = KINDS
        .into_iter()
        .filter(|kind| handler.get(kind).is_some())
        .collect();
    if given.is_empty() {
        errors.push(FieldError::required(at, "must specify a handler type"));
    }
    for (position, kind) in given.iter().enumerate() {
        let at = at.child(kind);
        if position > 0 {
            errors.push(FieldError::forbidden(
                &at,
                "may not specify more than 1 handler type",
            ));
            continue;
        }
        match *kind {
            "exec" if list(handler, "/exec/command").next().is_none() => {
                errors.push(FieldError::required(&at.child("command"), ""));
            }
            "httpGet" => {
                if text(handler, "/httpGet/path").is_empty() {
                    errors.push(FieldError::required(&at.child("path"), ""));
                }
                port(handler.pointer("/httpGet/port"), &at.child("port"), errors);
                let scheme = text(handler, "/httpGet/scheme");
                if !matches!(scheme, "HTTP" | "HTTPS") {
                    errors.push(FieldError::not_supported(
                        &at.child("scheme"),
                        scheme,
                        &["HTTP", "HTTPS"],
                    ));
                }
            }
            "tcpSocket" => port(
                handler.pointer("/tcpSocket/port"),
                &at.child("port"),
                errors,
            ),
            "grpc" => port(handler.pointer("/grpc/port"), &at.child("port"), errors),
            _ => {}
        }
    }
}

fn port(port: Option<&Value>, at: &FieldPath, errors: &mut Vec<FieldError>) {
    match port {
        Some(Value::String(named)) => {
            for detail in name::port_name(named) {
                errors.push(FieldError::invalid(at, named.as_str(), detail));
            }
        }
        other => {
            let number = other.and_then(Value::as_i64).unwrap_or(0);
            if !(1..=65535).contains(&number) {
                errors.push(FieldError::invalid(at, number, PORT_RANGE));
            }
        }
    }
}

/// What decides where a Pod runs, and under which names.
pub(super) fn placement(object: &Value, spec: &FieldPath, errors: &mut Vec<FieldError>) {
    if let Some(labels) = object
        .pointer("/spec/nodeSelector")
        .and_then(Value::as_object)
    {
        errors.extend(label_errors(labels, &spec.child("nodeSelector")));
    }
    for field in ["hostname", "subdomain"] {
        let given = text(object, &format!("/spec/{field}"));
        if !given.is_empty() {
            for detail in name::dns1123_label(given) {
                errors.push(FieldError::invalid(&spec.child(field), given, detail));
            }
        }
    }
    for (index, toleration) in list(object, "/spec/tolerations").enumerate() {
        self::toleration(toleration, &spec.child("tolerations").index(index), errors);
    }
    let mut gates = HashSet::new();
    for (index, gate) in list(object, "/spec/schedulingGates").enumerate() {
        let at = spec.child("schedulingGates").index(index);
        let given = text(gate, "/name");
        for detail in name::qualified_name(given) {
            errors.push(FieldError::invalid(&at, given, detail));
        }
        if !gates.insert(given) {
            errors.push(FieldError::duplicate(&at, given));
        }
    }
    for (index, alias) in list(object, "/spec/hostAliases").enumerate() {
        let at = spec.child("hostAliases").index(index);
        let ip = text(alias, "/ip");
        if ip.parse::<std::net::IpAddr>().is_err() {
            errors.push(FieldError::invalid(
                &at.child("ip"),
                ip,
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ));
        }
    }
    for (index, spread) in list(object, "/spec/topologySpreadConstraints").enumerate() {
        let at = spec.child("topologySpreadConstraints").index(index);
        let skew = spread.get("maxSkew").and_then(Value::as_i64).unwrap_or(0);
        if skew <= 0 {
            errors.push(FieldError::invalid(
                &at.child("maxSkew"),
                skew,
                "must be greater than zero",
            ));
        }
        if text(spread, "/topologyKey").is_empty() {
            errors.push(FieldError::required(
                &at.child("topologyKey"),
                "can not be empty",
            ));
        }
        const ACTIONS: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];
        let action = text(spread, "/whenUnsatisfiable");
        if !ACTIONS.contains(&action) {
            errors.push(FieldError::not_supported(
                &at.child("whenUnsatisfiable"),
                action,
                &ACTIONS,
            ));
        }
    }
}

fn toleration(toleration: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    const OPERATORS: [&str; 4] = ["Equal", "Exists", "Gt", "Lt"];
    const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
    let (key, operator) = (text(toleration, "/key"), text(toleration, "/operator"));
    let (value, effect) = (text(toleration, "/value"), text(toleration, "/effect"));
    if !key.is_empty() {
        for detail in name::label_key(key) {
            errors.push(FieldError::invalid(&at.child("key"), key, detail));
        }
    } else if operator != "Exists" {
        errors.push(FieldError::invalid(
            &at.child("operator"),
            operator,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ));
    }
    if toleration.get("tolerationSeconds").is_some() && effect != "NoExecute" {
        errors.push(FieldError::invalid(
            &at.child("effect"),
            effect,
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        ));
    }
    match operator {
        "" | "Equal" => {
            for detail in name::label_value(value) {
                errors.push(FieldError::invalid(&at.child("operator"), value, detail));
            }
        }
        "Exists" if !value.is_empty() => errors.push(FieldError::invalid(
            &at.child("operator"),
            toleration.clone(),
            "value must be empty when `operator` is 'Exists'",
        )),
        other if !OPERATORS.contains(&other) => errors.push(FieldError::not_supported(
            &at.child("operator"),
            other,
            &OPERATORS[..2],
        )),
        _ => {}
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(
            &at.child("effect"),
            effect,
            &EFFECTS,
        ));
    }
}

/// Names of resources of containers: the standard ones, huge pages, or qualified ones.
pub(super) fn resource_name(resource: &str, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let wrong = name::qualified_name(resource);
    let standard = matches!(resource, "cpu" | "memory" | "ephemeral-storage")
        || resource.starts_with("hugepages-");
    if wrong.is_empty() && !resource.contains('/') && !standard {
        errors.push(FieldError::invalid(
            at,
            resource,
            "must be a standard resource for containers",
        ));
    }
    errors.extend(
        wrong
            .into_iter()
            .map(|w| FieldError::invalid(at, resource, w)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(judge: impl Fn(&FieldPath, &mut Vec<FieldError>)) -> Vec<String> {
        let mut errors = Vec::new();
        judge(&FieldPath::new("x"), &mut errors);
        errors.iter().map(|e| e.path.to_string()).collect()
    }

    #[test]
    fn volumes_have_one_complete_source() {
        for (given, expected) in [
            (json!({"name": "v", "emptyDir": {}}), vec![]),
            (json!({"name": "v"}), vec!["x"]),
            (
                json!({"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}),
                vec!["x.hostPath"],
            ),
            (
                json!({"name": "v", "secret": {}}),
                vec!["x.secret.secretName"],
            ),
            (
                json!({"name": "v", "hostPath": {"path": "/", "type": "Odd"}}),
                vec!["x.hostPath.type"],
            ),
            (
                json!({"name": "v", "configMap": {"name": "c", "defaultMode": 512, "items": [{"path": "../x"}]}}),
                vec![
                    "x.configMap.defaultMode",
                    "x.configMap.items[0].key",
                    "x.configMap.items[0].path",
                ],
            ),
        ] {
            assert_eq!(
                fields(|at, errors| volume(&given, at, errors)),
                expected,
                "{given}"
            );
        }
    }

    #[test]
    fn environment_probes_and_tolerations_are_judged_by_field() {
        let container = json!({
            "env": [
                {"name": "a=b"}, {"name": "A", "valueFrom": {}},
                {"name": "B", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "spec.odd"}}},
            ],
            "envFrom": [{}],
            "livenessProbe": {"successThreshold": 2, "tcpSocket": {"port": 0}},
            "readinessProbe": {"periodSeconds": -1},
        });
        assert_eq!(
            fields(|at, errors| {
                environment(&container, at, errors);
                probes(&container, at, errors);
            }),
            [
                "x.env[0].name",
                "x.env[1].valueFrom",
                "x.env[2].valueFrom.fieldRef.fieldPath",
                "x.env[2].valueFrom",
                "x.envFrom[0]",
                "x.livenessProbe.tcpSocket.port",
                "x.livenessProbe.successThreshold",
                "x.readinessProbe",
                "x.readinessProbe.periodSeconds",
            ]
        );
        for (given, expected) in [
            (json!({"operator": "Exists"}), vec![]),
            (json!({"operator": "Equal"}), vec!["x.operator"]),
            (
                json!({"key": "k", "tolerationSeconds": 5}),
                vec!["x.effect"],
            ),
            (
                json!({"key": "k", "operator": "Exists", "value": "v"}),
                vec!["x.operator"],
            ),
            (
                json!({"key": "k", "operator": "Odd", "effect": "Odd"}),
                vec!["x.operator", "x.effect"],
            ),
        ] {
            assert_eq!(
                fields(|at, errors| toleration(&given, at, errors)),
                expected,
                "{given}"
            );
        }
    }
}

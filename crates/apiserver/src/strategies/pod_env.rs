//! Environment of containers, and references to fields and resources of their Pod.

use apimachinery::name;

use super::spot::{Faults, Spot};

/// Fields that a variable can take its value from.
const ENV_FIELDS: &[&str] = &[
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
/// Fields that a file can show.
pub(super) const PROJECTED_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// All fields that have a name in the downward API.
const NAMED_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

/// `env` and `envFrom` of a container.
pub(super) fn environment(container: &Spot<'_>, faults: &mut Faults) {
    for variable in container.items("env") {
        let given = variable.text("name");
        if given.is_empty() {
            faults.required(&variable.at("name"), "");
        } else {
            faults.named(&variable.at("name"), given, variable_name);
        }
        if let Some(from) = variable.given("valueFrom") {
            value_source(&variable, &from, faults);
        }
    }
    for source in container.items("envFrom") {
        faults.named_if_given(&source, "prefix", variable_name);
        let mut kinds = 0;
        for kind in ["configMapRef", "secretRef"] {
            if let Some(from) = source.given(kind) {
                kinds += 1;
                faults.demanded(&from, &["name"]);
                faults.named_if_given(&from, "name", name::dns1123_subdomain);
            }
        }
        // Upstream tells these without the index.
        let at = container.at("envFrom");
        match kinds {
            0 => faults.invalid(
                &at,
                "",
                "must specify one of: `configMapRef` or `secretRef`",
            ),
            1 => {}
            _ => faults.invalid(
                &at,
                "",
                "may not have more than one field specified at a time",
            ),
        }
    }
}

/// Any printable ASCII but `=`.
fn variable_name(text: &str) -> Vec<String> {
    if text
        .bytes()
        .all(|b| (b' '..=b'~').contains(&b) && b != b'=')
    {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .to_owned(),
    ]
}

fn value_source(variable: &Spot<'_>, from: &Spot<'_>, faults: &mut Faults) {
    let mut kinds = 0;
    if let Some(field) = from.given("fieldRef") {
        kinds += 1;
        field_reference(&field, ENV_FIELDS, faults);
    }
    if let Some(resource) = from.given("resourceFieldRef") {
        kinds += 1;
        resource_reference(&resource, false, faults);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        let Some(key) = from.given(kind) else {
            continue;
        };
        kinds += 1;
        faults.named(&key.at("name"), key.text("name"), name::dns1123_subdomain);
        faults.demanded(&key, &["key"]);
        faults.named_if_given(&key, "key", name::config_map_key);
    }
    if let Some(file) = from.given("fileKeyRef") {
        kinds += 1;
        faults.demanded(&file, &["key", "path", "volumeName"]);
        faults.named_if_given(&file, "key", variable_name);
        faults.unreserved(&file.at("path"), file.text("path"));
    }
    if kinds == 0 {
        faults.invalid(
            &from.path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if !variable.text("value").is_empty() {
        let detail = "may not be specified when `value` is not empty";
        faults.invalid(&from.path, "", detail);
    } else if kinds > 1 {
        let detail = "may not have more than one field specified at a time";
        faults.invalid(&from.path, "", detail);
    }
}

/// A field of the Pod: one of `known`, or one label or annotation.
pub(super) fn field_reference(spot: &Spot<'_>, known: &[&str], faults: &mut Faults) {
    for key in ["apiVersion", "fieldPath"] {
        if spot.text(key).is_empty() {
            faults.required(&spot.at(key), "");
            return;
        }
    }
    let path = spot.text("fieldPath");
    let at = spot.at("fieldPath");
    let subscripted = path
        .strip_suffix("']")
        .and_then(|rest| rest.split_once("['"));
    match subscripted {
        Some(("metadata.annotations", key)) => {
            for detail in name::qualified_name(&key.to_lowercase()) {
                faults.invalid(&spot.path, key, detail);
            }
        }
        Some(("metadata.labels", key)) => faults.named(&spot.path, key, name::qualified_name),
        Some((base, _)) => {
            let detail = format!(
                "error converting fieldPath: field label does not support subscript: {base}"
            );
            faults.invalid(&at, path, detail);
        }
        None if !NAMED_FIELDS.contains(&path) => {
            let detail = format!("error converting fieldPath: field label not supported: {path}");
            faults.invalid(&at, path, detail);
        }
        None if !known.contains(&path) => faults.not_supported(&at, path, known),
        None => {}
    }
}

/// A resource of a container; in a volume the container must be named.
pub(super) fn resource_reference(spot: &Spot<'_>, in_volume: bool, faults: &mut Faults) {
    const RESOURCES: [&str; 6] = [
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    const UNITS: [&str; 13] = [
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    let resource = spot.text("resource");
    let huge =
        resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_volume && spot.text("containerName").is_empty() {
        faults.required(&spot.at("containerName"), "");
    } else if resource.is_empty() {
        faults.required(&spot.at("resource"), "");
    } else if !huge && !RESOURCES.contains(&resource) {
        faults.not_supported(&spot.at("resource"), resource, &RESOURCES);
    }
    let Some(divisor) = spot.child("divisor").quantity().filter(|d| !d.is_zero()) else {
        return;
    };
    let divisor = divisor.to_string();
    let (units, of): (&[&str], &str) = match resource {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"], "cpu"),
        "limits.memory" | "requests.memory" => (&UNITS, "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (&UNITS, "local ephemeral storage")
        }
        _ if huge => (&UNITS, "hugepages"),
        _ => return,
    };
    if !units.contains(&divisor.as_str()) {
        let detail = format!(
            "only divisor's values {} are supported with the {of} resource",
            units.join(", ")
        );
        faults.invalid(&spot.at("divisor"), resource, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use apimachinery::field::FieldPath;
    use serde_json::{Value, json};

    fn of(container: &Value) -> Vec<String> {
        judged(|faults| environment(&Spot::new(container, FieldPath::new("c")), faults))
    }

    #[test]
    fn variables_take_one_value() {
        let field = |path: &str| json!({"fieldRef": {"apiVersion": "v1", "fieldPath": path}});
        for (variable, expected) in [
            (json!({"name": "A", "value": "x"}), vec![]),
            (json!({"name": "a.b-c", "value": "x"}), vec![]),
            (json!({"name": "a=b"}), vec!["c.env[0].name Invalid"]),
            (json!({"name": ""}), vec!["c.env[0].name Required"]),
            (
                json!({"name": "A", "valueFrom": {}}),
                vec!["c.env[0].valueFrom Invalid"],
            ),
            (
                json!({"name": "A", "value": "x", "valueFrom": field("metadata.name")}),
                vec!["c.env[0].valueFrom Invalid"],
            ),
            (
                json!({"name": "A", "valueFrom": field("metadata.labels['app']")}),
                vec![],
            ),
            (
                json!({"name": "A", "valueFrom": field("metadata.labels['a b']")}),
                vec!["c.env[0].valueFrom.fieldRef Invalid"],
            ),
            (
                json!({"name": "A", "valueFrom": field("metadata.labels")}),
                vec!["c.env[0].valueFrom.fieldRef.fieldPath NotSupported"],
            ),
            (
                json!({"name": "A", "valueFrom": field("spec.odd")}),
                vec!["c.env[0].valueFrom.fieldRef.fieldPath Invalid"],
            ),
            (
                json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": ""}}}),
                vec!["c.env[0].valueFrom.secretKeyRef.key Required"],
            ),
            (
                json!({"name": "A", "valueFrom": {"configMapKeyRef": {"key": "a b"}}}),
                vec![
                    "c.env[0].valueFrom.configMapKeyRef.key Invalid",
                    "c.env[0].valueFrom.configMapKeyRef.name Invalid",
                ],
            ),
            (
                json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}}),
                vec!["c.env[0].valueFrom.resourceFieldRef.resource NotSupported"],
            ),
            (
                json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1Mi"}}}),
                vec!["c.env[0].valueFrom.resourceFieldRef.divisor Invalid"],
            ),
        ] {
            assert_eq!(of(&json!({"env": [variable]})), expected, "{variable}");
        }
    }

    #[test]
    fn sources_of_variables_name_one_object() {
        let container = json!({"envFrom": [
            {"configMapRef": {"name": "c"}, "prefix": "P_"}, {"secretRef": {"name": "Bad_"}}, {},
        ]});
        assert_eq!(
            of(&container),
            ["c.envFrom Invalid", "c.envFrom[1].secretRef.name Invalid"]
        );
    }
}

//! What one object counts for a quota.

use std::collections::BTreeSet;

use apimachinery::quantity::{Format, Quantity};
use serde_json::Value;

use crate::admission::limit_range::{Quantities, containers, pod_resources, quantity};
use crate::kinds::Kind;

/// Core resources whose bare name is an object count.
const COUNTED: [&str; 8] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "serviceaccounts",
    "services",
];
/// Names without a prefix that mean requests of Pods.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const CLASS: &str = ".storageclass.storage.k8s.io/";

/// Kinds (group, resource) that a quota with these names counts.
pub(super) fn kinds(hard: &Quantities) -> BTreeSet<(String, String)> {
    let core = |plural: &str| (String::new(), plural.to_owned());
    hard.keys()
        .map(|name| {
            if let Some(counted) = name.strip_prefix("count/") {
                let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
                (group.to_owned(), plural.to_owned())
            } else if name.starts_with("services.") {
                core("services")
            } else if name == "requests.storage" || name.contains(CLASS) {
                core("persistentvolumeclaims")
            } else if COUNTED.contains(&name.as_str()) {
                core(name)
            } else {
                core("pods")
            }
        })
        .collect()
}

fn one() -> Quantity {
    Quantity::from_value(1, Format::DecimalSi)
}

/// What the object counts; only names that the quota has, only above zero.
pub(super) fn of(kind: &Kind, object: &Value, quota: &Value, hard: &Quantities) -> Quantities {
    let mut used = Quantities::new();
    let core = kind.group.is_empty();
    if core && kind.plural == "pods" && !in_scope(object, quota) {
        return used;
    }
    let full = if core {
        format!("count/{}", kind.plural)
    } else {
        format!("count/{}.{}", kind.plural, kind.group)
    };
    if hard.contains_key(&full) {
        used.insert(full, one());
    }
    if !core {
        return used;
    }
    let ended = kind.plural == "pods"
        && matches!(
            object.pointer("/status/phase").and_then(Value::as_str),
            Some("Succeeded" | "Failed")
        );
    if COUNTED.contains(&kind.plural.as_str()) && hard.contains_key(&kind.plural) && !ended {
        used.insert(kind.plural.clone(), one());
    }
    match kind.plural.as_str() {
        "pods" if !ended => pod(object, hard, &mut used),
        "persistentvolumeclaims" => claim(object, hard, &mut used),
        "services" => service(object, hard, &mut used),
        _ => {}
    }
    used
}

fn pod(object: &Value, hard: &Quantities, used: &mut Quantities) {
    let requests = pod_resources(object, "requests");
    let limits = pod_resources(object, "limits");
    for name in hard.keys() {
        let amount = if let Some(resource) = name.strip_prefix("limits.") {
            limits.get(resource)
        } else if let Some(resource) = name.strip_prefix("requests.") {
            requests.get(resource)
        } else if COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-") {
            requests.get(name)
        } else {
            None
        };
        if let Some(amount) = amount {
            used.insert(name.clone(), *amount);
        }
    }
}

fn claim(object: &Value, hard: &Quantities, used: &mut Quantities) {
    let size = object
        .pointer("/spec/resources/requests/storage")
        .and_then(quantity);
    let class = object
        .pointer("/spec/storageClassName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    for name in hard.keys() {
        let rest = match name.split_once(CLASS) {
            Some((of, rest)) if of == class && !class.is_empty() => rest,
            Some(_) => continue,
            None if name == "requests.storage" => name,
            None => continue,
        };
        match (rest, &size) {
            ("requests.storage", Some(size)) => {
                used.insert(name.clone(), *size);
            }
            ("persistentvolumeclaims", _) => {
                used.insert(name.clone(), one());
            }
            _ => {}
        }
    }
}

fn service(object: &Value, hard: &Quantities, used: &mut Quantities) {
    let ty = object.pointer("/spec/type").and_then(Value::as_str);
    let ports = object.pointer("/spec/ports").and_then(Value::as_array);
    let ports = ports.map_or(0, Vec::len);
    let has_node_ports = match ty {
        Some("NodePort") => true,
        Some("LoadBalancer") => {
            object.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false))
        }
        _ => false,
    };
    if has_node_ports && hard.contains_key("services.nodeports") {
        let ports = i64::try_from(ports).unwrap_or(i64::MAX);
        let ports = Quantity::from_value(ports, Format::DecimalSi);
        used.insert("services.nodeports".to_owned(), ports);
    }
    if ty == Some("LoadBalancer") && hard.contains_key("services.loadbalancers") {
        used.insert("services.loadbalancers".to_owned(), one());
    }
}

/// Whether the quota's scopes hold a Pod.
fn in_scope(pod: &Value, quota: &Value) -> bool {
    let plain = quota.pointer("/spec/scopes").and_then(Value::as_array);
    let mut all = plain
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|scope| (scope, "Exists", Vec::new()))
        .collect::<Vec<_>>();
    let expressions = quota
        .pointer("/spec/scopeSelector/matchExpressions")
        .and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let values = expression["values"].as_array().into_iter().flatten();
        all.push((
            expression["scopeName"].as_str().unwrap_or_default(),
            expression["operator"].as_str().unwrap_or("Exists"),
            values.filter_map(Value::as_str).collect(),
        ));
    }
    all.iter().all(|(scope, operator, values)| {
        let terminating = pod
            .pointer("/spec/activeDeadlineSeconds")
            .is_some_and(|s| !s.is_null());
        let best_effort = ["containers", "initContainers"].iter().all(|list| {
            containers(pod, list).all(|c| {
                ["requests", "limits"].iter().all(|field| {
                    c.pointer(&format!("/resources/{field}"))
                        .and_then(Value::as_object)
                        .is_none_or(serde_json::Map::is_empty)
                })
            })
        });
        match *scope {
            "Terminating" => terminating,
            "NotTerminating" => !terminating,
            "BestEffort" => best_effort,
            "NotBestEffort" => !best_effort,
            "CrossNamespacePodAffinity" => crosses_namespaces(pod),
            "PriorityClass" => {
                let class = pod
                    .pointer("/spec/priorityClassName")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                match *operator {
                    "In" => values.contains(&class),
                    "NotIn" => !values.contains(&class),
                    "DoesNotExist" => class.is_empty(),
                    _ => !class.is_empty(),
                }
            }
            _ => false,
        }
    })
}

fn crosses_namespaces(pod: &Value) -> bool {
    ["podAffinity", "podAntiAffinity"].iter().any(|affinity| {
        let terms = pod.pointer(&format!("/spec/affinity/{affinity}"));
        let required = terms.and_then(|t| t.get("requiredDuringSchedulingIgnoredDuringExecution"));
        let preferred =
            terms.and_then(|t| t.get("preferredDuringSchedulingIgnoredDuringExecution"));
        let crosses = |term: &Value| {
            term.get("namespaces")
                .and_then(Value::as_array)
                .is_some_and(|n| !n.is_empty())
                || term.get("namespaceSelector").is_some_and(|s| !s.is_null())
        };
        required
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(crosses)
            || preferred
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .any(|p| crosses(&p["podAffinityTerm"]))
    })
}

/// A quota of compute resources demands that every container names them.
pub(super) fn complete(
    kind: &Kind,
    object: &Value,
    quota: &Value,
    hard: &Quantities,
) -> Result<(), String> {
    if !kind.is("", "pods") || !in_scope(object, quota) {
        return Ok(());
    }
    let mut missing = Vec::new();
    for name in hard.keys() {
        let (field, resource) = if let Some(resource) = name.strip_prefix("limits.") {
            ("limits", resource)
        } else if let Some(resource) = name.strip_prefix("requests.") {
            ("requests", resource)
        } else {
            ("requests", name.as_str())
        };
        if !matches!(resource, "cpu" | "memory") {
            continue;
        }
        let without: Vec<&str> = ["initContainers", "containers"]
            .iter()
            .flat_map(|list| containers(object, list))
            .filter(|c| {
                c.pointer(&format!("/resources/{field}/{resource}"))
                    .is_none()
            })
            .map(|c| c["name"].as_str().unwrap_or_default())
            .collect();
        if !without.is_empty() {
            missing.push(format!("{name} for: {}", without.join(",")));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "failed quota: {}: must specify {}",
        apimachinery::meta::name(quota).unwrap_or_default(),
        missing.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hard(names: &[&str]) -> Quantities {
        names.iter().map(|n| ((*n).to_owned(), one())).collect()
    }

    fn kind(plural: &str) -> std::sync::Arc<Kind> {
        let kinds = crate::kinds::builtin();
        kinds.into_iter().find(|k| k.is("", plural)).unwrap()
    }

    #[test]
    fn names_lead_to_kinds() {
        let kinds = kinds(&hard(&[
            "count/widgets.e.com",
            "pods",
            "requests.storage",
            "limits.cpu",
        ]));
        let expected = [
            ("", "persistentvolumeclaims"),
            ("", "pods"),
            ("e.com", "widgets"),
        ];
        assert!(
            kinds
                .iter()
                .map(|(g, p)| (g.as_str(), p.as_str()))
                .eq(expected)
        );
    }

    #[test]
    fn pods_count_until_they_end() {
        let names = hard(&["pods", "count/pods", "requests.cpu", "limits.memory"]);
        let mut pod = json!({"spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}}]}});
        let used = of(&kind("pods"), &pod, &json!({}), &names);
        assert_eq!(used.len(), 4);
        assert_eq!(used["limits.memory"].to_string(), "1Gi");
        pod["status"] = json!({"phase": "Succeeded"});
        let used = of(&kind("pods"), &pod, &json!({}), &names);
        assert_eq!(used.keys().collect::<Vec<_>>(), ["count/pods"]);
    }

    #[test]
    fn scopes_and_missing_requests() {
        let quota = json!({"metadata": {"name": "q"}, "spec": {"scopes": ["BestEffort"]}});
        let pod = json!({"spec": {"containers": [{"name": "a"}]}});
        assert!(in_scope(&pod, &quota));
        let all = json!({"metadata": {"name": "q"}});
        assert_eq!(
            complete(
                &kind("pods"),
                &pod,
                &all,
                &hard(&["limits.cpu", "requests.cpu"])
            )
            .unwrap_err(),
            "failed quota: q: must specify limits.cpu for: a; requests.cpu for: a"
        );
    }

    #[test]
    fn claims_count_for_their_class() {
        let names = hard(&[
            "requests.storage",
            "fast.storageclass.storage.k8s.io/requests.storage",
            "slow.storageclass.storage.k8s.io/persistentvolumeclaims",
        ]);
        let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "5Gi"}}}});
        let used = of(&kind("persistentvolumeclaims"), &claim, &json!({}), &names);
        assert_eq!(used.len(), 2);
    }
}

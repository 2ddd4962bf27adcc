//! Resources of a Pod as a whole, and the class of service that follows from what it asks for.

use std::collections::BTreeMap;

use apimachinery::quantity::Quantity;
use serde_json::{Map, Value, json};

use super::fields::list;
use super::spot::quantity;

/// What is limited and not requested is requested at its limit.
pub(super) fn request_limits(container: &mut Map<String, Value>) {
    if let Some(resources) = container
        .get_mut("resources")
        .and_then(Value::as_object_mut)
        && let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned()
    {
        let requests = resources.entry("requests").or_insert_with(|| json!({}));
        if let Some(requests) = requests.as_object_mut() {
            for (name, value) in limits {
                requests.entry(name).or_insert(value);
            }
        }
    }
}

/// A Pod with limits of its own requests what its containers request, else its limits.
pub(super) fn complete(spec: &mut Map<String, Value>) {
    let of_containers = requested(spec);
    let Some(resources) = spec.get_mut("resources").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    let Some(requests) = requests.as_object_mut() else {
        return;
    };
    for (name, amount) in of_containers {
        if matches!(name.as_str(), "cpu" | "memory") {
            requests
                .entry(name)
                .or_insert_with(|| Value::from(amount.to_string()));
        }
    }
    for (name, limit) in limits {
        if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// What all containers request together: the sum of those that run on, or the most that one before them needs.
fn requested(spec: &Map<String, Value>) -> BTreeMap<String, Quantity> {
    let of = |container: &Value| -> Vec<(String, Quantity)> {
        let requests = container.pointer("/resources/requests");
        requests
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), quantity(value)?)))
            .collect()
    };
    let containers = |key: &str| {
        spec.get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let add = |sum: &mut BTreeMap<String, Quantity>, name: String, amount: Quantity| {
        let before = sum.remove(&name).unwrap_or_default();
        if let Some(total) = before.checked_add(&amount) {
            sum.insert(name, total);
        }
    };
    let mut sum = BTreeMap::new();
    for container in containers("containers") {
        for (name, amount) in of(container) {
            add(&mut sum, name, amount);
        }
    }
    let mut beside: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut most: BTreeMap<String, Quantity> = BTreeMap::new();
    for container in containers("initContainers") {
        let stays = container
            .get("restartPolicy")
            .is_some_and(|p| p == "Always");
        for (name, amount) in of(container) {
            if stays {
                add(&mut beside, name.clone(), amount);
                add(&mut sum, name.clone(), amount);
            }
            let with = beside.get(&name).copied().unwrap_or_default();
            let total = if stays {
                Some(with)
            } else {
                amount.checked_add(&with)
            };
            if let Some(total) = total
                && most.get(&name).is_none_or(|m| *m < total)
            {
                most.insert(name, total);
            }
        }
    }
    for (name, amount) in most {
        if sum.get(&name).is_none_or(|s| *s < amount) {
            sum.insert(name, amount);
        }
    }
    sum
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by requests and limits of CPU and memory.
pub(super) fn qos_class(object: &Value) -> &'static str {
    let own = object.pointer("/spec/resources").filter(|r| {
        ["requests", "limits"].iter().any(|side| {
            r.get(side)
                .and_then(Value::as_object)
                .is_some_and(|m| !m.is_empty())
        })
    });
    let resources: Vec<&Value> = match own {
        Some(own) => vec![own],
        None => ["/spec/containers", "/spec/initContainers"]
            .into_iter()
            .flat_map(|p| list(object, p))
            .map(|container| container.get("resources").unwrap_or(&Value::Null))
            .collect(),
    };
    let (mut any, mut guaranteed) = (false, true);
    for one in resources {
        for resource in ["cpu", "memory"] {
            let of = |side: &str| {
                one.get(side)
                    .and_then(|map| map.get(resource))
                    .and_then(quantity)
                    .filter(|amount| !amount.is_zero())
            };
            let (request, limit) = (of("requests"), of("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_requests_what_its_containers_do() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let mut spec = json!({
            "resources": {"limits": {"cpu": "4", "memory": "1Gi"}},
            "containers": [container("1"), container("500m")],
            "initContainers": [container("2")],
        });
        let spec = spec.as_object_mut().unwrap();
        complete(spec);
        assert_eq!(
            spec["resources"]["requests"],
            json!({"cpu": "2", "memory": "1Gi"})
        );
    }

    #[test]
    fn classes_follow_from_requests_and_limits() {
        let all = json!({"cpu": "1", "memory": "1Gi"});
        for (resources, expected) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "0"}}), "BestEffort"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (json!({"requests": all, "limits": all}), "Guaranteed"),
        ] {
            let pod = json!({"spec": {"containers": [{"resources": resources}]}});
            assert_eq!(qos_class(&pod), expected, "{pod}");
        }
        let pod =
            json!({"spec": {"resources": {"requests": all, "limits": all}, "containers": [{}]}});
        assert_eq!(qos_class(&pod), "Guaranteed");
    }
}

//! LimitRanger: default requests and limits of containers, and bounds of Pods, containers and claims.

use std::collections::BTreeMap;

use apimachinery::quantity::Quantity;
use apimachinery::status::ApiError;
use serde_json::{Map, Value, json};

use crate::registry::Call;

/// Fills in what the namespace's LimitRanges say of containers.
pub(super) async fn complete(call: &Call<'_>, pod: &mut Value) -> Result<(), ApiError> {
    let mut set = Vec::new();
    for range in call.reader.list("", "limitranges", call.namespace).await? {
        for item in items(&range).filter(|i| i["type"] == "Container") {
            for (list, what) in [
                ("containers", "container"),
                ("initContainers", "init container"),
            ] {
                for container in pod
                    .pointer_mut(&format!("/spec/{list}"))
                    .and_then(Value::as_array_mut)
                    .into_iter()
                    .flatten()
                {
                    fill(container, item, what, &mut set);
                }
            }
        }
    }
    if !set.is_empty() {
        let text = format!("LimitRanger plugin set: {}", set.join("; "));
        apimachinery::meta::set_annotation(pod, "kubernetes.io/limit-ranger", &text);
    }
    Ok(())
}

fn items(range: &Value) -> impl Iterator<Item = &Value> {
    range
        .pointer("/spec/limits")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Fills in one container and notes what was set.
fn fill(container: &mut Value, item: &Value, what: &str, set: &mut Vec<String>) {
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    for (field, one, from) in [
        ("requests", "request", "defaultRequest"),
        ("limits", "limit", "default"),
    ] {
        let Some(defaults) = item.get(from).and_then(Value::as_object) else {
            continue;
        };
        if defaults.is_empty() {
            continue;
        }
        let Some(container) = container.as_object_mut() else {
            return;
        };
        if let Some(map) = container
            .entry("resources")
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .and_then(|r| r.entry(field).or_insert_with(|| json!({})).as_object_mut())
        {
            let mut added = Vec::new();
            for (resource, value) in defaults {
                if !map.contains_key(resource) {
                    map.insert(resource.clone(), value.clone());
                    added.push(resource.as_str());
                }
            }
            if !added.is_empty() {
                added.sort_unstable();
                set.push(format!("{} {one} for {what} {name}", added.join(", ")));
            }
        }
    }
}

/// Refuses what is out of bounds.
pub(super) async fn validate(
    call: &Call<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let is_claim = call.kind.is("", "persistentvolumeclaims");
    // Resources of a Pod change when it is created, and when it is resized.
    let asks = old.is_none() || call.subresource == "resize";
    if !(is_claim || call.kind.is("", "pods") && asks) {
        return Ok(());
    }
    let mut errors = Vec::new();
    for range in call.reader.list("", "limitranges", call.namespace).await? {
        for item in items(&range) {
            match item["type"].as_str() {
                Some("PersistentVolumeClaim") if is_claim => {
                    let requests = quantities(object.pointer("/spec/resources/requests"));
                    bounds(
                        item,
                        &requests,
                        &BTreeMap::new(),
                        "PersistentVolumeClaim",
                        &mut errors,
                    );
                }
                Some("Container") if !is_claim => {
                    for container in
                        containers(object, "initContainers").chain(containers(object, "containers"))
                    {
                        let requests = quantities(container.pointer("/resources/requests"));
                        let limits = quantities(container.pointer("/resources/limits"));
                        bounds(item, &requests, &limits, "Container", &mut errors);
                    }
                }
                Some("Pod") if !is_claim => {
                    let requests = pod_resources(object, "requests");
                    let limits = pod_resources(object, "limits");
                    bounds(item, &requests, &limits, "Pod", &mut errors);
                }
                _ => {}
            }
        }
    }
    let name = apimachinery::meta::name(object).unwrap_or_default();
    let why = match errors.len() {
        0 => return Ok(()),
        1 => errors.remove(0),
        _ => format!("[{}]", errors.join(", ")),
    };
    Err(ApiError::forbidden(&call.kind.group_resource(), name, why))
}

pub(super) fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    pod.pointer(&format!("/spec/{list}"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

pub(super) type Quantities = BTreeMap<String, Quantity>;

pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// A resource list.
pub(super) fn quantities(value: Option<&Value>) -> Quantities {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), quantity(value)?)))
        .collect()
}

pub(super) fn add(into: &mut Quantities, other: &Quantities) {
    for (name, value) in other {
        match into.get_mut(name) {
            Some(sum) => *sum = sum.checked_add(value).unwrap_or(*sum),
            None => {
                into.insert(name.clone(), *value);
            }
        }
    }
}

/// What a whole Pod asks: the sum of its containers, or the greatest of those that run first, and its overhead.
pub(super) fn pod_resources(pod: &Value, field: &str) -> Quantities {
    let of = |container: &Value| quantities(container.pointer(&format!("/resources/{field}")));
    let mut sum = Quantities::new();
    for container in containers(pod, "containers") {
        add(&mut sum, &of(container));
    }
    // Sidecars run beside everything that comes after them.
    let mut sidecars = Quantities::new();
    let mut first = Quantities::new();
    for container in containers(pod, "initContainers") {
        let own = of(container);
        if container
            .get("restartPolicy")
            .is_some_and(|p| p == "Always")
        {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            continue;
        }
        let mut now = sidecars.clone();
        add(&mut now, &own);
        greatest(&mut first, now);
    }
    greatest(&mut sum, first);
    add(&mut sum, &quantities(pod.pointer("/spec/overhead")));
    sum
}

fn greatest(into: &mut Quantities, other: Quantities) {
    for (name, value) in other {
        if into.get(&name).is_none_or(|v| *v < value) {
            into.insert(name, value);
        }
    }
}

/// Compares with `min`, `max` and `maxLimitRequestRatio`.
fn bounds(
    item: &Value,
    requests: &Quantities,
    limits: &Quantities,
    of: &str,
    errors: &mut Vec<String>,
) {
    let is_claim = of == "PersistentVolumeClaim";
    let text = |map: &Map<String, Value>, name: &str| {
        map.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if let Some(least) = item.get("min").and_then(Value::as_object) {
        for (name, bound) in quantities(item.get("min")) {
            let shown = text(least, &name);
            match requests.get(&name) {
                None => errors.push(format!(
                    "minimum {name} usage per {of} is {shown}.  No request is specified"
                )),
                Some(request) if *request < bound => errors.push(format!(
                    "minimum {name} usage per {of} is {shown}, but request is {request}"
                )),
                Some(_) => {}
            }
            if let Some(limit) = limits.get(&name)
                && *limit < bound
            {
                errors.push(format!(
                    "minimum {name} usage per {of} is {shown}, but limit is {limit}"
                ));
            }
        }
    }
    if let Some(most) = item.get("max").and_then(Value::as_object) {
        for (name, bound) in quantities(item.get("max")) {
            let shown = text(most, &name);
            match limits.get(&name) {
                Some(limit) if *limit > bound => errors.push(format!(
                    "maximum {name} usage per {of} is {shown}, but limit is {limit}"
                )),
                None if !is_claim => errors.push(format!(
                    "maximum {name} usage per {of} is {shown}.  No limit is specified"
                )),
                _ => {}
            }
            if let Some(request) = requests.get(&name)
                && *request > bound
            {
                errors.push(format!(
                    "maximum {name} usage per {of} is {shown}, but request is {request}"
                ));
            }
        }
    }
    for (name, bound) in quantities(item.get("maxLimitRequestRatio")) {
        let (Some(request), Some(limit)) = (requests.get(&name), limits.get(&name)) else {
            errors.push(format!(
                "{name} max limit to request ratio per {of} is {bound}, but no request or limit is specified"
            ));
            continue;
        };
        let ratio = limit.as_f64() / request.as_f64();
        if request.is_zero() || ratio > bound.as_f64() {
            errors.push(format!(
                "{name} max limit to request ratio per {of} is {bound}, but provided ratio is {ratio:.6}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Value {
        json!({"type": "Container", "max": {"memory": "1Gi"}, "min": {"memory": "16Mi"},
            "default": {"memory": "128Mi"}, "defaultRequest": {"memory": "64Mi"},
            "maxLimitRequestRatio": {"memory": "4"}})
    }

    #[test]
    fn defaults_leave_what_is_given() {
        let mut container = json!({"name": "a", "resources": {"limits": {"memory": "1Gi"}}});
        let mut set = Vec::new();
        fill(&mut container, &item(), "container", &mut set);
        assert_eq!(
            container["resources"],
            json!({"limits": {"memory": "1Gi"}, "requests": {"memory": "64Mi"}})
        );
        assert_eq!(set, ["memory request for container a"]);
    }

    #[test]
    fn bounds_are_those_of_the_range() {
        let judge = |request: &str, limit: &str| {
            let mut errors = Vec::new();
            let one = |v: &str| Quantities::from([("memory".to_owned(), v.parse().unwrap())]);
            bounds(
                &item(),
                &one(request),
                &one(limit),
                "Container",
                &mut errors,
            );
            errors
        };
        assert!(judge("64Mi", "128Mi").is_empty());
        assert_eq!(
            judge("1Gi", "2Gi"),
            ["maximum memory usage per Container is 1Gi, but limit is 2Gi"]
        );
        assert_eq!(
            judge("8Mi", "32Mi"),
            ["minimum memory usage per Container is 16Mi, but request is 8Mi"]
        );
        assert_eq!(judge("16Mi", "128Mi").len(), 1, "the ratio counts");
    }

    #[test]
    fn a_pod_asks_for_the_greater_of_its_phases() {
        let c = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let pod = json!({"spec": {"containers": [c("1"), c("2")], "initContainers": [c("5")],
            "overhead": {"cpu": "100m"}}});
        assert_eq!(pod_resources(&pod, "requests")["cpu"].to_string(), "5100m");
    }
}

//! Resources that containers request and are limited to.

use apimachinery::name;
use apimachinery::quantity::Quantity;
use serde_json::Value;

use super::spot::{Faults, NOT_NEGATIVE, Spot, quantity};

const STANDARD: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
/// Names that mean something to Kubernetes, though not all of them in containers.
const KNOWN: [&str; 20] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];
/// Resources that come whole.
const WHOLE: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

fn is_huge(resource: &str) -> bool {
    resource.starts_with("hugepages-")
}

/// Without a domain, or of `kubernetes.io`.
fn is_native(resource: &str) -> bool {
    !resource.contains('/') || resource.contains("kubernetes.io/")
}

/// Of somebody else's domain: counted whole, and never overcommitted.
pub(super) fn is_extended(resource: &str) -> bool {
    !is_native(resource)
        && !resource.starts_with("requests.")
        && name::qualified_name(&format!("requests.{resource}")).is_empty()
}

pub(super) fn may_overcommit(resource: &str) -> bool {
    is_native(resource) && !is_huge(resource)
}

/// A name of any resource.
pub(super) fn any_name(spot: &Spot<'_>, resource: &str, faults: &mut Faults) -> bool {
    let before = faults.0.len();
    faults.named(&spot.path, resource, name::qualified_name);
    if faults.0.len() == before
        && !resource.contains('/')
        && !is_huge(resource)
        && !resource.starts_with("requests.hugepages-")
        && !KNOWN.contains(&resource)
    {
        let detail = "must be a standard resource type or fully qualified";
        faults.invalid(&spot.path, resource, detail);
    }
    faults.0.len() == before
}

/// A name of a resource that a container can have.
pub(super) fn container_name(spot: &Spot<'_>, resource: &str, faults: &mut Faults) {
    any_name(spot, resource, faults);
    if !resource.contains('/') {
        if !is_huge(resource) && !STANDARD.contains(&resource) {
            let detail = "must be a standard resource for containers";
            faults.invalid(&spot.path, resource, detail);
        }
    } else if !is_native(resource) && !is_extended(resource) {
        let detail = "doesn't follow extended resource name standard";
        faults.invalid(&spot.path, resource, detail);
    }
}

/// An amount of a resource: not negative, and whole where it comes so.
pub(super) fn amount(spot: &Spot<'_>, resource: &str, faults: &mut Faults) {
    let Some(given) = spot.quantity() else {
        return;
    };
    if given.is_negative() {
        faults.invalid(&spot.path, spot.value.clone(), NOT_NEGATIVE);
    }
    let whole = WHOLE.contains(&resource) || is_extended(resource);
    if whole && given.milli_value() % 1000 != 0 {
        faults.invalid(&spot.path, spot.value.clone(), "must be an integer");
    }
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn huge_page(spot: &Spot<'_>, resource: &str, faults: &mut Faults) {
    let size = resource
        .strip_prefix("hugepages-")
        .and_then(|size| size.parse::<Quantity>().ok());
    if let (Some(size), Some(given)) = (size, spot.quantity()) {
        let size = size.value();
        if size <= 0 || given.value() % size != 0 {
            let given = shown(spot.value);
            let detail = format!("{given} is not positive integer multiple of {resource}");
            faults.invalid(&spot.path, given, detail);
        }
    }
}

/// `resources` of a container. `claims` are the names of the Pod's `resourceClaims`.
pub(super) fn requirements(spot: &Spot<'_>, claims: &[&str], faults: &mut Faults) {
    judge(spot, container_name, faults);
    let mut seen = Vec::new();
    for claim in spot.items("claims") {
        let given = claim.text("name");
        if given.is_empty() {
            faults.required(&claim.path, "");
            continue;
        }
        let pair = (given, claim.text("request"));
        if seen.contains(&pair) {
            faults.duplicate(&claim.path, given);
        }
        seen.push(pair);
        if !claims.contains(&given) {
            faults.not_found(&claim.path, given);
        }
    }
}

/// `resources` of a whole Pod.
pub(super) fn of_pod(spec: &Spot<'_>, faults: &mut Faults) {
    let Some(spot) = spec.given("resources") else {
        return;
    };
    if spot.count("claims") > 0 {
        let detail = "claims cannot be set for Resources at pod-level";
        faults.forbidden(&spot.at("claims"), detail);
    }
    judge(&spot, pod_name, faults);
    for container in spec.items("containers") {
        let resources = container.child("resources");
        for (resource, limit) in resources.entries("limits") {
            let pod = spot.map("limits").and_then(|l| l.get(resource));
            if let (Some(limit), Some(pod)) = (limit.quantity(), pod.and_then(quantity))
                && limit > pod
            {
                // `resources.containers[0][cpu].limits`, as upstream.
                let index = container.path.as_str().rsplit('[').next();
                let index = index.and_then(|i| i.trim_end_matches(']').parse().ok());
                let at = spot.at("containers").index(index.unwrap_or(0));
                faults.invalid(
                    &at.key(resource).child("limits"),
                    limit.to_string(),
                    format!("must be less than or equal to pod limits of {pod}"),
                );
            }
        }
    }
}

fn pod_name(spot: &Spot<'_>, resource: &str, faults: &mut Faults) {
    let known = ["cpu", "memory"].contains(&resource) || is_huge(resource);
    if any_name(spot, resource, faults) && !known {
        faults.not_supported(&spot.path, resource, &["cpu", "hugepages-", "memory"]);
    }
}

fn judge(spot: &Spot<'_>, rule: fn(&Spot<'_>, &str, &mut Faults), faults: &mut Faults) {
    let (mut huge, mut ordinary) = (false, false);
    for side in ["limits", "requests"] {
        for (resource, given) in spot.entries(side) {
            rule(&given, resource, faults);
            amount(&given, resource, faults);
            if is_huge(resource) {
                huge = true;
                huge_page(&given, resource, faults);
            }
            ordinary |= matches!(resource, "cpu" | "memory");
            if side == "requests" {
                within_limit(spot, resource, &given, faults);
            }
        }
    }
    if huge && !ordinary {
        faults.forbidden(&spot.path, "HugePages require cpu or memory");
    }
}

fn within_limit(spot: &Spot<'_>, resource: &str, request: &Spot<'_>, faults: &mut Faults) {
    let limit = spot.map("limits").and_then(|limits| limits.get(resource));
    let Some(text) = limit else {
        if !may_overcommit(resource) {
            let detail = "Limit must be set for non overcommitable resources";
            faults.required(&spot.at("limits"), detail);
        }
        return;
    };
    let (Some(given), Some(limit)) = (request.quantity(), quantity(text)) else {
        return;
    };
    let relation = if given != limit && !may_overcommit(resource) {
        "equal to"
    } else if given > limit {
        "less than or equal to"
    } else {
        return;
    };
    faults.invalid(
        &spot.at("requests"),
        shown(request.value),
        format!("must be {relation} {resource} limit of {}", shown(text)),
    );
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use apimachinery::field::FieldPath;
    use serde_json::json;

    #[test]
    fn requests_stay_within_limits_and_names_are_known() {
        for (resources, expected) in [
            (
                json!({"limits": {"cpu": "1", "example.com/gpu": "1"}, "requests": {"cpu": "500m", "example.com/gpu": "1"}}),
                vec![],
            ),
            (
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
                vec!["r.requests Invalid"],
            ),
            (
                json!({"requests": {"cpu": "-1"}}),
                vec!["r.requests[cpu] Invalid"],
            ),
            (
                json!({"requests": {"wonders": "1"}}),
                vec!["r.requests[wonders] Invalid"],
            ),
            (
                json!({"limits": {"pods": "1"}}),
                vec!["r.limits[pods] Invalid"],
            ),
            (
                json!({"requests": {"example.com/gpu": "1"}}),
                vec!["r.limits Required"],
            ),
            (
                json!({"limits": {"example.com/gpu": "1500m"}}),
                vec!["r.limits[example.com/gpu] Invalid"],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "3Mi"}, "requests": {"hugepages-2Mi": "3Mi"}}),
                vec![
                    "r Forbidden",
                    "r.limits[hugepages-2Mi] Invalid",
                    "r.requests[hugepages-2Mi] Invalid",
                ],
            ),
            (
                json!({"claims": [{"name": "c"}, {"name": "x"}]}),
                vec!["r.claims[1] NotFound"],
            ),
        ] {
            let spot = Spot::new(&resources, FieldPath::new("r"));
            let found = judged(|faults| requirements(&spot, &["c"], faults));
            assert_eq!(found, expected, "{resources}");
        }
    }

    #[test]
    fn a_container_stays_within_its_pod() {
        let spec = json!({
            "resources": {"limits": {"cpu": "1"}, "requests": {"pods": "1"}},
            "containers": [{"resources": {"limits": {"cpu": "2"}}}],
        });
        let spot = Spot::new(&spec, FieldPath::new("spec"));
        assert_eq!(
            judged(|faults| of_pod(&spot, faults)),
            [
                "spec.resources.containers[0][cpu].limits Invalid",
                "spec.resources.requests[pods] NotSupported",
            ]
        );
    }
}

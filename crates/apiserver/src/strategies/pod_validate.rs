//! What a Pod must be like, and a template of Pods.
//!
//! ```text
//! pod, template ─► specification ─► pod_volumes ─► names of good volumes ─► pod_containers ─► pod_{env,probes,resources,security}
//!                              └──► pod_placement, pod_security, names and numbers of the Pod itself
//! ```

use apimachinery::field::FieldError;
use apimachinery::name;
use serde_json::Value;

use super::pod_containers::{self, Surroundings, image_is_trimmed};
use super::spot::{Faults, Spot};
use super::{pod_placement, pod_resources, pod_security, pod_volumes};

/// Everything wrong with a new Pod.
pub(super) fn pod(object: &Value) -> Vec<FieldError> {
    let mut faults = Faults::default();
    present(object, &mut faults);
    let spec = Spot::of(object, "spec");
    if spec.count("ephemeralContainers") > 0 {
        let detail = "cannot be set on create";
        faults.forbidden(&spec.at("ephemeralContainers"), detail);
    }
    if !spec.text("nodeName").is_empty() && spec.count("schedulingGates") > 0 {
        let detail = "cannot be set until all schedulingGates have been cleared";
        faults.forbidden(&spec.at("nodeName"), detail);
    }
    faults.0
}

/// What holds for a Pod at any time.
pub(super) fn present(object: &Value, faults: &mut Faults) {
    let metadata = Spot::of(object, "metadata");
    annotations(&metadata, faults);
    let spec = Spot::of(object, "spec");
    specification(&spec, metadata.text("name"), faults);
    for list in ["containers", "initContainers"] {
        for container in spec.items(list) {
            image_is_trimmed(&container, faults);
        }
    }
}

/// Everything wrong with a template of Pods.
pub(super) fn template(template: &Spot<'_>, faults: &mut Faults) {
    template_metadata(template, faults);
    let spec = template.child("spec");
    specification(&spec, "", faults);
    if spec.count("ephemeralContainers") > 0 {
        let detail = "ephemeral containers not allowed in pod template";
        faults.forbidden(&spec.at("ephemeralContainers"), detail);
    }
}

/// Labels and annotations of a template.
pub(super) fn template_metadata(template: &Spot<'_>, faults: &mut Faults) {
    // Upstream leaves out the step `metadata`.
    let metadata = Spot::new(template.child("metadata").value, template.path.clone());
    faults.labels(&metadata, "labels");
    for (key, _) in metadata.entries("annotations") {
        for detail in name::qualified_name(&key.to_lowercase()) {
            faults.invalid(&metadata.at("annotations"), key, detail);
        }
    }
    annotations(&metadata, faults);
}

fn annotations(metadata: &Spot<'_>, faults: &mut Faults) {
    const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    let cost = metadata.child("annotations").text(COST);
    let is_number = cost.parse::<i32>().is_ok()
        && !cost.starts_with('+')
        && (cost == "0" || !cost.trim_start_matches('-').starts_with('0'));
    if !cost.is_empty() && !is_number {
        let at = metadata.at("annotations").key(COST);
        faults.invalid(&at, cost, "must be a 32bit integer");
    }
}

/// The specification of a Pod called `name`, which is empty in a template.
fn specification(spec: &Spot<'_>, name: &str, faults: &mut Faults) {
    let volumes = pod_volumes::volumes(spec, name, faults);
    resource_claims(spec, faults);
    let around = Surroundings {
        spec,
        volumes: &volumes,
    };
    pod_containers::containers(&around, faults);
    pod_resources::of_pod(spec, faults);
    host_network(spec, !name.is_empty(), faults);
    faults.choice(spec, "restartPolicy", &["Always", "OnFailure", "Never"]);
    faults.choice(
        spec,
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    pod_security::of_pod(spec, faults);
    pod_placement::placement(spec, faults);
    names(spec, faults);
    dns(spec, faults);
    for gate in spec.items("readinessGates") {
        let given = gate.text("conditionType");
        faults.named(&gate.at("conditionType"), given, name::qualified_name);
    }
    for alias in spec.items("hostAliases") {
        faults.address(&alias.at("ip"), alias.text("ip"));
        for host in alias.items("hostnames") {
            faults.named(&host.path, host.as_text(), name::dns1123_subdomain);
        }
    }
    if let Some(given) = spec.int("activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&given)
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        faults.invalid(&spec.at("activeDeadlineSeconds"), given, detail);
    }
    if spec.has("preemptionPolicy") {
        faults.choice(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"]);
    }
    let overhead = spec.at("overhead").child("limits");
    for (resource, given) in spec.entries("overhead") {
        let given = Spot::new(given.value, overhead.key(resource));
        pod_resources::container_name(&given, resource, faults);
        pod_resources::amount(&given, resource, faults);
    }
}

fn names(spec: &Spot<'_>, faults: &mut Faults) {
    for field in ["hostname", "subdomain"] {
        faults.named_if_given(spec, field, name::dns1123_label);
    }
    for field in ["serviceAccountName", "nodeName", "priorityClassName"] {
        faults.named_if_given(spec, field, name::dns1123_subdomain);
    }
    if spec.has("runtimeClassName") {
        let given = spec.text("runtimeClassName");
        faults.named(&spec.at("runtimeClassName"), given, name::dns1123_subdomain);
    }
}

fn resource_claims(spec: &Spot<'_>, faults: &mut Faults) {
    let mut names = std::collections::HashSet::new();
    for claim in spec.items("resourceClaims") {
        let given = claim.text("name");
        if given.is_empty() {
            faults.required(&claim.at("name"), "");
        } else if !names.insert(given) {
            faults.duplicate(&claim.at("name"), given);
        } else {
            faults.named(&claim.at("name"), given, name::dns1123_label);
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let detail = match sources.iter().filter(|s| claim.has(s)).count() {
            0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            1 => {
                for source in sources {
                    faults.named_if_given(&claim, source, name::dns1123_subdomain);
                }
                continue;
            }
            _ => {
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            }
        };
        faults.invalid(&claim.path, claim.value.clone(), detail);
    }
}

/// On the network of its node, a Pod has the ports that it listens on.
fn host_network(spec: &Spot<'_>, is_pod: bool, faults: &mut Faults) {
    if !spec.flag("hostNetwork") {
        return;
    }
    for container in spec.items("containers") {
        for port in container.items("ports") {
            let host = port.int("hostPort").unwrap_or(0);
            let inner = port.int("containerPort").unwrap_or(0);
            if (is_pod || host != 0) && host != inner {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                faults.invalid(&port.at("hostPort"), host, detail);
            }
        }
    }
}

fn dns(spec: &Spot<'_>, faults: &mut Faults) {
    const SERVERS: usize = 3;
    const PATHS: usize = 32;
    const CHARACTERS: usize = 2048;
    let config = spec.child("dnsConfig");
    if spec.text("dnsPolicy") == "None" {
        if !spec.has("dnsConfig") {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            faults.required(&config.path, detail);
            return;
        }
        if config.count("nameservers") == 0 {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            faults.required(&config.at("nameservers"), detail);
            return;
        }
    }
    if config.count("nameservers") > SERVERS {
        let detail = format!("must not have more than {SERVERS} nameservers");
        let given = config.child("nameservers");
        faults.invalid(&given.path, given.value.clone(), detail);
    }
    for server in config.items("nameservers") {
        faults.address(&server.path, server.as_text());
    }
    let searches = config.child("searches");
    if config.count("searches") > PATHS {
        let detail = format!("must not have more than {PATHS} search paths");
        faults.invalid(&searches.path, searches.value.clone(), detail);
    }
    let length: usize = config
        .items("searches")
        .map(|s| s.as_text().len() + 1)
        .sum();
    if length > CHARACTERS + 1 {
        let detail = format!(
            "must not have more than {CHARACTERS} characters (including spaces) in the search list"
        );
        faults.invalid(&searches.path, searches.value.clone(), detail);
    }
    for search in config.items("searches") {
        let given = search.as_text();
        if given != "." {
            let plain = given.strip_suffix('.').unwrap_or(given).replace('_', "x");
            faults.named(&search.path, &plain, name::dns1123_subdomain);
        }
    }
    for option in config.items("options") {
        if option.text("name").is_empty() {
            faults.required(&option.path, "must not be empty");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::{found, judged};
    use super::*;
    use apimachinery::field::FieldPath;
    use serde_json::json;

    fn of(spec: Value) -> Vec<String> {
        let mut object = json!({"metadata": {"name": "p"}, "spec": {
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "c", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}],
        }});
        if let (Some(into), Value::Object(more)) = (object["spec"].as_object_mut(), spec) {
            into.extend(more);
        }
        found(&Faults(pod(&object)))
    }

    #[test]
    fn a_pod_is_judged_by_field() {
        for (spec, expected) in [
            (json!({}), vec![]),
            (
                json!({"restartPolicy": "Sometimes", "dnsPolicy": ""}),
                vec!["spec.dnsPolicy Required", "spec.restartPolicy NotSupported"],
            ),
            (
                json!({"hostname": "a.b", "subdomain": "A", "nodeName": "_", "priorityClassName": "_", "serviceAccountName": "_", "runtimeClassName": ""}),
                vec![
                    "spec.hostname Invalid",
                    "spec.nodeName Invalid",
                    "spec.priorityClassName Invalid",
                    "spec.runtimeClassName Invalid",
                    "spec.serviceAccountName Invalid",
                    "spec.subdomain Invalid",
                ],
            ),
            (
                json!({"activeDeadlineSeconds": 0}),
                vec!["spec.activeDeadlineSeconds Invalid"],
            ),
            (
                json!({"dnsPolicy": "None"}),
                vec!["spec.dnsConfig Required"],
            ),
            (
                json!({"dnsConfig": {"nameservers": ["x", "1.1.1.1", "::1", "2.2.2.2"], "searches": ["a_b.c", "A b", "."], "options": [{}]}}),
                vec![
                    "spec.dnsConfig.nameservers Invalid",
                    "spec.dnsConfig.nameservers[0] Invalid",
                    "spec.dnsConfig.options[0] Required",
                    "spec.dnsConfig.searches[1] Invalid",
                ],
            ),
            (
                json!({"hostAliases": [{"ip": "x", "hostnames": ["a", "B_"]}], "readinessGates": [{"conditionType": "a b"}]}),
                vec![
                    "spec.hostAliases[0].hostnames[1] Invalid",
                    "spec.hostAliases[0].ip Invalid",
                    "spec.readinessGates[0].conditionType Invalid",
                ],
            ),
            (
                json!({"ephemeralContainers": [{"name": "e", "image": " i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}]}),
                vec![
                    "spec.ephemeralContainers Forbidden",
                    "spec.ephemeralContainers[0].image Invalid",
                ],
            ),
            (
                json!({"nodeName": "n", "schedulingGates": [{"name": "g"}]}),
                vec!["spec.nodeName Forbidden"],
            ),
            (
                json!({"resourceClaims": [{"name": "a"}, {"name": "a", "resourceClaimName": "x"}]}),
                vec![
                    "spec.resourceClaims[0] Invalid",
                    "spec.resourceClaims[1].name Duplicate",
                ],
            ),
        ] {
            assert_eq!(of(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn a_template_has_labels_and_no_name() {
        let given = json!({
            "metadata": {"labels": {"a b": "c"}, "annotations": {"controller.kubernetes.io/pod-deletion-cost": "much"}},
            "spec": {"containers": [], "restartPolicy": "Always", "dnsPolicy": "Default", "ephemeralContainers": [{}]},
        });
        let all = judged(|faults| template(&Spot::new(&given, FieldPath::new("t")), faults));
        for one in [
            "t.annotations[controller.kubernetes.io/pod-deletion-cost] Invalid",
            "t.labels Invalid",
            "t.spec.containers Required",
            "t.spec.ephemeralContainers Forbidden",
        ] {
            assert!(all.iter().any(|found| found == one), "{one}: {all:?}");
        }
    }
}

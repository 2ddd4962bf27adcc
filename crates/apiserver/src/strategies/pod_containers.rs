//! Containers of a Pod: those that run, those that run before, and those that debug.

use std::collections::HashSet;

use apimachinery::name;
use serde_json::Value;

use super::pod_volumes::Volumes;
use super::spot::{Faults, Spot};
use super::{pod_env, pod_probes, pod_resources, pod_security};

/// What containers are judged against.
pub(super) struct Surroundings<'a> {
    pub spec: &'a Spot<'a>,
    pub volumes: &'a Volumes<'a>,
}

impl<'a> Surroundings<'a> {
    fn grace(&self) -> i64 {
        self.spec.int("terminationGracePeriodSeconds").unwrap_or(0)
    }

    fn claims(&self) -> Vec<&'a str> {
        self.spec
            .items("resourceClaims")
            .map(|claim| claim.text("name"))
            .collect()
    }
}

/// All containers of a specification.
pub(super) fn containers(around: &Surroundings<'_>, faults: &mut Faults) {
    let spec = around.spec;
    if spec.count("containers") == 0 {
        faults.required(&spec.at("containers"), "");
    }
    let mut names = HashSet::new();
    for one in spec.items("containers") {
        container(&one, around, faults);
        if !names.insert(one.text("name")) {
            faults.duplicate(&one.at("name"), one.text("name"));
        }
        pod_probes::probes(&one, around.grace(), faults);
        faults.choice_if_given(&one, "restartPolicy", &["Always", "Never", "OnFailure"]);
    }
    host_ports(spec.items("containers"), faults);
    for one in spec.items("initContainers") {
        container(&one, around, faults);
        let given = one.text("name");
        if names.contains(given) {
            faults.duplicate(&one.at("name"), given);
        } else if !given.is_empty() {
            names.insert(given);
        }
        // Those run one after the other, so each has the ports for itself.
        host_ports(std::iter::once(one.clone()), faults);
        faults.choice_if_given(&one, "restartPolicy", &["Always", "Never", "OnFailure"]);
        if one.text("restartPolicy") == "Always" {
            pod_probes::probes(&one, around.grace(), faults);
            continue;
        }
        for field in [
            "lifecycle",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
        ] {
            if one.has(field) {
                let detail = "may not be set for init containers without restartPolicy=Always";
                faults.forbidden(&one.at(field), detail);
            }
        }
    }
    for one in spec.items("ephemeralContainers") {
        ephemeral(&one, around, &mut names, faults);
    }
}

fn ephemeral<'a>(
    one: &Spot<'a>,
    around: &Surroundings<'a>,
    names: &mut HashSet<&'a str>,
    faults: &mut Faults,
) {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    container(one, around, faults);
    image_is_trimmed(one, faults);
    if !names.insert(one.text("name")) {
        faults.duplicate(&one.at("name"), one.text("name"));
    }
    let target = one.text("targetContainerName");
    let mut others = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| around.spec.items(list));
    if !target.is_empty() && !others.any(|other| other.text("name") == target) {
        faults.not_found(&one.at("targetContainerName"), target);
    }
    for field in [
        "ports",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
        "resizePolicy",
        "restartPolicy",
    ] {
        if one.has(field) {
            faults.forbidden(&one.at(field), DETAIL);
        }
    }
    if one.count("resources") > 0 {
        faults.forbidden(&one.at("resources"), DETAIL);
    }
    for mount in one.items("volumeMounts") {
        for field in ["subPath", "subPathExpr"] {
            if !mount.text(field).is_empty() {
                faults.forbidden(&mount.at(field), DETAIL);
            }
        }
    }
}

/// What only Pods demand of an image, not templates of them.
pub(super) fn image_is_trimmed(container: &Spot<'_>, faults: &mut Faults) {
    let image = container.text("image");
    if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        faults.invalid(&container.at("image"), image, detail);
    }
}

/// What holds for containers of every kind.
fn container(container: &Spot<'_>, around: &Surroundings<'_>, faults: &mut Faults) {
    let given = container.text("name");
    if given.is_empty() {
        faults.required(&container.at("name"), "");
    } else {
        faults.named(&container.at("name"), given, name::dns1123_label);
    }
    faults.demanded(container, &["image"]);
    faults.choice(
        container,
        "terminationMessagePolicy",
        &["File", "FallbackToLogsOnError"],
    );
    ports(container, faults);
    pod_env::environment(container, faults);
    mounts(container, around.volumes, faults);
    devices(container, around.volumes, faults);
    faults.choice(
        container,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
    );
    pod_resources::requirements(&container.child("resources"), &around.claims(), faults);
    resize_policy(container, around.spec, faults);
    pod_security::of_container(around.spec, container, faults);
}

fn ports(container: &Spot<'_>, faults: &mut Faults) {
    let mut names = HashSet::new();
    for port in container.items("ports") {
        let given = port.text("name");
        if !given.is_empty() {
            let before = faults.0.len();
            faults.named(&port.at("name"), given, name::port_name);
            if faults.0.len() == before && !names.insert(given) {
                faults.duplicate(&port.at("name"), given);
            }
        }
        match port.int("containerPort").unwrap_or(0) {
            0 => faults.required(&port.at("containerPort"), ""),
            number => faults.port(&port.at("containerPort"), number),
        }
        match port.int("hostPort").unwrap_or(0) {
            0 => {}
            number => faults.port(&port.at("hostPort"), number),
        }
        faults.choice(&port, "protocol", &["SCTP", "TCP", "UDP"]);
    }
}

/// A port of the node goes to one container.
fn host_ports<'a>(containers: impl Iterator<Item = Spot<'a>>, faults: &mut Faults) {
    let mut taken = HashSet::new();
    for container in containers {
        for port in container.items("ports") {
            let number = port.int("hostPort").unwrap_or(0);
            if number == 0 {
                continue;
            }
            let whole = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if taken.contains(&whole) {
                faults.duplicate(&port.at("hostPort"), whole);
            } else {
                taken.insert(whole);
            }
        }
    }
}

/// Names or paths in a list of mounts or devices.
fn all<'a>(container: &Spot<'a>, list: &str, field: &str) -> HashSet<&'a str> {
    container
        .items(list)
        .filter_map(|one| one.value.get(field).and_then(Value::as_str))
        .collect()
}

fn mounts(container: &Spot<'_>, volumes: &Volumes<'_>, faults: &mut Faults) {
    let devices = all(container, "volumeDevices", "name");
    let device_paths = all(container, "volumeDevices", "devicePath");
    let mut seen = HashSet::new();
    for mount in container.items("volumeMounts") {
        let (given, path) = (mount.text("name"), mount.text("mountPath"));
        faults.demanded(&mount, &["name"]);
        if !volumes.contains_key(given) {
            faults.not_found(&mount.at("name"), given);
        }
        faults.demanded(&mount, &["mountPath"]);
        if !seen.insert(path) {
            faults.invalid(&mount.at("mountPath"), path, "must be unique");
        }
        if devices.contains(given) {
            let detail = "must not already exist in volumeDevices";
            faults.invalid(&mount.at("name"), given, detail);
        }
        if device_paths.contains(path) {
            let detail = "must not already exist as a path in volumeDevices";
            faults.invalid(&mount.at("mountPath"), path, detail);
        }
        // Upstream tells what follows without the index.
        let list = container.at("volumeMounts");
        for field in ["subPath", "subPathExpr"] {
            if !mount.text(field).is_empty() {
                faults.descending(&list.child(field), mount.text(field));
            }
        }
        if !mount.text("subPath").is_empty() && !mount.text("subPathExpr").is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            faults.invalid(&mount.at("subPathExpr"), mount.text("subPathExpr"), detail);
        }
        if mount.has("mountPropagation") {
            propagation(container, mount.text("mountPropagation"), faults);
        }
        recursive_read_only(container, &mount, faults);
    }
}

fn propagation(container: &Spot<'_>, given: &str, faults: &mut Faults) {
    const KNOWN: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
    let at = container.at("volumeMounts").child("mountPropagation");
    if !KNOWN.contains(&given) {
        faults.not_supported(&at, given, &KNOWN);
    }
    if given == "Bidirectional" && !container.child("securityContext").flag("privileged") {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        faults.forbidden(&at, detail);
    }
}

fn recursive_read_only(container: &Spot<'_>, mount: &Spot<'_>, faults: &mut Faults) {
    const KNOWN: [&str; 3] = ["Disabled", "Enabled", "IfPossible"];
    let at = container.at("volumeMounts").child("recursiveReadOnly");
    match mount.text("recursiveReadOnly") {
        _ if !mount.has("recursiveReadOnly") => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                faults.forbidden(&at, "may only be specified when readOnly is true");
            }
            if !matches!(mount.text("mountPropagation"), "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                faults.forbidden(&at, detail);
            }
        }
        other => faults.not_supported(&at, other, &KNOWN),
    }
}

fn devices(container: &Spot<'_>, volumes: &Volumes<'_>, faults: &mut Faults) {
    let mounts = all(container, "volumeMounts", "name");
    let mount_paths = all(container, "volumeMounts", "mountPath");
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for device in container.items("volumeDevices") {
        let (given, path) = (device.text("name"), device.text("devicePath"));
        let (at, path_at) = (device.at("name"), device.at("devicePath"));
        faults.demanded(&device, &["name"]);
        if names.contains(given) {
            faults.invalid(&at, given, "must be unique");
        }
        match volumes.get(given) {
            None => faults.not_found(&at, given),
            Some(&"persistentVolumeClaim" | &"ephemeral") => {}
            Some(_) => faults.invalid(
                &at,
                given,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
        }
        faults.demanded(&device, &["devicePath"]);
        if paths.contains(path) {
            faults.invalid(&path_at, path, "must be unique");
        }
        if path.split('/').any(|part| part == "..") {
            faults.invalid(&path_at, path, "can not contain backsteps ('..')");
        } else {
            paths.insert(path);
        }
        if mounts.contains(given) {
            faults.invalid(&at, given, "must not already exist in volumeMounts");
        }
        if mount_paths.contains(path) {
            let detail = "must not already exist as a path in volumeMounts";
            faults.invalid(&path_at, path, detail);
        }
        if !given.is_empty() {
            names.insert(given);
        }
    }
}

fn resize_policy(container: &Spot<'_>, spec: &Spot<'_>, faults: &mut Faults) {
    let list = container.at("resizePolicy");
    let mut seen = HashSet::new();
    for policy in container.items("resizePolicy") {
        let (resource, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if !seen.insert(resource) {
            faults.duplicate(&policy.path, resource);
        }
        match resource {
            "" => faults.required(&list, ""),
            "cpu" | "memory" => {}
            other => faults.not_supported(&list, other, &["cpu", "memory"]),
        }
        match restart {
            "" => faults.required(&list, ""),
            "NotRequired" | "RestartContainer" => {}
            other => faults.not_supported(&list, other, &["NotRequired", "RestartContainer"]),
        }
        if spec.text("restartPolicy") == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            faults.invalid(&list, restart, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use apimachinery::field::FieldPath;
    use serde_json::json;

    fn of(spec: &Value) -> Vec<String> {
        let spot = Spot::new(spec, FieldPath::new("s"));
        let volumes = Volumes::from([("v", "emptyDir"), ("p", "persistentVolumeClaim")]);
        let around = Surroundings {
            spec: &spot,
            volumes: &volumes,
        };
        judged(|faults| containers(&around, faults))
    }

    /// A container that is complete but for `more`.
    fn with(more: Value) -> Value {
        let mut one = json!({
            "name": "c", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always",
        });
        if let (Some(one), Value::Object(more)) = (one.as_object_mut(), more) {
            one.extend(more);
        }
        one
    }

    #[test]
    fn a_container_is_judged_by_field() {
        for (more, expected) in [
            (json!({}), vec![]),
            (
                json!({"name": "", "image": "", "imagePullPolicy": "Odd", "terminationMessagePolicy": "Odd"}),
                vec![
                    "s.containers[0].image Required",
                    "s.containers[0].imagePullPolicy NotSupported",
                    "s.containers[0].name Required",
                    "s.containers[0].terminationMessagePolicy NotSupported",
                ],
            ),
            (
                json!({"ports": [{"name": "Bad_", "containerPort": 70000, "protocol": "ICMP"}, {}]}),
                vec![
                    "s.containers[0].ports[0].containerPort Invalid",
                    "s.containers[0].ports[0].name Invalid",
                    "s.containers[0].ports[0].protocol NotSupported",
                    "s.containers[0].ports[1].containerPort Required",
                    "s.containers[0].ports[1].protocol Required",
                ],
            ),
            (
                json!({"ports": [
                    {"containerPort": 1, "hostPort": 5, "protocol": "TCP"}, {"containerPort": 2, "hostPort": 5, "protocol": "TCP"},
                ]}),
                vec!["s.containers[0].ports[1].hostPort Duplicate"],
            ),
            (
                json!({"volumeMounts": [
                    {"name": "v", "mountPath": "/a", "subPath": "../x"}, {"name": "x", "mountPath": "/a"}, {},
                    {"name": "v", "mountPath": "/b", "mountPropagation": "Bidirectional", "recursiveReadOnly": "Enabled"},
                ]}),
                vec![
                    "s.containers[0].volumeMounts.mountPropagation Forbidden",
                    "s.containers[0].volumeMounts.recursiveReadOnly Forbidden",
                    "s.containers[0].volumeMounts.subPath Invalid",
                    "s.containers[0].volumeMounts[1].mountPath Invalid",
                    "s.containers[0].volumeMounts[1].name NotFound",
                    "s.containers[0].volumeMounts[2].mountPath Required",
                    "s.containers[0].volumeMounts[2].name NotFound",
                    "s.containers[0].volumeMounts[2].name Required",
                ],
            ),
            (
                json!({"volumeDevices": [
                    {"name": "p", "devicePath": "/dev/a"}, {"name": "v", "devicePath": "/../b"}, {"name": "x"},
                ]}),
                vec![
                    "s.containers[0].volumeDevices[1].devicePath Invalid",
                    "s.containers[0].volumeDevices[1].name Invalid",
                    "s.containers[0].volumeDevices[2].devicePath Required",
                    "s.containers[0].volumeDevices[2].name NotFound",
                ],
            ),
            (
                json!({"resizePolicy": [{"resourceName": "pods", "restartPolicy": ""}]}),
                vec![
                    "s.containers[0].resizePolicy NotSupported",
                    "s.containers[0].resizePolicy Required",
                ],
            ),
        ] {
            assert_eq!(
                of(&json!({"containers": [with(more.clone())]})),
                expected,
                "{more}"
            );
        }
        assert_eq!(of(&json!({})), ["s.containers Required"]);
    }

    #[test]
    fn names_are_unique_and_init_containers_have_no_probes() {
        let spec = json!({
            "containers": [with(json!({})), with(json!({}))],
            "initContainers": [
                with(json!({"lifecycle": {}, "livenessProbe": {}})),
                with(json!({"name": "side", "restartPolicy": "Always", "livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 1}})),
            ],
        });
        assert_eq!(
            of(&spec),
            [
                "s.containers[1].name Duplicate",
                "s.initContainers[0].lifecycle Forbidden",
                "s.initContainers[0].livenessProbe Forbidden",
                "s.initContainers[0].name Duplicate",
            ]
        );
    }

    #[test]
    fn a_container_that_debugs_has_no_part_in_the_work() {
        let debug = |more| {
            let mut one = with(json!({"name": "d"}));
            if let (Some(one), Value::Object(more)) = (one.as_object_mut(), more) {
                one.extend(more);
            }
            one
        };
        let spec = json!({
            "containers": [with(json!({}))],
            "ephemeralContainers": [
                debug(json!({"targetContainerName": "c"})),
                debug(json!({"name": "e", "targetContainerName": "x", "ports": [{"containerPort": 1, "protocol": "TCP"}]})),
            ],
        });
        assert_eq!(
            of(&spec),
            [
                "s.ephemeralContainers[1].ports Forbidden",
                "s.ephemeralContainers[1].targetContainerName NotFound",
            ]
        );
    }
}

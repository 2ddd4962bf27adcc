//! Users, groups, profiles and kernel settings of Pods and their containers.

use std::collections::HashSet;

use apimachinery::field::FieldPath;

use super::spot::{Faults, Spot};

/// Highest user and group ID.
const HIGHEST_ID: i64 = i32::MAX as i64;

fn ids(spot: &Spot<'_>, keys: &[&str], faults: &mut Faults) {
    for key in keys {
        if let Some(given) = spot.int(key) {
            id(&spot.at(key), given, faults);
        }
    }
}

fn id(at: &FieldPath, given: i64, faults: &mut Faults) {
    if !(0..=HIGHEST_ID).contains(&given) {
        let detail = format!("must be between 0 and {HIGHEST_ID}, inclusive");
        faults.invalid(at, given, detail);
    }
}

/// `securityContext` of a Pod, and what of its specification depends on it.
pub(super) fn of_pod(spec: &Spot<'_>, faults: &mut Faults) {
    if let Some(context) = spec.given("securityContext") {
        ids(&context, &["fsGroup", "runAsUser", "runAsGroup"], faults);
        for group in context.items("supplementalGroups") {
            id(&group.path, group.value.as_i64().unwrap_or(0), faults);
        }
        if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
            let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
            faults.invalid(&context.at("shareProcessNamespace"), true, detail);
        }
        kernel_settings(spec, &context, faults);
        faults.choice_if_given(
            &context,
            "fsGroupChangePolicy",
            &["Always", "OnRootMismatch"],
        );
        faults.choice_if_given(&context, "supplementalGroupsPolicy", &["Merge", "Strict"]);
        faults.choice_if_given(
            &context,
            "seLinuxChangePolicy",
            &["MountOption", "Recursive"],
        );
        seccomp(&context, faults);
        app_armor(&context, faults);
    }
    if spec.child("hostUsers").value == &serde_json::Value::Bool(false) {
        // The capitals are upstream's.
        for (field, told) in [
            ("hostNetwork", "hostNetwork"),
            ("hostPID", "HostPID"),
            ("hostIPC", "HostIPC"),
        ] {
            if spec.flag(field) {
                faults.forbidden(&spec.at(told), "when `hostUsers` is false");
            }
        }
    }
    operating_system(spec, faults);
}

/// `securityContext` of a container.
pub(super) fn of_container(spec: &Spot<'_>, container: &Spot<'_>, faults: &mut Faults) {
    let Some(context) = container.given("securityContext") else {
        return;
    };
    ids(&context, &["runAsUser", "runAsGroup"], faults);
    faults.choice_if_given(&context, "procMount", &["Default", "Unmasked"]);
    let host_users = spec.child("hostUsers").value != &serde_json::Value::Bool(false);
    if host_users && context.text("procMount") == "Unmasked" {
        let detail = "`hostUsers` must be false to use `Unmasked`";
        faults.invalid(&context.at("procMount"), "Unmasked", detail);
    }
    seccomp(&context, faults);
    app_armor(&context, faults);
    if context.value.get("allowPrivilegeEscalation") != Some(&serde_json::Value::Bool(false)) {
        return;
    }
    if context.flag("privileged") {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        faults.invalid(&context.path, context.value.clone(), detail);
    }
    for added in context.child("capabilities").items("add") {
        if added.as_text() == "CAP_SYS_ADMIN" {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            faults.invalid(&context.path, context.value.clone(), detail);
        }
    }
}

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

fn seccomp(context: &Spot<'_>, faults: &mut Faults) {
    let Some(profile) = context.given("seccompProfile") else {
        return;
    };
    faults.choice(&profile, "type", &PROFILES);
    let at = profile.at("localhostProfile");
    match (profile.text("type"), profile.has("localhostProfile")) {
        ("Localhost", false) => {
            faults.required(&at, "must be set when seccomp type is Localhost");
        }
        ("Localhost", true) => faults.descending(&at, profile.text("localhostProfile")),
        (_, true) => faults.invalid(
            &at,
            profile.value.clone(),
            "can only be set when seccomp type is Localhost",
        ),
        _ => {}
    }
}

fn app_armor(context: &Spot<'_>, faults: &mut Faults) {
    let Some(profile) = context.given("appArmorProfile") else {
        return;
    };
    let at = profile.at("localhostProfile");
    let given = profile.text("localhostProfile");
    match profile.text("type") {
        "Localhost" => {
            if given.trim() != given {
                faults.invalid(&at, given, "must not be padded with whitespace");
            } else if given.is_empty() {
                faults.required(&at, "must be set when AppArmor type is Localhost");
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if profile.has("localhostProfile") {
                let detail = "can only be set when AppArmor type is Localhost";
                faults.invalid(&at, given, detail);
            }
        }
        _ => faults.choice(&profile, "type", &PROFILES),
    }
}

fn kernel_settings(spec: &Spot<'_>, context: &Spot<'_>, faults: &mut Faults) {
    const LONGEST: usize = 253;
    let mut seen = HashSet::new();
    for setting in context.items("sysctls") {
        let at = setting.at("name");
        let given = setting.text("name");
        if given.is_empty() {
            faults.required(&at, "");
        } else if given.len() > LONGEST || !given.split(['.', '/']).all(is_segment) {
            let detail = format!(
                "must have at most {LONGEST} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            faults.invalid(&at, given, detail);
        } else if seen.contains(given) {
            faults.duplicate(&at, given);
        }
        seen.insert(given);
        let dotted = given.replace('/', ".");
        let of_ipc = dotted.starts_with("kernel.shm")
            || dotted.starts_with("kernel.msg")
            || dotted.starts_with("fs.mqueue.")
            || dotted == "kernel.sem";
        if spec.flag("hostNetwork") && dotted.starts_with("net.") {
            let detail = "may not be specified when 'hostNetwork' is true";
            faults.invalid(&at, given, detail);
        } else if spec.flag("hostIPC") && of_ipc {
            faults.invalid(&at, given, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_segment(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| plain(*b))
        && bytes.last().is_some_and(|b| plain(*b))
        && bytes.iter().all(|b| plain(*b) || matches!(b, b'-' | b'_'))
}

fn operating_system(spec: &Spot<'_>, faults: &mut Faults) {
    let Some(os) = spec.given("os") else {
        return;
    };
    match os.text("name") {
        "" => faults.required(&os.at("name"), "cannot be empty"),
        "linux" => no_windows_options(spec, faults),
        "windows" => no_linux_options(spec, faults),
        other => faults.not_supported(&os.path, other, &["linux", "windows"]),
    }
}

fn contexts<'a>(spec: &Spot<'a>) -> Vec<Spot<'a>> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| spec.items(list))
        .filter_map(|container| container.given("securityContext"))
        .collect()
}

fn no_windows_options(spec: &Spot<'_>, faults: &mut Faults) {
    let of_pod = spec.given("securityContext");
    for context in of_pod.into_iter().chain(contexts(spec)) {
        if context.has("windowsOptions") {
            let detail = "windows options cannot be set for a linux pod";
            faults.forbidden(&context.at("windowsOptions"), detail);
        }
    }
}

fn no_linux_options(spec: &Spot<'_>, faults: &mut Faults) {
    const DETAIL: &str = "cannot be set for a windows pod";
    for field in ["hostUsers", "shareProcessNamespace"] {
        if spec.has(field) {
            faults.forbidden(&spec.at(field), DETAIL);
        }
    }
    for field in ["hostPID", "hostIPC"] {
        if spec.flag(field) {
            faults.forbidden(&spec.at(field), DETAIL);
        }
    }
    let of_pod = [
        "appArmorProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "runAsGroup",
        "runAsUser",
        "seLinuxChangePolicy",
        "seLinuxOptions",
        "seccompProfile",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "sysctls",
    ];
    let of_container = [
        "allowPrivilegeEscalation",
        "appArmorProfile",
        "capabilities",
        "privileged",
        "procMount",
        "readOnlyRootFilesystem",
        "runAsGroup",
        "runAsUser",
        "seLinuxOptions",
        "seccompProfile",
    ];
    let pod = spec.child("securityContext");
    for field in of_pod.into_iter().filter(|f| pod.has(f)) {
        faults.forbidden(&pod.at(field), DETAIL);
    }
    for context in contexts(spec) {
        for field in of_container.into_iter().filter(|f| context.has(f)) {
            faults.forbidden(&context.at(field), DETAIL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spot::testing::judged;
    use super::*;
    use serde_json::{Value, json};

    fn of(spec: &Value) -> Vec<String> {
        let spot = Spot::new(spec, FieldPath::new("spec"));
        judged(|faults| {
            of_pod(&spot, faults);
            for container in spot.items("containers") {
                of_container(&spot, &container, faults);
            }
        })
    }

    #[test]
    fn contexts_are_judged_by_field() {
        for (spec, expected) in [
            (
                json!({"securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}}),
                vec![],
            ),
            (
                json!({"securityContext": {"runAsUser": -1, "fsGroup": 2_147_483_648_i64, "supplementalGroups": [-1], "fsGroupChangePolicy": "Odd"}}),
                vec![
                    "spec.securityContext.fsGroup Invalid",
                    "spec.securityContext.fsGroupChangePolicy NotSupported",
                    "spec.securityContext.runAsUser Invalid",
                    "spec.securityContext.supplementalGroups[0] Invalid",
                ],
            ),
            (
                json!({"hostNetwork": true, "securityContext": {"sysctls": [{"name": "net.core.x"}, {"name": ""}, {"name": "A"}, {"name": "net.core.x"}]}}),
                vec![
                    "spec.securityContext.sysctls[0].name Invalid",
                    "spec.securityContext.sysctls[1].name Required",
                    "spec.securityContext.sysctls[2].name Invalid",
                    "spec.securityContext.sysctls[3].name Duplicate",
                    "spec.securityContext.sysctls[3].name Invalid",
                ],
            ),
            (
                json!({"securityContext": {"seccompProfile": {"type": "Localhost"}, "appArmorProfile": {"type": ""}}}),
                vec![
                    "spec.securityContext.appArmorProfile.type Required",
                    "spec.securityContext.seccompProfile.localhostProfile Required",
                ],
            ),
            (
                json!({"containers": [{"securityContext": {"allowPrivilegeEscalation": false, "privileged": true, "procMount": "Unmasked", "runAsGroup": -5}}]}),
                vec![
                    "spec.containers[0].securityContext Invalid",
                    "spec.containers[0].securityContext.procMount Invalid",
                    "spec.containers[0].securityContext.runAsGroup Invalid",
                ],
            ),
            (
                json!({"hostUsers": false, "hostPID": true}),
                vec!["spec.HostPID Forbidden"],
            ),
            (
                json!({"os": {"name": "plan9"}}),
                vec!["spec.os NotSupported"],
            ),
            (
                json!({"os": {"name": "windows"}, "hostPID": true, "securityContext": {"fsGroup": 1}, "containers": [{"securityContext": {"privileged": false}}]}),
                vec![
                    "spec.containers[0].securityContext.privileged Forbidden",
                    "spec.hostPID Forbidden",
                    "spec.securityContext.fsGroup Forbidden",
                ],
            ),
        ] {
            assert_eq!(of(&spec), expected, "{spec}");
        }
    }
}

//! The checks of the Pod Security Standards, levels baseline and restricted.

use apimachinery::meta;
use serde_json::Value;

use super::Level;

const CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "",
];
const SYSCTLS: [&str; 13] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_mem",
];
const SELINUX_TYPES: [&str; 5] = [
    "",
    "container_engine_t",
    "container_init_t",
    "container_kvm_t",
    "container_t",
];
const RESTRICTED_VOLUMES: [&str; 9] = [
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

struct Containers<'a>(Vec<(&'a str, &'a Value)>);

impl<'a> Containers<'a> {
    fn of(pod: &'a Value) -> Self {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let all = lists.iter().flat_map(|list| {
            let list = pod.pointer(&format!("/spec/{list}"));
            list.and_then(Value::as_array).into_iter().flatten()
        });
        Containers(
            all.map(|c| (c["name"].as_str().unwrap_or_default(), c))
                .collect(),
        )
    }

    /// `container "a"`, `containers "a", "b"`: those for which `bad` holds.
    fn which(&self, bad: impl Fn(&Value) -> bool) -> Option<String> {
        let names: Vec<String> = self
            .0
            .iter()
            .filter(|(_, c)| bad(c))
            .map(|(name, _)| format!("{name:?}"))
            .collect();
        match names.len() {
            0 => None,
            1 => Some(format!("container {}", names.concat())),
            _ => Some(format!("containers {}", names.join(", "))),
        }
    }
}

fn quoted(list: &[String]) -> String {
    let list: Vec<String> = list.iter().map(|v| format!("{v:?}")).collect();
    list.join(", ")
}

/// Texts of what the Pod does beyond the level.
pub(super) fn violations(pod: &Value, level: Level) -> Vec<String> {
    let mut found = Vec::new();
    if level >= Level::Baseline {
        baseline(pod, level, &mut found);
    }
    if level >= Level::Restricted {
        restricted(pod, &mut found);
    }
    found
}

fn is_true(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer) == Some(&Value::Bool(true))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn elements<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn baseline(pod: &Value, level: Level, found: &mut Vec<String>) {
    let containers = Containers::of(pod);
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|key| is_true(pod, &format!("/spec/{key}")))
        .map(|key| format!("{key}=true"))
        .collect();
    if !shared.is_empty() {
        found.push(format!("host namespaces ({})", shared.join(", ")));
    }
    if let Some(which) = containers.which(|c| is_true(c, "/securityContext/privileged")) {
        found.push(format!(
            "privileged ({which} must not set securityContext.privileged=true)"
        ));
    }
    // The stricter check of the restricted level says more.
    if level == Level::Baseline {
        let mut added: Vec<String> = Vec::new();
        let which = containers.which(|c| {
            elements(c, "/securityContext/capabilities/add")
                .any(|v| !CAPABILITIES.contains(&v.as_str().unwrap_or("?")))
        });
        for (_, container) in &containers.0 {
            for capability in elements(container, "/securityContext/capabilities/add") {
                let capability = capability.as_str().unwrap_or("?");
                if !CAPABILITIES.contains(&capability) && !added.iter().any(|a| a == capability) {
                    added.push(capability.to_owned());
                }
            }
        }
        if let Some(which) = which {
            found.push(format!(
                "non-default capabilities ({which} must not include {} in securityContext.capabilities.add)",
                quoted(&added)
            ));
        }
        let host_paths: Vec<String> = elements(pod, "/spec/volumes")
            .filter(|v| v.get("hostPath").is_some_and(|h| !h.is_null()))
            .map(|v| text(v, "/name").to_owned())
            .collect();
        if !host_paths.is_empty() {
            let noun = if host_paths.len() == 1 {
                "volume"
            } else {
                "volumes"
            };
            found.push(format!("hostPath volumes ({noun} {})", quoted(&host_paths)));
        }
        let unconfined =
            |v: &Value| text(v, "/securityContext/seccompProfile/type") == "Unconfined";
        if unconfined(pod.get("spec").unwrap_or(&Value::Null))
            || containers.which(unconfined).is_some()
        {
            let who = containers
                .which(unconfined)
                .unwrap_or_else(|| "pod".to_owned());
            found.push(format!(
                "seccompProfile ({who} must not set securityContext.seccompProfile.type to \"Unconfined\")"
            ));
        }
    }
    if let Some(which) = containers
        .which(|c| elements(c, "/ports").any(|p| p["hostPort"].as_i64().is_some_and(|p| p != 0)))
    {
        let ports: Vec<String> = containers
            .0
            .iter()
            .flat_map(|(_, c)| elements(c, "/ports"))
            .filter_map(|p| p["hostPort"].as_i64().filter(|p| *p != 0))
            .map(|p| p.to_string())
            .collect();
        let noun = if ports.len() == 1 {
            "hostPort"
        } else {
            "hostPorts"
        };
        found.push(format!(
            "hostPort ({which} uses {noun} {})",
            ports.join(", ")
        ));
    }
    if let Some(which) =
        containers.which(|c| !matches!(text(c, "/securityContext/procMount"), "" | "Default"))
    {
        found.push(format!(
            "procMount ({which} must not set securityContext.procMount to \"Unmasked\")"
        ));
    }
    let is_host_process = |v: &Value| is_true(v, "/securityContext/windowsOptions/hostProcess");
    if is_host_process(pod.get("spec").unwrap_or(&Value::Null))
        || containers.which(is_host_process).is_some()
    {
        let who = containers
            .which(is_host_process)
            .unwrap_or_else(|| "pod".to_owned());
        found.push(format!(
            "hostProcess ({who} must not set securityContext.windowsOptions.hostProcess=true)"
        ));
    }
    let bad_selinux = |v: &Value| {
        let options = "/securityContext/seLinuxOptions";
        !SELINUX_TYPES.contains(&text(v, &format!("{options}/type")))
            || !text(v, &format!("{options}/user")).is_empty()
            || !text(v, &format!("{options}/role")).is_empty()
    };
    if bad_selinux(pod.get("spec").unwrap_or(&Value::Null))
        || containers.which(bad_selinux).is_some()
    {
        let who = containers
            .which(bad_selinux)
            .unwrap_or_else(|| "pod".to_owned());
        found.push(format!(
            "seLinuxOptions ({who} set forbidden securityContext.seLinuxOptions)"
        ));
    }
    let forbidden: Vec<String> = elements(pod, "/spec/securityContext/sysctls")
        .map(|s| text(s, "/name").to_owned())
        .filter(|name| !SYSCTLS.contains(&name.as_str()))
        .collect();
    if !forbidden.is_empty() {
        found.push(format!("forbidden sysctls ({})", forbidden.join(", ")));
    }
    apparmor(pod, &containers, found);
}

fn apparmor(pod: &Value, containers: &Containers<'_>, found: &mut Vec<String>) {
    let annotations = meta::annotations(pod).into_iter().flatten();
    let bad: Vec<String> = annotations
        .filter(|(key, value)| {
            let value = value.as_str().unwrap_or_default();
            key.starts_with("container.apparmor.security.beta.kubernetes.io/")
                && !(matches!(value, "" | "runtime/default") || value.starts_with("localhost/"))
        })
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let unconfined = |v: &Value| text(v, "/securityContext/appArmorProfile/type") == "Unconfined";
    let who = if unconfined(pod.get("spec").unwrap_or(&Value::Null)) {
        Some("pod".to_owned())
    } else {
        containers.which(unconfined)
    };
    if let Some(who) = who {
        found.push(format!(
            "forbidden AppArmor profile ({who} must not set AppArmor profile type to \"Unconfined\")"
        ));
    } else if !bad.is_empty() {
        found.push(format!("forbidden AppArmor profiles ({})", bad.join(", ")));
    }
}

fn restricted(pod: &Value, found: &mut Vec<String>) {
    let containers = Containers::of(pod);
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let windows = text(pod, "/spec/os/name") == "windows";
    if !windows {
        if let Some(which) = containers.which(|c| {
            c.pointer("/securityContext/allowPrivilegeEscalation") != Some(&Value::Bool(false))
        }) {
            found.push(format!(
                "allowPrivilegeEscalation != false ({which} must set securityContext.allowPrivilegeEscalation=false)"
            ));
        }
        let drops =
            |c: &Value| elements(c, "/securityContext/capabilities/drop").any(|v| v == "ALL");
        let adds = |c: &Value| {
            elements(c, "/securityContext/capabilities/add").any(|v| v != "NET_BIND_SERVICE")
        };
        let mut texts = Vec::new();
        if let Some(which) = containers.which(|c| !drops(c)) {
            texts.push(format!(
                "{which} must set securityContext.capabilities.drop=[\"ALL\"]"
            ));
        }
        if let Some(which) = containers.which(adds) {
            texts.push(format!(
                "{which} must not include capabilities other than \"NET_BIND_SERVICE\" in securityContext.capabilities.add"
            ));
        }
        if !texts.is_empty() {
            found.push(format!("unrestricted capabilities ({})", texts.join("; ")));
        }
    }
    let volumes: Vec<String> = elements(pod, "/spec/volumes")
        .filter(|v| {
            v.as_object().is_some_and(|map| {
                map.iter().any(|(key, value)| {
                    !value.is_null() && !RESTRICTED_VOLUMES.contains(&key.as_str())
                })
            })
        })
        .map(|v| text(v, "/name").to_owned())
        .collect();
    if !volumes.is_empty() {
        let noun = if volumes.len() == 1 {
            "volume"
        } else {
            "volumes"
        };
        found.push(format!(
            "restricted volume types ({noun} {} uses a restricted volume type)",
            quoted(&volumes)
        ));
    }
    let non_root = |v: &Value| {
        v.pointer("/securityContext/runAsNonRoot")
            .and_then(Value::as_bool)
    };
    let of_pod = non_root(spec);
    if let Some(which) = containers.which(|c| non_root(c).or(of_pod) != Some(true)) {
        found.push(format!(
            "runAsNonRoot != true (pod or {which} must set securityContext.runAsNonRoot=true)"
        ));
    }
    let as_root = |v: &Value| {
        v.pointer("/securityContext/runAsUser")
            .and_then(Value::as_i64)
            == Some(0)
    };
    if as_root(spec) {
        found.push("runAsUser=0 (pod must not set runAsUser=0)".to_owned());
    } else if let Some(which) = containers.which(as_root) {
        found.push(format!("runAsUser=0 ({which} must not set runAsUser=0)"));
    }
    if !windows {
        let profile = |v: &Value| text(v, "/securityContext/seccompProfile/type").to_owned();
        let of_pod = profile(spec);
        if let Some(which) = containers.which(|c| {
            let own = profile(c);
            let effective = if own.is_empty() { &of_pod } else { &own };
            !matches!(effective.as_str(), "RuntimeDefault" | "Localhost")
        }) {
            found.push(format!(
                "seccompProfile (pod or {which} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn baseline_texts_are_those_of_kubernetes() {
        let pod = json!({"spec": {"hostNetwork": true, "containers": [
            {"name": "a", "securityContext": {"privileged": true, "capabilities": {"add": ["NET_ADMIN"]}}}]}});
        assert_eq!(
            violations(&pod, Level::Baseline),
            [
                "host namespaces (hostNetwork=true)",
                "privileged (container \"a\" must not set securityContext.privileged=true)",
                "non-default capabilities (container \"a\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)",
            ]
        );
        assert!(violations(&pod, Level::Privileged).is_empty());
    }

    #[test]
    fn restricted_wants_four_things_of_a_plain_pod() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}]}});
        let found = violations(&pod, Level::Restricted);
        assert_eq!(found.len(), 4, "{found:?}");
        pod["spec"]["securityContext"] =
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        pod["spec"]["containers"][0]["securityContext"] =
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        assert!(violations(&pod, Level::Restricted).is_empty());
        pod["spec"]["volumes"] = json!([{"name": "h", "hostPath": {"path": "/"}}]);
        assert_eq!(violations(&pod, Level::Restricted).len(), 1);
    }
}

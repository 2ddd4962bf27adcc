//! Cells of kinds whose rows take more than a lookup.

use apimachinery::meta;
use jiff::Timestamp;
use serde_json::Value;

use super::age;
use super::builtin::{number, or, selector, text};

pub(super) fn service(object: &Value, age: Value) -> Vec<Value> {
    let ports = object.pointer("/spec/ports").and_then(Value::as_array);
    let ports: Vec<String> = ports
        .into_iter()
        .flatten()
        .map(|port| {
            let protocol = port
                .get("protocol")
                .and_then(Value::as_str)
                .unwrap_or("TCP");
            match port.get("nodePort").and_then(Value::as_i64) {
                Some(node) if node > 0 => format!("{}:{node}/{protocol}", number(port, "/port")),
                _ => format!("{}/{protocol}", number(port, "/port")),
            }
        })
        .collect();
    let ty = text(object, "/spec/type");
    let external_ips: Vec<&str> = object
        .pointer("/spec/externalIPs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let external = match ty {
        "ExternalName" => text(object, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = object
                .pointer("/status/loadBalancer/ingress")
                .and_then(Value::as_array);
            let mut all: Vec<&str> = ingress
                .into_iter()
                .flatten()
                .map(|i| match text(i, "/ip") {
                    "" => text(i, "/hostname"),
                    ip => ip,
                })
                .collect();
            all.extend(&external_ips);
            match all.as_slice() {
                [] => "<pending>".to_owned(),
                all => all.join(","),
            }
        }
        _ if !external_ips.is_empty() => external_ips.join(","),
        _ => "<none>".to_owned(),
    };
    vec![
        Value::from(ty),
        or(text(object, "/spec/clusterIP"), "<none>"),
        Value::from(external),
        or(&ports.join(","), "<none>"),
        age,
        Value::from(selector(object, "/spec/selector")),
    ]
}

pub(super) fn addresses(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in object
        .pointer("/subsets")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        for address in subset
            .get("addresses")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let ports = subset.get("ports").and_then(Value::as_array);
            if ports.is_none_or(Vec::is_empty) {
                all.push(text(address, "/ip").to_owned());
            }
            for port in ports.into_iter().flatten() {
                all.push(format!(
                    "{}:{}",
                    text(address, "/ip"),
                    number(port, "/port")
                ));
            }
        }
    }
    few(&all, "<none>")
}

/// The first three, and how many more there are.
fn few<S: AsRef<str>>(all: &[S], none: &str) -> String {
    const SHOWN: usize = 3;
    if all.is_empty() {
        return none.to_owned();
    }
    let shown: Vec<&str> = all.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match all.len().checked_sub(SHOWN) {
        None | Some(0) => shown.join(","),
        Some(more) => format!("{} + {more} more...", shown.join(",")),
    }
}

pub(super) fn slice_ports(object: &Value) -> String {
    let ports = object.pointer("/ports").and_then(Value::as_array);
    let ports: Vec<String> = ports
        .into_iter()
        .flatten()
        .map(|p| match p.get("port").and_then(Value::as_i64) {
            Some(port) => port.to_string(),
            None => "*".to_owned(),
        })
        .collect();
    few(&ports, "<unset>")
}

pub(super) fn slice_addresses(object: &Value) -> String {
    let endpoints = object.pointer("/endpoints").and_then(Value::as_array);
    let all: Vec<&str> = endpoints
        .into_iter()
        .flatten()
        .filter_map(|e| e.get("addresses")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    few(&all, "<unset>")
}

pub(super) fn access_modes(object: &Value, pointer: &str) -> String {
    let modes = object.pointer(pointer).and_then(Value::as_array);
    let modes: Vec<&str> = modes
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|mode| match mode {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            "ReadWriteOncePod" => "RWOP",
            other => other,
        })
        .collect();
    modes.join(",")
}

pub(super) fn claim(object: &Value, age: Value) -> Vec<Value> {
    let phase = if meta::is_deleting(object) {
        "Terminating"
    } else {
        text(object, "/status/phase")
    };
    let bound = !text(object, "/spec/volumeName").is_empty();
    vec![
        Value::from(phase),
        Value::from(text(object, "/spec/volumeName")),
        Value::from(if bound {
            text(object, "/status/capacity/storage")
        } else {
            ""
        }),
        Value::from(if bound {
            access_modes(object, "/status/accessModes")
        } else {
            String::new()
        }),
        Value::from(text(object, "/spec/storageClassName")),
        or(text(object, "/spec/volumeAttributesClassName"), "<unset>"),
        age,
        or(text(object, "/spec/volumeMode"), "<unset>"),
    ]
}

pub(super) fn volume(object: &Value, age: Value) -> Vec<Value> {
    let phase = if meta::is_deleting(object) {
        "Terminating"
    } else {
        text(object, "/status/phase")
    };
    let claim = match text(object, "/spec/claimRef/name") {
        "" => String::new(),
        name => format!("{}/{name}", text(object, "/spec/claimRef/namespace")),
    };
    vec![
        Value::from(text(object, "/spec/capacity/storage")),
        Value::from(access_modes(object, "/spec/accessModes")),
        Value::from(text(object, "/spec/persistentVolumeReclaimPolicy")),
        Value::from(phase),
        Value::from(claim),
        Value::from(text(object, "/spec/storageClassName")),
        or(text(object, "/spec/volumeAttributesClassName"), "<unset>"),
        Value::from(text(object, "/status/reason")),
        age,
        or(text(object, "/spec/volumeMode"), "<unset>"),
    ]
}

pub(super) fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let either = |a: &str, b: &str| {
        let first = text(object, a);
        (if first.is_empty() {
            text(object, b)
        } else {
            first
        })
        .to_owned()
    };
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let micro = text(object, "/eventTime");
    let last = time(&either("/lastTimestamp", "/deprecatedLastTimestamp"))
        .or_else(|| time(text(object, "/series/lastObservedTime")))
        .or_else(|| time(micro));
    let first =
        time(&either("/firstTimestamp", "/deprecatedFirstTimestamp")).or_else(|| time(micro));
    let kind = either("/involvedObject/kind", "/regarding/kind").to_lowercase();
    let source = match either("/source/component", "/deprecatedSource/component") {
        s if s.is_empty() => either("/reportingComponent", "/reportingController"),
        s => s,
    };
    let counted = [
        number(object, "/count"),
        number(object, "/deprecatedCount"),
        number(object, "/series/count"),
    ]
    .into_iter()
    .max()
    .unwrap_or(0)
    .max(1);
    vec![
        age(last, now),
        Value::from(text(object, "/type")),
        Value::from(text(object, "/reason")),
        Value::from(format!(
            "{kind}/{}",
            either("/involvedObject/name", "/regarding/name")
        )),
        Value::from(either("/involvedObject/fieldPath", "/regarding/fieldPath")),
        Value::from(source),
        Value::from(either("/message", "/note").trim()),
        age(first, now),
        Value::from(counted),
        Value::from(meta::name(object).unwrap_or_default()),
    ]
}

pub(super) fn quota(object: &Value, prefix: &str) -> String {
    let hard = object.pointer("/status/hard").and_then(Value::as_object);
    let limits = prefix == "limits.";
    let parts: Vec<String> = hard
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with("limits.") == limits)
        .map(|(key, value)| {
            let used = object
                .pointer("/status/used")
                .and_then(|u| u.get(key))
                .and_then(Value::as_str)
                .unwrap_or("0");
            format!("{key}: {used}/{}", value.as_str().unwrap_or_default())
        })
        .collect();
    parts.join(", ")
}

pub(super) fn binding(object: &Value, age: Value) -> Vec<Value> {
    let of = |kind: &str| {
        let subjects = object.pointer("/subjects").and_then(Value::as_array);
        let names: Vec<String> = subjects
            .into_iter()
            .flatten()
            .filter(|s| text(s, "/kind") == kind)
            .map(|s| {
                if kind == "ServiceAccount" {
                    format!("{}/{}", text(s, "/namespace"), text(s, "/name"))
                } else {
                    text(s, "/name").to_owned()
                }
            })
            .collect();
        Value::from(names.join(", "))
    };
    let role = format!(
        "{}/{}",
        text(object, "/roleRef/kind"),
        text(object, "/roleRef/name")
    );
    vec![
        Value::from(role),
        age,
        of("User"),
        of("Group"),
        of("ServiceAccount"),
    ]
}

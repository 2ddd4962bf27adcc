//! What a Service must be like.

use std::collections::HashSet;
use std::net::IpAddr;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::selector::label_errors;
use serde_json::Value;

use super::address::cidr;
use super::fields::{list, text};
use super::ingress_rules;
use super::spot::{Faults, Spot};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Everything wrong with a Service, in kube-apiserver's order.
pub(super) fn service(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = FieldPath::new("spec");
    if let Some(old) = old {
        fixed(object, old, &spec, &mut errors);
    }
    let ty = text(object, "/spec/type");
    let headless = text(object, "/spec/clusterIP") == "None";
    let count = list(object, "/spec/ports").count();
    if count == 0 && !headless && ty != "ExternalName" {
        errors.push(FieldError::required(&spec.child("ports"), ""));
    }
    of_type(object, ty, headless, &spec, &mut errors);
    ports(object, count, &spec.child("ports"), &mut errors);
    if let Some(labels) = object.pointer("/spec/selector").and_then(Value::as_object) {
        errors.extend(label_errors(labels, &spec.child("selector")));
    }
    affinity(object, &spec, &mut errors);
    addresses(object, headless, ty, &spec, &mut errors);
    if !TYPES.contains(&ty) {
        errors.push(FieldError::not_supported(&spec.child("type"), ty, &TYPES));
    }
    node_ports(object, ty, &spec.child("ports"), &mut errors);
    load_balancer(object, ty, &spec, &mut errors);
    policies(object, ty, &spec, &mut errors);
    const NEAR: [&str; 3] = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    let mut faults = Faults::default();
    faults.choice_if_given(&Spot::of(object, "spec"), "trafficDistribution", &NEAR);
    errors.extend(faults.0);
    errors
}

/// Addresses of a balancer: only a Service that wants one has them.
pub(super) fn status(object: &Value, faults: &mut Faults) {
    let status = Spot::of(object, "status");
    let ingress = status.child("loadBalancer").child("ingress");
    let wanted = text(object, "/spec/type") == "LoadBalancer";
    if !wanted
        && ingress
            .value
            .as_array()
            .is_some_and(|list| !list.is_empty())
    {
        let detail = "may only be used when `spec.type` is 'LoadBalancer'";
        faults.forbidden(&ingress.path, detail);
        return;
    }
    ingress_rules::balanced(&status, faults);
    for one in status.child("loadBalancer").items("ingress") {
        if one.has("ipMode") && one.text("ip").is_empty() {
            let detail = "may not be specified when `ip` is not set";
            faults.forbidden(&one.at("ipMode"), detail);
        } else {
            faults.choice_if_given(&one, "ipMode", &["Proxy", "VIP"]);
        }
    }
}

/// What may not change while the Service is what it is.
fn fixed(object: &Value, old: &Value, spec: &FieldPath, errors: &mut Vec<FieldError>) {
    let (ty, before) = (text(object, "/spec/type"), text(old, "/spec/type"));
    let address = text(object, "/spec/clusterIP");
    if before != "ExternalName" && ty != "ExternalName" && text(old, "/spec/clusterIP") != address {
        errors.push(FieldError::invalid(
            &spec.child("clusterIPs").index(0),
            address,
            "may not change once set",
        ));
    }
    let check = "/spec/healthCheckNodePort";
    if super::node_ports::needs_health_check(old)
        && super::node_ports::needs_health_check(object)
        && object.pointer(check) != old.pointer(check)
    {
        let at = spec.child("healthCheckNodePort");
        errors.push(FieldError::forbidden(&at, "field is immutable"));
    }
    let class = "/spec/loadBalancerClass";
    if (ty, before) == ("LoadBalancer", "LoadBalancer")
        && object.pointer(class) != old.pointer(class)
    {
        errors.push(FieldError::invalid(
            &spec.child("loadBalancerClass"),
            text(object, class),
            "may not change once set",
        ));
    }
}

fn of_type(
    object: &Value,
    ty: &str,
    headless: bool,
    spec: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    match ty {
        "LoadBalancer" | "NodePort" if headless => {
            errors.push(FieldError::invalid(
                &spec.child("clusterIPs").index(0),
                "None",
                format!("may not be set to 'None' for {ty} services"),
            ));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let given = object.pointer(&format!("/spec/{field}"));
                let also = field == "clusterIPs" && !text(object, "/spec/clusterIP").is_empty();
                if also || given.is_some_and(|v| !v.is_null() && *v != serde_json::json!([])) {
                    errors.push(FieldError::forbidden(
                        &spec.child(field),
                        "may not be set for ExternalName services",
                    ));
                }
            }
            let at = spec.child("externalName");
            // The value (a CNAME) may have a trailing dot to denote it as fully qualified.
            let given = text(object, "/spec/externalName");
            let external = given.strip_suffix('.').unwrap_or(given);
            if external.is_empty() {
                errors.push(FieldError::required(&at, ""));
            } else {
                for detail in name::dns1123_subdomain(external) {
                    errors.push(FieldError::invalid(&at, external, detail));
                }
            }
        }
        _ => {}
    }
}

fn affinity(object: &Value, spec: &FieldPath, errors: &mut Vec<FieldError>) {
    const DAY: i64 = 86_400;
    let affinity = text(object, "/spec/sessionAffinity");
    if !matches!(affinity, "None" | "ClientIP") {
        errors.push(FieldError::not_supported(
            &spec.child("sessionAffinity"),
            affinity,
            &["ClientIP", "None"],
        ));
    }
    let timeout = object
        .pointer("/spec/sessionAffinityConfig/clientIP/timeoutSeconds")
        .and_then(Value::as_i64);
    if let Some(seconds) = timeout.filter(|s| affinity == "ClientIP" && !(1..=DAY).contains(s)) {
        errors.push(FieldError::invalid(
            &spec
                .child("sessionAffinityConfig")
                .child("clientIP")
                .child("timeoutSeconds"),
            seconds,
            format!("must be greater than 0 and less than {DAY}"),
        ));
    }
}

fn addresses(
    object: &Value,
    headless: bool,
    ty: &str,
    spec: &FieldPath,
    errors: &mut Vec<FieldError>,
) {
    const NOT_AN_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
    const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if ty != "ExternalName" {
        for (index, family) in list(object, "/spec/ipFamilies")
            .filter_map(Value::as_str)
            .enumerate()
        {
            if !FAMILIES.contains(&family) {
                errors.push(FieldError::not_supported(
                    &spec.child("ipFamilies").index(index),
                    family,
                    &FAMILIES,
                ));
            }
        }
        let policy = text(object, "/spec/ipFamilyPolicy");
        if !policy.is_empty() && !POLICIES.contains(&policy) {
            errors.push(FieldError::not_supported(
                &spec.child("ipFamilyPolicy"),
                policy,
                &POLICIES,
            ));
        }
        let address = text(object, "/spec/clusterIP");
        let at = spec.child("clusterIPs").index(0);
        if !address.is_empty() && !headless && address.parse::<IpAddr>().is_err() {
            errors.push(FieldError::invalid(&at, address, NOT_AN_ADDRESS));
        }
    }
    for (index, ip) in list(object, "/spec/externalIPs").enumerate() {
        let at = spec.child("externalIPs").index(index);
        let given = ip.as_str().unwrap_or_default();
        match given.parse::<IpAddr>() {
            Ok(ip) => super::endpoints::reachable(ip, given, &at, errors),
            Err(_) => errors.push(FieldError::invalid(&at, given, NOT_AN_ADDRESS)),
        }
    }
}

fn node_ports(object: &Value, ty: &str, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut used = HashSet::new();
    for (index, port) in list(object, "/spec/ports").enumerate() {
        let at = path.index(index).child("nodePort");
        let number = port.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
        if number == 0 {
            continue;
        }
        if ty == "ClusterIP" {
            errors.push(FieldError::forbidden(
                &at,
                "may not be used when `type` is 'ClusterIP'",
            ));
        }
        if !used.insert((number, text(port, "/protocol"))) {
            errors.push(FieldError::duplicate(&at, number));
        }
    }
    let mut used = HashSet::new();
    for (index, port) in list(object, "/spec/ports").enumerate() {
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        let protocol = text(port, "/protocol");
        if !used.insert((number, protocol)) {
            errors.push(FieldError::duplicate(
                &path.index(index),
                serde_json::json!({"protocol": protocol, "port": number}),
            ));
        }
    }
}

fn load_balancer(object: &Value, ty: &str, spec: &FieldPath, errors: &mut Vec<FieldError>) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    // The capital is upstream's.
    let ranges = spec.child("LoadBalancerSourceRanges");
    let given: Vec<&str> = list(object, "/spec/loadBalancerSourceRanges")
        .filter_map(Value::as_str)
        .collect();
    if !given.is_empty() {
        if ty != "LoadBalancer" {
            errors.push(FieldError::forbidden(&ranges, ONLY));
        }
        for (index, range) in given.iter().enumerate() {
            if cidr(range.trim()).is_none() {
                errors.push(FieldError::invalid(
                    &ranges.index(index),
                    *range,
                    "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                ));
            }
        }
    }
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        let given = object.pointer(&format!("/spec/{field}"));
        if ty != "LoadBalancer" && given.is_some_and(|v| !v.is_null()) {
            errors.push(FieldError::forbidden(&spec.child(field), ONLY));
        }
    }
    let class = text(object, "/spec/loadBalancerClass");
    if ty == "LoadBalancer" && !class.is_empty() {
        for detail in name::qualified_name(class) {
            errors.push(FieldError::invalid(
                &spec.child("loadBalancerClass"),
                class,
                detail,
            ));
        }
    }
}

fn policies(object: &Value, ty: &str, spec: &FieldPath, errors: &mut Vec<FieldError>) {
    const KNOWN: [&str; 2] = ["Cluster", "Local"];
    let external = text(object, "/spec/externalTrafficPolicy");
    let accessible = matches!(ty, "NodePort" | "LoadBalancer")
        || (ty == "ClusterIP" && list(object, "/spec/externalIPs").next().is_some());
    let at = spec.child("externalTrafficPolicy");
    if !external.is_empty() && !KNOWN.contains(&external) {
        errors.push(FieldError::not_supported(&at, external, &KNOWN));
    }
    if !external.is_empty() && !accessible {
        errors.push(FieldError::invalid(
            &at,
            external,
            "may only be set for externally-accessible services",
        ));
    }
    let check = object
        .pointer("/spec/healthCheckNodePort")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if check != 0 && !(ty == "LoadBalancer" && external == "Local") {
        errors.push(FieldError::invalid(
            &spec.child("healthCheckNodePort"),
            check,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ));
    }
    let internal = text(object, "/spec/internalTrafficPolicy");
    if !internal.is_empty() && !KNOWN.contains(&internal) {
        errors.push(FieldError::not_supported(
            &spec.child("internalTrafficPolicy"),
            internal,
            &KNOWN,
        ));
    }
}

fn ports(object: &Value, count: usize, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut names = HashSet::new();
    for (index, port) in list(object, "/spec/ports").enumerate() {
        let at = path.index(index);
        let given = text(port, "/name");
        if given.is_empty() && count > 1 {
            errors.push(FieldError::required(&at.child("name"), ""));
        }
        if !given.is_empty() {
            for detail in name::dns1123_label(given) {
                errors.push(FieldError::invalid(&at.child("name"), given, detail));
            }
            if !names.insert(given) {
                errors.push(FieldError::duplicate(&at.child("name"), given));
            }
        }
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        if !(1..=65535).contains(&number) {
            errors.push(FieldError::invalid(
                &at.child("port"),
                number,
                "must be between 1 and 65535, inclusive",
            ));
        }
        let protocol = text(port, "/protocol");
        if !PROTOCOLS.contains(&protocol) {
            errors.push(FieldError::not_supported(
                &at.child("protocol"),
                protocol,
                &PROTOCOLS,
            ));
        }
        match port.get("targetPort") {
            Some(Value::Number(n)) if !n.as_i64().is_some_and(|n| (1..=65535).contains(&n)) => {
                errors.push(FieldError::invalid(
                    &at.child("targetPort"),
                    n.as_i64().unwrap_or(0),
                    "must be between 1 and 65535, inclusive",
                ));
            }
            Some(Value::String(target)) => {
                for detail in name::port_name(target) {
                    errors.push(FieldError::invalid(
                        &at.child("targetPort"),
                        target.as_str(),
                        detail,
                    ));
                }
            }
            _ => {}
        }
        super::endpoints::app_protocol(port, &at, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(spec: &Value, old: Option<&Value>) -> Vec<String> {
        let object = json!({"spec": spec});
        let old = old.map(|spec| json!({"spec": spec}));
        service(&object, old.as_ref())
            .iter()
            .map(|e| e.path.to_string())
            .collect()
    }

    #[test]
    fn only_balanced_services_have_addresses_outside() {
        use super::super::spot::testing::judged;
        let of = |ty: &str, one: Value| {
            let object =
                json!({"spec": {"type": ty}, "status": {"loadBalancer": {"ingress": [one]}}});
            judged(|faults| status(&object, faults))
        };
        assert!(of("LoadBalancer", json!({"ip": "192.0.2.1", "ipMode": "VIP"})).is_empty());
        assert_eq!(
            of("ClusterIP", json!({"ip": "192.0.2.1"})),
            ["status.loadBalancer.ingress Forbidden"]
        );
        assert_eq!(
            of("LoadBalancer", json!({"hostname": "A_", "ipMode": "VIP"})),
            [
                "status.loadBalancer.ingress[0].hostname Invalid",
                "status.loadBalancer.ingress[0].ipMode Forbidden",
            ]
        );
    }

    #[test]
    fn parts_of_other_types_are_refused() {
        let base = |ty: &str, more: Value| {
            let mut spec = json!({
                "type": ty, "clusterIP": "10.96.0.1", "sessionAffinity": "None",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            });
            if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
                spec.extend(more);
            }
            spec
        };
        assert!(fields(&base("ClusterIP", json!({})), None).is_empty());
        assert_eq!(
            fields(
                &base(
                    "ClusterIP",
                    json!({
                        "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}],
                        "loadBalancerSourceRanges": ["10.0.0.0/99"], "loadBalancerClass": "a/b",
                        "externalTrafficPolicy": "Local", "healthCheckNodePort": 5,
                        "internalTrafficPolicy": "Odd", "externalIPs": [],
                    })
                ),
                None
            ),
            [
                "spec.ports[0].nodePort",
                "spec.LoadBalancerSourceRanges",
                "spec.LoadBalancerSourceRanges[0]",
                "spec.loadBalancerClass",
                "spec.externalTrafficPolicy",
                "spec.healthCheckNodePort",
                "spec.internalTrafficPolicy",
            ]
        );
        assert_eq!(
            fields(
                &base(
                    "NodePort",
                    json!({
                        "sessionAffinity": "ClientIP",
                        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}},
                        "externalIPs": ["127.0.0.1", "x"],
                        "ports": [
                            {"name": "a", "port": 80, "protocol": "TCP", "nodePort": 30000},
                            {"name": "b", "port": 81, "protocol": "TCP", "nodePort": 30000},
                        ],
                    })
                ),
                None
            ),
            [
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                "spec.externalIPs[0]",
                "spec.externalIPs[1]",
                "spec.ports[1].nodePort",
            ]
        );
        assert_eq!(
            fields(
                &base("LoadBalancer", json!({"loadBalancerClass": "a/b"})),
                Some(&base("LoadBalancer", json!({"loadBalancerClass": "a/c"})))
            ),
            ["spec.loadBalancerClass"]
        );
    }
}

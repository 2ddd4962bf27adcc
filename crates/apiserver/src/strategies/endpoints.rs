//! Endpoints and EndpointSlices: addresses that can be reached from other machines, ports with distinct names.

use std::collections::HashSet;
use std::net::IpAddr;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::fields::{default, default_text, immutable, list, text};
use super::spot::{Faults, Spot};
use crate::strategy::{Context, Strategy};

/// `discovery.k8s.io/v1` bounds.
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const NOT_AN_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

pub(super) struct Endpoints;
pub(super) struct EndpointSlice;

fn complete_ports(ports: Option<&mut Value>, named: bool) {
    for port in ports
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default_text(port, "protocol", "TCP");
        if named {
            default(port, "name", "");
        }
    }
}

fn complete_slice(object: &mut Value) {
    for endpoint in object
        .get_mut("endpoints")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default(endpoint, "conditions", json!({}));
    }
    complete_ports(object.get_mut("ports"), true);
}

#[async_trait]
impl Strategy for EndpointSlice {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete_slice(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete_slice(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
        let mut errors = Vec::new();
        let ty = text(object, "/addressType");
        let at = FieldPath::new("addressType");
        if ty.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if !TYPES.contains(&ty) {
            errors.push(FieldError::not_supported(&at, ty, &TYPES));
        }
        endpoints(object, ty, &mut errors);
        slice_ports(object, &mut errors);
        if let Some(old) = old {
            immutable(object, old, &["/addressType"], &mut errors);
        }
        Ok(errors)
    }
}

fn endpoints(object: &Value, ty: &str, errors: &mut Vec<FieldError>) {
    let path = FieldPath::new("endpoints");
    let count = list(object, "/endpoints").count();
    if count > MAX_ENDPOINTS {
        errors.push(FieldError::too_many(&path, count, MAX_ENDPOINTS));
        return;
    }
    for (index, endpoint) in list(object, "/endpoints").enumerate() {
        let at = path.index(index);
        let addresses = at.child("addresses");
        let count = list(endpoint, "/addresses").count();
        if count == 0 {
            errors.push(FieldError::required(
                &addresses,
                "must contain at least 1 address",
            ));
        } else if count > MAX_ADDRESSES {
            errors.push(FieldError::too_many(&addresses, count, MAX_ADDRESSES));
        }
        for (index, address) in list(endpoint, "/addresses").enumerate() {
            let address = address.as_str().unwrap_or_default();
            of_type(address, ty, &addresses.index(index), errors);
        }
        let node = text(endpoint, "/nodeName");
        if !node.is_empty() {
            for detail in name::dns1123_subdomain(node) {
                errors.push(FieldError::invalid(&at.child("nodeName"), node, detail));
            }
        }
        host_name(endpoint, &at, errors);
        let mut faults = Faults::default();
        topology(&Spot::new(endpoint, at), &mut faults);
        errors.extend(faults.0);
    }
}

/// Where an endpoint is, and who should use it.
fn topology(endpoint: &Spot<'_>, faults: &mut Faults) {
    const LABELS: usize = 16;
    const HINTS: usize = 8;
    let count = endpoint.count("deprecatedTopology");
    if count > LABELS {
        let at = endpoint.at("deprecatedTopology");
        faults.0.push(FieldError::too_many(&at, count, LABELS));
    }
    faults.labels(endpoint, "deprecatedTopology");
    let hints = endpoint.child("hints");
    for list in ["forZones", "forNodes"] {
        let count = hints.count(list);
        if count > HINTS {
            let at = hints.at(list);
            faults.0.push(FieldError::too_many(&at, count, HINTS));
            continue;
        }
        let mut seen = HashSet::new();
        for hint in hints.items(list) {
            let given = hint.text("name");
            if !seen.insert(given) {
                faults.duplicate(&hint.at("name"), given);
            }
            faults.named(&hint.at("name"), given, name::label_value);
        }
    }
}

fn host_name(endpoint: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    if let Some(host) = endpoint.get("hostname").and_then(Value::as_str) {
        for detail in name::dns1123_label(host) {
            errors.push(FieldError::invalid(&at.child("hostname"), host, detail));
        }
    }
}

fn of_type(address: &str, ty: &str, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let parsed = address.parse::<IpAddr>();
    match (ty, parsed) {
        ("IPv4", Ok(ip @ IpAddr::V4(_))) | ("IPv6", Ok(ip @ IpAddr::V6(_))) => {
            reachable(ip, address, at, errors);
        }
        ("IPv4", _) => errors.push(FieldError::invalid(
            at,
            address,
            "must be a valid IPv4 address",
        )),
        ("IPv6", _) => errors.push(FieldError::invalid(
            at,
            address,
            "must be a valid IPv6 address",
        )),
        ("FQDN", _) => {
            for detail in name::dns1123_subdomain(address.trim_end_matches('.')) {
                errors.push(FieldError::invalid(at, address, detail));
            }
            if !address.trim_end_matches('.').contains('.') {
                let detail = "should be a domain with at least two segments separated by dots";
                errors.push(FieldError::invalid(at, address, detail));
            }
        }
        _ => {}
    }
}

/// Refuses addresses that mean something else on every machine (`ValidateNonSpecialIP`).
pub(super) fn reachable(ip: IpAddr, given: &str, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut wrong = |detail: String| errors.push(FieldError::invalid(at, given, detail));
    let (local, local_multicast) = match ip {
        IpAddr::V4(ip) => (
            ip.is_link_local(),
            ip.octets().first_chunk() == Some(&[224, 0, 0]),
        ),
        IpAddr::V6(ip) => (
            ip.is_unicast_link_local(),
            ip.segments().first().is_some_and(|s| s & 0xff0f == 0xff02),
        ),
    };
    if ip.is_unspecified() {
        wrong(format!("may not be unspecified ({given})"));
    }
    if ip.is_loopback() {
        wrong("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    if local {
        wrong("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    if local_multicast {
        wrong("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
}

fn slice_ports(object: &Value, errors: &mut Vec<FieldError>) {
    let path = FieldPath::new("ports");
    let count = list(object, "/ports").count();
    if count > MAX_PORTS {
        errors.push(FieldError::too_many(&path, count, MAX_PORTS));
        return;
    }
    let mut names = HashSet::new();
    for (index, port) in list(object, "/ports").enumerate() {
        let at = path.index(index);
        let given = text(port, "/name");
        if !given.is_empty() {
            for detail in name::dns1123_label(given) {
                errors.push(FieldError::invalid(&at.child("name"), given, detail));
            }
        }
        if !names.insert(given) {
            errors.push(FieldError::duplicate(&at.child("name"), given));
        }
        if let Some(number) = port.get("port").and_then(Value::as_i64) {
            number_of(number, &at.child("port"), errors);
        }
        protocol(port, &at, errors);
        app_protocol(port, &at, errors);
    }
}

fn number_of(number: i64, at: &FieldPath, errors: &mut Vec<FieldError>) {
    if !(1..=65535).contains(&number) {
        errors.push(FieldError::invalid(
            at,
            number,
            "must be between 1 and 65535, inclusive",
        ));
    }
}

fn protocol(port: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let given = text(port, "/protocol");
    if !PROTOCOLS.contains(&given) {
        errors.push(FieldError::not_supported(
            &at.child("protocol"),
            given,
            &PROTOCOLS,
        ));
    }
}

/// `appProtocol` is a qualified name.
pub(super) fn app_protocol(port: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    if let Some(given) = port.get("appProtocol").and_then(Value::as_str) {
        for detail in name::qualified_name(given) {
            errors.push(FieldError::invalid(&at.child("appProtocol"), given, detail));
        }
    }
}

fn complete_endpoints(object: &mut Value) {
    for subset in object
        .get_mut("subsets")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        complete_ports(subset.get_mut("ports"), false);
    }
}

#[async_trait]
impl Strategy for Endpoints {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete_endpoints(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete_endpoints(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        for (index, subset) in list(object, "/subsets").enumerate() {
            self::subset(subset, &FieldPath::new("subsets").index(index), &mut errors);
        }
        Ok(errors)
    }
}

fn subset(subset: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let lists = ["addresses", "notReadyAddresses"];
    if lists
        .iter()
        .all(|l| list(subset, &format!("/{l}")).next().is_none())
    {
        errors.push(FieldError::required(
            at,
            "must specify `addresses` or `notReadyAddresses`",
        ));
    }
    for field in lists {
        for (index, address) in list(subset, &format!("/{field}")).enumerate() {
            let at = at.child(field).index(index);
            let given = text(address, "/ip");
            if let Some(node) = address.get("nodeName").and_then(Value::as_str) {
                for detail in name::dns1123_subdomain(node) {
                    errors.push(FieldError::invalid(&at.child("nodeName"), node, detail));
                }
            }
            match given.parse::<IpAddr>() {
                Ok(ip) => {
                    host_name(address, &at, errors);
                    reachable(ip, given, &at.child("ip"), errors);
                }
                Err(_) => {
                    errors.push(FieldError::invalid(&at.child("ip"), given, NOT_AN_ADDRESS));
                    host_name(address, &at, errors);
                }
            }
        }
    }
    let several = list(subset, "/ports").count() > 1;
    for (index, port) in list(subset, "/ports").enumerate() {
        let at = at.child("ports").index(index);
        let given = text(port, "/name");
        if several && given.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if !given.is_empty() {
            for detail in name::dns1123_label(given) {
                errors.push(FieldError::invalid(&at.child("name"), given, detail));
            }
        }
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        number_of(number, &at.child("port"), errors);
        protocol(port, &at, errors);
        app_protocol(port, &at, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(errors: &[FieldError]) -> Vec<&str> {
        errors.iter().map(|e| e.path.as_str()).collect()
    }

    #[test]
    fn subsets_are_judged_by_field() {
        let mut errors = Vec::new();
        let given = json!({
            "addresses": [{"ip": "127.0.0.1"}, {"ip": "x"}, {"ip": "10.0.0.1", "hostname": "A_"}],
            "ports": [{"port": 0, "protocol": "X"}, {"name": "ok", "port": 80, "protocol": "TCP"}],
        });
        subset(&given, &FieldPath::new("subsets").index(0), &mut errors);
        assert_eq!(
            fields(&errors),
            [
                "subsets[0].addresses[0].ip",
                "subsets[0].addresses[1].ip",
                "subsets[0].addresses[2].hostname",
                "subsets[0].ports[0].name",
                "subsets[0].ports[0].port",
                "subsets[0].ports[0].protocol",
            ]
        );
        let mut errors = Vec::new();
        subset(&json!({}), &FieldPath::new("subsets").index(1), &mut errors);
        assert_eq!(fields(&errors), ["subsets[1]"]);
    }

    #[test]
    fn slices_are_judged_by_their_address_type() {
        let object = json!({
            "endpoints": [{"addresses": ["192.0.2.1", "::1"]}, {"addresses": []}],
            "ports": [{"name": "", "protocol": "TCP"}, {"name": "", "port": 70000, "protocol": "TCP"}],
        });
        let mut errors = Vec::new();
        endpoints(&object, "IPv4", &mut errors);
        slice_ports(&object, &mut errors);
        assert_eq!(
            fields(&errors),
            [
                "endpoints[0].addresses[1]",
                "endpoints[1].addresses",
                "ports[1].name",
                "ports[1].port",
            ]
        );
    }
}

//! NetworkPolicies: policy types, protocols, and peers that say one thing.

use std::net::IpAddr;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::name;
use apimachinery::selector::label_selector_errors;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::address::cidr;
use super::fields::{child, default, default_text, list, text};
use crate::strategy::{Context, Strategy};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const TYPES: [&str; 2] = ["Egress", "Ingress"];
const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

pub(super) struct NetworkPolicy;

fn complete(object: &mut Value) {
    let Some(spec) = child(object, "spec") else {
        return;
    };
    let mut types = vec!["Ingress"];
    if spec.contains_key("egress") {
        types.push("Egress");
    }
    default(spec, "policyTypes", json!(types));
    for side in ["ingress", "egress"] {
        for rule in spec
            .get_mut(side)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let ports = rule.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
                default_text(port, "protocol", "TCP");
            }
        }
    }
}

#[async_trait]
impl Strategy for NetworkPolicy {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        complete(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        Ok(judge(object))
    }
}

fn judge(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = FieldPath::new("spec");
    if let Some(selector) = object.pointer("/spec/podSelector") {
        errors.extend(label_selector_errors(selector, &spec.child("podSelector")));
    }
    for (side, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in list(object, &format!("/spec/{side}")).enumerate() {
            let at = spec.child(side).index(i);
            for (j, one) in list(rule, "/ports").enumerate() {
                port(one, &at.child("ports").index(j), &mut errors);
            }
            for (j, one) in list(rule, &format!("/{peers}")).enumerate() {
                peer(one, &at.child(peers).index(j), &mut errors);
            }
        }
    }
    let types = spec.child("policyTypes");
    let given: Vec<&str> = list(object, "/spec/policyTypes")
        .filter_map(Value::as_str)
        .collect();
    if given.len() > TYPES.len() {
        errors.push(FieldError::invalid(
            &types,
            json!(given),
            "may not specify more than two policyTypes",
        ));
        return errors;
    }
    for (index, ty) in given.iter().enumerate() {
        if !TYPES.contains(ty) {
            errors.push(FieldError::not_supported(&types.index(index), *ty, &TYPES));
        }
    }
    errors
}

fn port(port: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let protocol = text(port, "/protocol");
    if !protocol.is_empty() && !PROTOCOLS.contains(&protocol) {
        errors.push(FieldError::not_supported(
            &at.child("protocol"),
            protocol,
            &PROTOCOLS,
        ));
    }
    let end = port.get("endPort").and_then(Value::as_i64);
    let mut wrong = |field: &str, value: Value, detail: String| {
        errors.push(FieldError::invalid(&at.child(field), value, detail));
    };
    match port.get("port") {
        Some(Value::Number(number)) => {
            let number = number.as_i64().unwrap_or(0);
            if !(1..=65535).contains(&number) {
                wrong("port", json!(number), PORT_RANGE.to_owned());
            }
            if let Some(end) = end {
                if end < number {
                    let detail = "must be greater than or equal to `port`".to_owned();
                    wrong("endPort", json!(number), detail);
                }
                if !(1..=65535).contains(&end) {
                    wrong("endPort", json!(end), PORT_RANGE.to_owned());
                }
            }
        }
        Some(Value::String(named)) => {
            if let Some(end) = end {
                let detail = "may not be specified when `port` is non-numeric".to_owned();
                wrong("endPort", json!(end), detail);
            }
            for detail in name::port_name(named) {
                wrong("port", json!(named), detail);
            }
        }
        _ => {
            if let Some(end) = end {
                let detail = "may not be specified when `port` is not specified".to_owned();
                wrong("endPort", json!(end), detail);
            }
        }
    }
}

fn peer(peer: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let has = |field: &str| peer.get(field).is_some_and(|v| !v.is_null());
    let mut kinds = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if has(field) {
            kinds += 1;
            errors.extend(label_selector_errors(&peer[field], &at.child(field)));
        }
    }
    if has("ipBlock") {
        kinds += 1;
        block(&peer["ipBlock"], &at.child("ipBlock"), errors);
    }
    if kinds == 0 {
        errors.push(FieldError::required(at, "must specify a peer"));
    } else if kinds > 1 && has("ipBlock") {
        errors.push(FieldError::forbidden(
            at,
            "may not specify both ipBlock and another peer",
        ));
    }
}

fn block(block: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let given = text(block, "/cidr");
    let outer = cidr(given);
    if given.is_empty() {
        errors.push(FieldError::required(&at.child("cidr"), ""));
        return;
    }
    if outer.is_none() {
        errors.push(FieldError::invalid(&at.child("cidr"), given, NOT_A_CIDR));
        return;
    }
    for (index, except) in list(block, "/except").enumerate() {
        let except = except.as_str().unwrap_or_default();
        let at = at.child("except").index(index);
        match (cidr(except), outer) {
            (None, _) => errors.push(FieldError::invalid(&at, except, NOT_A_CIDR)),
            (Some((inner, length)), Some((network, bits))) => {
                let same = mask(inner, bits).is_some_and(|m| Some(m) == mask(network, bits));
                if !same || length <= bits {
                    errors.push(FieldError::invalid(
                        &at,
                        except,
                        "must be a strict subset of `cidr`",
                    ));
                }
            }
            (Some(_), None) => {}
        }
    }
}

/// The first `bits` of an address, with its family.
fn mask(address: IpAddr, bits: u8) -> Option<(bool, u128)> {
    let (value, width) = match address {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let shift = width - u32::from(bits).min(width);
    Some((address.is_ipv4(), value.checked_shr(shift).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_and_ports_are_judged_by_field() {
        let object = json!({"spec": {
            "podSelector": {"matchExpressions": [{"key": "k", "operator": "In"}]},
            "ingress": [{
                "from": [
                    {}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/8", "x"]}},
                    {"ipBlock": {"cidr": ""}, "podSelector": {}},
                ],
                "ports": [{"port": 0}, {"port": "Bad_", "endPort": 5}, {"endPort": 1}, {"port": 9, "endPort": 8}],
            }],
            "policyTypes": ["Sideways"],
        }});
        let found: Vec<String> = judge(&object).iter().map(|e| e.path.to_string()).collect();
        assert_eq!(
            found,
            [
                "spec.podSelector.matchExpressions[0].values",
                "spec.ingress[0].ports[0].port",
                "spec.ingress[0].ports[1].endPort",
                "spec.ingress[0].ports[1].port",
                "spec.ingress[0].ports[2].endPort",
                "spec.ingress[0].ports[3].endPort",
                "spec.ingress[0].from[0]",
                "spec.ingress[0].from[1].ipBlock.except[1]",
                "spec.ingress[0].from[1].ipBlock.except[2]",
                "spec.ingress[0].from[2].ipBlock.cidr",
                "spec.ingress[0].from[2]",
                "spec.policyTypes[0]",
            ]
        );
    }
}

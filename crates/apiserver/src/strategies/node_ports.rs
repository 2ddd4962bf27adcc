//! Node ports of Services.

use std::collections::{HashMap, HashSet};

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::meta;
use apimachinery::status::ApiError;
use rand::Rng as _;
use serde_json::Value;

use super::fields::{list, text};
use crate::strategy::Context;

const FIRST: i64 = 30_000;
const LAST: i64 = 32_767;

/// The node ports that a Service has.
pub(super) fn ports(service: &Value) -> impl Iterator<Item = i64> {
    list(service, "/spec/ports")
        .filter_map(|p| p.get("nodePort")?.as_i64())
        .chain(
            service
                .pointer("/spec/healthCheckNodePort")
                .and_then(Value::as_i64),
        )
        .filter(|p| *p > 0)
}

/// Whether balancers outside ask each node if it has endpoints of the Service.
pub(super) fn needs_health_check(service: &Value) -> bool {
    text(service, "/spec/type") == "LoadBalancer"
        && text(service, "/spec/externalTrafficPolicy") == "Local"
}

fn free(taken: &mut HashSet<i64>) -> Result<i64, ApiError> {
    let size = LAST - FIRST + 1;
    let start = rand::rng().random_range(0..size);
    let free = (0..size)
        .map(|step| FIRST + (start + step) % size)
        .find(|p| !taken.contains(p));
    let free =
        free.ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))?;
    taken.insert(free);
    Ok(free)
}

/// Gives every port of a NodePort or LoadBalancer Service a port of the nodes; takes them from others.
pub(super) async fn allocate(cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
    let wants = match text(object, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => {
            object.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false))
        }
        _ => false,
    };
    let health = needs_health_check(object);
    if !health && (!wants || list(object, "/spec/ports").next().is_none()) {
        return Ok(());
    }
    let services = cx.reader.list("", "services", "").await?;
    let mut taken: HashSet<i64> = services
        .iter()
        .filter(|s| meta::name(s) != Some(cx.name) || meta::namespace(s) != Some(cx.namespace))
        .flat_map(ports)
        .collect();
    let path = FieldPath::new("spec").child("ports");
    for (index, port) in list(object, "/spec/ports").enumerate() {
        let Some(given) = port
            .get("nodePort")
            .and_then(Value::as_i64)
            .filter(|n| *n > 0)
        else {
            continue;
        };
        let detail = if !(FIRST..=LAST).contains(&given) {
            format!(
                "provided port is not in the valid range. The range of valid ports is {FIRST}-{LAST}"
            )
        } else if taken.contains(&given) {
            "provided port is already allocated".to_owned()
        } else {
            continue;
        };
        let error = FieldError::invalid(&path.index(index).child("nodePort"), given, detail);
        return Err(ApiError::invalid(
            &cx.kind.group_kind(),
            cx.name,
            vec![error],
        ));
    }
    taken.extend(ports(object).collect::<Vec<_>>());
    if health
        && object
            .pointer("/spec/healthCheckNodePort")
            .and_then(Value::as_i64)
            .unwrap_or(0)
            == 0
    {
        object["spec"]["healthCheckNodePort"] = Value::from(free(&mut taken)?);
    }
    if !wants {
        return Ok(());
    }
    // The same port by another protocol is reached by the same port of the nodes.
    let mut chosen: HashMap<i64, i64> = HashMap::new();
    let of = |port: &Value, key: &str| port.get(key).and_then(Value::as_i64).unwrap_or(0);
    for port in list(object, "/spec/ports").filter(|p| of(p, "nodePort") > 0) {
        chosen.insert(of(port, "port"), of(port, "nodePort"));
    }
    let protocols: HashSet<(i64, String)> = list(object, "/spec/ports")
        .filter(|p| of(p, "nodePort") > 0)
        .map(|p| (of(p, "nodePort"), text(p, "/protocol").to_owned()))
        .collect();
    for port in object
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if of(port, "nodePort") > 0 {
            continue;
        }
        let number = of(port, "port");
        let shared = chosen
            .get(&number)
            .copied()
            .filter(|node| !protocols.contains(&(*node, text(port, "/protocol").to_owned())));
        let node = match shared {
            Some(node) => node,
            None => free(&mut taken)?,
        };
        chosen.insert(number, node);
        port["nodePort"] = Value::from(node);
    }
    Ok(())
}

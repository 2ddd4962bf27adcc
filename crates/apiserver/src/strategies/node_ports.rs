//! Node ports of Services.

use std::collections::HashSet;

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
        .filter(|p| *p > 0)
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
    let all_given = list(object, "/spec/ports").all(|p| {
        p.get("nodePort")
            .and_then(Value::as_i64)
            .is_some_and(|n| n > 0)
    });
    if !wants || list(object, "/spec/ports").next().is_none() {
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
        } else if !taken.insert(given) {
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
    if all_given {
        return Ok(());
    }
    for port in object
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        if port
            .get("nodePort")
            .and_then(Value::as_i64)
            .is_some_and(|n| n > 0)
        {
            continue;
        }
        let size = LAST - FIRST + 1;
        let start = rand::rng().random_range(0..size);
        let free = (0..size)
            .map(|step| FIRST + (start + step) % size)
            .find(|p| !taken.contains(p));
        let free =
            free.ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))?;
        taken.insert(free);
        port.insert("nodePort".to_owned(), Value::from(free));
    }
    Ok(())
}

//! Workloads of `apps` and `batch`, network policies and endpoint slices: data here, with the defaults that
//! clients compare against.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::fields::{child, default, default_text, list, text};
use super::pod_defaults;
use crate::strategy::{Context, Strategy};

pub(super) struct Workload;
pub(super) struct NetworkPolicy;
pub(super) struct EndpointSlice;

fn rolling(spec: &mut Map<String, Value>, key: &str, details: &Value) {
    let strategy = spec.entry(key).or_insert_with(|| json!({}));
    if let Some(strategy) = strategy.as_object_mut() {
        default_text(strategy, "type", "RollingUpdate");
        if strategy.get("type").is_some_and(|t| t == "RollingUpdate") {
            let rolling = strategy.entry("rollingUpdate").or_insert_with(|| json!({}));
            if let (Some(rolling), Some(details)) = (rolling.as_object_mut(), details.as_object()) {
                for (key, value) in details {
                    default(rolling, key, value.clone());
                }
            }
        }
    }
}

fn complete(plural: &str, object: &mut Value) {
    let Some(spec) = child(object, "spec") else {
        return;
    };
    match plural {
        "deployments" => {
            default(spec, "replicas", 1);
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "progressDeadlineSeconds", 600);
            rolling(
                spec,
                "strategy",
                &json!({"maxUnavailable": "25%", "maxSurge": "25%"}),
            );
        }
        "replicasets" => default(spec, "replicas", 1),
        "statefulsets" => {
            default(spec, "replicas", 1);
            default(spec, "revisionHistoryLimit", 10);
            default_text(spec, "podManagementPolicy", "OrderedReady");
            rolling(spec, "updateStrategy", &json!({"partition": 0}));
            default(
                spec,
                "persistentVolumeClaimRetentionPolicy",
                json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
            );
        }
        "daemonsets" => {
            default(spec, "revisionHistoryLimit", 10);
            rolling(
                spec,
                "updateStrategy",
                &json!({"maxUnavailable": 1, "maxSurge": 0}),
            );
        }
        _ => {}
    }
    if let Some(template) = spec.get_mut("template") {
        pod_defaults::complete_template(template);
    }
}

#[async_trait]
impl Strategy for Workload {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        complete(cx.kind.plural(), object);
        object["status"] = if cx.kind.plural() == "daemonsets" {
            json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
        } else if matches!(cx.kind.plural(), "replicasets") {
            json!({"replicas": 0})
        } else if cx.kind.plural() == "statefulsets" {
            json!({"replicas": 0, "availableReplicas": 0})
        } else {
            json!({})
        };
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        if cx.subresource.is_empty() {
            complete(cx.kind.plural(), object);
        }
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        if !cx.subresource.is_empty() {
            return Ok(Vec::new());
        }
        let selector = object.pointer("/spec/selector").unwrap_or(&Value::Null);
        let labels = object.pointer("/spec/template/metadata/labels");
        let empty = Map::new();
        let matches = LabelSelector::from_json(selector)
            .is_ok_and(|s| s.matches(labels.and_then(Value::as_object).unwrap_or(&empty)));
        let path = FieldPath::new("spec");
        Ok(if matches || selector.is_null() {
            Vec::new()
        } else {
            vec![FieldError::invalid(
                &path.child("template").child("metadata").child("labels"),
                labels.cloned().unwrap_or_default(),
                "`selector` does not match template `labels`",
            )]
        })
    }
}

fn policy(object: &mut Value) {
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
        policy(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        policy(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut errors = Vec::new();
        for (side, peers) in [("ingress", "from"), ("egress", "to")] {
            for (i, rule) in list(object, &format!("/spec/{side}")).enumerate() {
                for (j, peer) in list(rule, &format!("/{peers}")).enumerate() {
                    let at = FieldPath::new("spec")
                        .child(side)
                        .index(i)
                        .child(peers)
                        .index(j);
                    block(peer, &at.child("ipBlock"), &mut errors);
                }
            }
        }
        Ok(errors)
    }
}

/// Judges the `ipBlock` of a peer.
fn block(peer: &Value, at: &FieldPath, errors: &mut Vec<FieldError>) {
    if peer.get("ipBlock").is_none_or(Value::is_null) {
        return;
    }
    let mut judge = |cidr: &str, at: &FieldPath| {
        if !is_cidr(cidr) {
            errors.push(FieldError::invalid(
                at,
                cidr,
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ));
        }
    };
    judge(text(peer, "/ipBlock/cidr"), &at.child("cidr"));
    for (index, except) in list(peer, "/ipBlock/except").enumerate() {
        judge(
            except.as_str().unwrap_or_default(),
            &at.child("except").index(index),
        );
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let plain = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    match (address.parse::<std::net::IpAddr>(), length.parse::<u8>()) {
        (Ok(address), Ok(length)) => plain && length <= if address.is_ipv4() { 32 } else { 128 },
        _ => false,
    }
}

fn slice(object: &mut Value) {
    for endpoint in object
        .get_mut("endpoints")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default(endpoint, "conditions", json!({}));
    }
    for port in object
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default_text(port, "protocol", "TCP");
    }
}

#[async_trait]
impl Strategy for EndpointSlice {
    async fn prepare_create(&self, _cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        slice(object);
        Ok(())
    }

    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        slice(object);
        Ok(())
    }

    async fn validate(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
        let ty = text(object, "/addressType");
        Ok(if TYPES.contains(&ty) {
            Vec::new()
        } else {
            vec![FieldError::not_supported(
                &FieldPath::new("addressType"),
                ty,
                &TYPES,
            )]
        })
    }
}

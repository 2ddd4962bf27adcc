//! Services: addresses from the range, and defaults.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::address::Range;
use super::fields::{child, default, default_text, text};
use super::spot::{Faults, Spot};
use super::{node_ports, service_validate};
use crate::strategy::{Context, Strategy};

pub(super) struct Service {
    pub range: Range,
}

fn defaults(object: &mut Value) {
    let Some(spec) = child(object, "spec") else {
        return;
    };
    default_text(spec, "type", "ClusterIP");
    default_text(spec, "sessionAffinity", "None");
    let ty = spec
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if spec.get("sessionAffinity").is_some_and(|s| s == "ClientIP") {
        let config = spec
            .entry("sessionAffinityConfig")
            .or_insert_with(|| json!({}));
        if let Some(client) = child(config, "clientIP") {
            default(client, "timeoutSeconds", 10800);
        }
    } else if spec.get("sessionAffinity").is_some_and(|s| s == "None") {
        spec.remove("sessionAffinityConfig");
    }
    if ty != "ExternalName" {
        default_text(spec, "internalTrafficPolicy", "Cluster");
        let headless = |key: &str| {
            spec.get(key)
                .is_some_and(|v| *v == "None" || *v == json!(["None"]))
        };
        let selects = spec
            .get("selector")
            .and_then(Value::as_object)
            .is_some_and(|selector| !selector.is_empty());
        if (headless("clusterIP") || headless("clusterIPs")) && !selects {
            // Whoever keeps the endpoints of such a Service decides of which family they are.
            let single = spec
                .get("ipFamilyPolicy")
                .is_some_and(|p| p == "SingleStack");
            let mut families = vec![
                spec.get("ipFamilies")
                    .and_then(|f| f.get(0))
                    .cloned()
                    .unwrap_or_else(|| json!("IPv4")),
            ];
            if !single {
                let other = if families == [json!("IPv4")] {
                    "IPv6"
                } else {
                    "IPv4"
                };
                families.push(json!(other));
            }
            let given = spec
                .get("ipFamilies")
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            if given < families.len() {
                spec.insert("ipFamilies".to_owned(), json!(families));
            }
            default(spec, "ipFamilyPolicy", "RequireDualStack");
        }
        default(spec, "ipFamilyPolicy", "SingleStack");
        default(spec, "ipFamilies", json!(["IPv4"]));
    }
    let external = spec
        .get("externalIPs")
        .and_then(Value::as_array)
        .is_some_and(|ips| !ips.is_empty());
    if matches!(ty.as_str(), "NodePort" | "LoadBalancer") || (ty == "ClusterIP" && external) {
        default_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if ty == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default_text(port, "protocol", "TCP");
        let target = port.get("port").cloned().unwrap_or(json!(0));
        if port.get("targetPort").is_none_or(|t| *t == 0 || *t == "") {
            port.insert("targetPort".to_owned(), target);
        }
    }
}

fn set_address(spec: &mut Map<String, Value>, address: &str) {
    spec.insert("clusterIP".to_owned(), Value::from(address));
    spec.insert("clusterIPs".to_owned(), json!([address]));
}

/// What belongs to the type that a Service had goes with it, unless the client changed it on the way.
fn drop_of_old_type(object: &mut Value, old: &Value) {
    let ty = text(object, "/spec/type").to_owned();
    let before = text(old, "/spec/type");
    if ty == before {
        return;
    }
    let had_ports = matches!(before, "NodePort" | "LoadBalancer");
    if had_ports && !matches!(ty.as_str(), "NodePort" | "LoadBalancer") {
        let number = |port: &Value| port.get("nodePort").and_then(Value::as_i64);
        let same = super::fields::list(object, "/spec/ports")
            .map(number)
            .eq(super::fields::list(old, "/spec/ports").map(number));
        if same {
            for port in object
                .pointer_mut("/spec/ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
                .filter_map(Value::as_object_mut)
            {
                port.remove("nodePort");
            }
        }
    }
    let unchanged: Vec<&str> = [
        "allocateLoadBalancerNodePorts",
        "externalTrafficPolicy",
        "healthCheckNodePort",
        "loadBalancerClass",
    ]
    .into_iter()
    .filter(|field| {
        let pointer = format!("/spec/{field}");
        object.pointer(&pointer) == old.pointer(&pointer)
    })
    .collect();
    let Some(spec) = child(object, "spec") else {
        return;
    };
    for field in unchanged {
        let of_load_balancers = field != "externalTrafficPolicy";
        if (of_load_balancers && before == "LoadBalancer")
            || (!of_load_balancers
                && had_ports
                && !matches!(ty.as_str(), "NodePort" | "LoadBalancer"))
        {
            spec.remove(field);
        }
    }
}

/// A client that leaves node ports out means those that are there.
fn keep_node_ports(object: &mut Value, old: &Value) {
    if !matches!(text(object, "/spec/type"), "NodePort" | "LoadBalancer") {
        return;
    }
    for port in object
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let same = |other: &&Value| {
            other.get("port") == port.get("port") && other.get("protocol") == port.get("protocol")
        };
        let kept = super::fields::list(old, "/spec/ports")
            .find(same)
            .and_then(|p| p.get("nodePort"))
            .cloned();
        if let (Some(kept), Some(map)) = (kept, port.as_object_mut()) {
            default(map, "nodePort", kept);
        }
    }
}

/// The network has one family of addresses, IPv4.
fn families(cx: &Context<'_>, object: &Value) -> Result<(), ApiError> {
    let spec = Spot::of(object, "spec");
    let selects = spec.count("selector") > 0;
    if spec.text("clusterIP") == "None" && !selects {
        return Ok(());
    }
    let mut faults = Faults::default();
    if spec.text("ipFamilyPolicy") == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        faults.invalid(&spec.at("ipFamilyPolicy"), "RequireDualStack", detail);
    }
    for family in spec.items("ipFamilies") {
        if family.as_text() == "IPv6" {
            let detail = "not configured on this cluster";
            faults.invalid(&family.path, "IPv6", detail);
        }
    }
    if faults.0.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&cx.kind.group_kind(), cx.name, faults.0))
}

impl Service {
    async fn taken(&self, cx: &Context<'_>) -> Result<HashSet<Ipv4Addr>, ApiError> {
        let services = cx.reader.list("", "services", "").await?;
        let others = services.iter().filter(|s| {
            apimachinery::meta::name(s) != Some(cx.name)
                || apimachinery::meta::namespace(s) != Some(cx.namespace)
        });
        Ok(others
            .filter_map(|s| text(s, "/spec/clusterIP").parse().ok())
            .collect())
    }

    async fn allocate(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        let given = match (
            text(object, "/spec/clusterIP"),
            text(object, "/spec/clusterIPs/0"),
        ) {
            ("", first) => first.to_owned(),
            (given, _) => given.to_owned(),
        };
        if text(object, "/spec/type") == "ExternalName" {
            return Ok(());
        }
        families(cx, object)?;
        let invalid = |detail: &str| {
            let error = FieldError::invalid(
                &FieldPath::new("spec").child("clusterIPs"),
                json!([given]),
                detail,
            );
            ApiError::invalid(&cx.kind.group_kind(), cx.name, vec![error])
        };
        let chosen = match given.as_str() {
            "None" => "None".to_owned(),
            "" => {
                let taken = self.taken(cx).await?;
                let address = self.range.choose(|a| taken.contains(&a)).ok_or_else(|| {
                    ApiError::internal("failed to allocate a serviceIP: range is full")
                })?;
                address.to_string()
            }
            text => match text.parse::<Ipv4Addr>() {
                // Wrong text is the validation's to name.
                Err(_) => return Ok(()),
                Ok(address) if !self.range.contains(address) => {
                    return Err(invalid(&format!(
                        "failed to allocate IP {text}: the provided IP ({text}) is not in the valid range"
                    )));
                }
                Ok(address) if self.taken(cx).await?.contains(&address) => {
                    return Err(invalid(&format!(
                        "failed to allocate IP {text}: provided IP is already allocated"
                    )));
                }
                Ok(address) => address.to_string(),
            },
        };
        if let Some(spec) = child(object, "spec") {
            set_address(spec, &chosen);
        }
        Ok(())
    }
}

#[async_trait]
impl Strategy for Service {
    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        defaults(object);
        self.allocate(cx, object).await?;
        node_ports::allocate(cx, object).await?;
        object["status"] = json!({"loadBalancer": {}});
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        old: &Value,
    ) -> Result<(), ApiError> {
        if cx.subresource == "status" {
            for one in object
                .pointer_mut("/status/loadBalancer/ingress")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
                .filter_map(Value::as_object_mut)
                .filter(|one| one.contains_key("ip"))
            {
                default_text(one, "ipMode", "VIP");
            }
            return Ok(());
        }
        let was_external = text(old, "/spec/type") == "ExternalName";
        let is_external = text(object, "/spec/type") == "ExternalName";
        if let Some(spec) = child(object, "spec") {
            if is_external && !was_external {
                spec.remove("clusterIP");
                spec.remove("clusterIPs");
            } else if !was_external {
                // A client that leaves these out means "as they are".
                for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                    if let Some(value) = old.pointer(&format!("/spec/{key}")) {
                        default(spec, key, value.clone());
                    }
                }
            }
        }
        drop_of_old_type(object, old);
        defaults(object);
        if was_external && !is_external {
            self.allocate(cx, object).await?;
        }
        keep_node_ports(object, old);
        if let (Some(kept), true, Some(spec)) = (
            old.pointer("/spec/healthCheckNodePort").cloned(),
            node_ports::needs_health_check(object),
            child(object, "spec"),
        ) {
            default(spec, "healthCheckNodePort", kept);
        }
        node_ports::allocate(cx, object).await?;

        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        if cx.subresource == "status" {
            let mut faults = Faults::default();
            service_validate::status(object, &mut faults);
            return Ok(faults.0);
        }
        Ok(service_validate::service(object, old))
    }
}

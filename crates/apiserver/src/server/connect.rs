//! Subresources that lead into a container, through a node, or that change a running container: named in
//! discovery as kube-apiserver names them, and refused with the reason.
//!
//! ```text
//! pods/{attach,exec,portforward,proxy,log}, services/proxy, nodes/proxy
//!     ─► the object exists? ─► what Kubernetes finds wrong first (no such container, no node yet) ─► 501
//! pods/ephemeralcontainers ─► get: the Pod; update, patch: 501
//! ```
//! Kubernetes hands such requests to the kubelet of the Pod's node. This server has none to hand them to: what
//! its embedder can serve (logs) is registered as a [`crate::Subresource`] and never comes here.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::{ApiError, Reason, StatusDetails};
use serde_json::Value;

use super::Inner;
use super::dispatch::Routed;
use crate::kinds::Kind;
use crate::registry;

/// Whether the subresource of this kind is one of these.
pub(super) fn leads(kind: &Kind, subresource: &str) -> bool {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => matches!(
            subresource,
            "attach" | "exec" | "portforward" | "proxy" | "log" | "ephemeralcontainers"
        ),
        ("", "nodes" | "services") => subresource == "proxy",
        _ => false,
    }
}

/// Answers with the Pod where that is what was asked for, else with the reason why not.
pub(super) async fn serve(inner: &Inner, kind: &Kind, routed: &Routed) -> Result<Value, ApiError> {
    let info = &routed.info;
    let served = kind
        .subresources
        .iter()
        .find(|s| s.name == info.subresource);
    if served.is_none_or(|s| !s.verbs.iter().any(|verb| verb == info.verb)) {
        return Err(ApiError::method_not_allowed());
    }
    let name = match info.subresource.as_str() {
        "proxy" => host(kind, &info.name)?,
        _ if !info.tail.is_empty() => return Err(ApiError::unknown_resource()),
        _ => &info.name,
    };
    let namespace = if kind.namespaced {
        info.namespace.as_str()
    } else {
        ""
    };
    let object = registry::get(&inner.registry, kind, namespace, name).await?;
    match info.subresource.as_str() {
        "ephemeralcontainers" if info.verb == "get" => return Ok(object),
        "attach" | "exec" | "log" => {
            container(&object, info.query.get("container").unwrap_or_default())?;
            placed(&object)?;
        }
        "portforward" => placed(&object)?,
        "proxy" if kind.is("", "pods") && text(&object, "/status/podIP").is_empty() => {
            return Err(ApiError::bad_request("address not allowed"));
        }
        _ => {}
    }
    let subresource = &info.subresource;
    let why = match (kind.plural.as_str(), subresource.as_str()) {
        ("nodes", _) => "its nodes have no kubelet to forward to",
        ("services", _) => "it does not forward to what is behind a Service",
        (_, "ephemeralcontainers") => "it runs no containers, which could be added to a Pod",
        _ => "it runs no containers to connect to",
    };
    let resource = GroupResource::new("", kind.plural.as_str());
    let message =
        format!("{resource}/{subresource} {name:?} is not implemented by this engine: {why}");
    let details = StatusDetails {
        name: name.to_owned(),
        kind: kind.plural.clone(),
        ..StatusDetails::default()
    };
    Err(ApiError::new(
        Reason::Other("NotImplemented".to_owned()),
        message,
        Some(details),
    )
    .with_code(501))
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    let value = object.pointer(pointer).and_then(Value::as_str);
    value.unwrap_or_default()
}

/// The object that is meant by `[scheme:]name[:port]`.
fn host<'a>(kind: &Kind, given: &'a str) -> Result<&'a str, ApiError> {
    let parts: Vec<&str> = given.split(':').collect();
    match parts.as_slice() {
        [name] | [name, _] => Ok(name),
        ["http" | "https" | "", name, _] => Ok(name),
        _ => Err(ApiError::bad_request(format!(
            "invalid {} request {given:?}",
            kind.singular
        ))),
    }
}

/// The container that is asked for must be there, and one must be named when there are several.
fn container(pod: &Value, asked: &str) -> Result<(), ApiError> {
    let names = |key: &str| -> Vec<&str> {
        let list = pod
            .pointer(&format!("/spec/{key}"))
            .and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|c| c.get("name")?.as_str())
            .collect()
    };
    let (containers, init) = (names("containers"), names("initContainers"));
    let pod_name = meta::name(pod).unwrap_or_default();
    if asked.is_empty() {
        if containers.len() == 1 {
            return Ok(());
        }
        let mut message = format!(
            "a container name must be specified for pod {pod_name}, choose one of: [{}]",
            containers.join(" ")
        );
        if !init.is_empty() {
            message.push_str(&format!(
                " or one of the init containers: [{}]",
                init.join(" ")
            ));
        }
        return Err(ApiError::bad_request(message));
    }
    let known = names("ephemeralContainers");
    if [containers, init, known].concat().contains(&asked) {
        Ok(())
    } else {
        Err(ApiError::bad_request(format!(
            "container {asked} is not valid for pod {pod_name}"
        )))
    }
}

/// A Pod that runs nowhere has nothing to connect to.
fn placed(pod: &Value) -> Result<(), ApiError> {
    if text(pod, "/spec/nodeName").is_empty() {
        let name = meta::name(pod).unwrap_or_default();
        return Err(ApiError::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_must_be_named_when_there_are_several() {
        let pod = |names: &[&str]| {
            let containers: Vec<Value> = names.iter().map(|n| json!({"name": n})).collect();
            json!({"metadata": {"name": "p"}, "spec": {"containers": containers, "initContainers": [{"name": "i"}]}})
        };
        container(&pod(&["a"]), "").unwrap();
        container(&pod(&["a"]), "i").unwrap();
        let error = container(&pod(&["a", "b"]), "").unwrap_err();
        assert_eq!(
            error.to_string(),
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        let error = container(&pod(&["a"]), "x").unwrap_err();
        assert_eq!(error.to_string(), "container x is not valid for pod p");
    }
}

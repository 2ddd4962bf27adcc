//! The FlowSchemas and PriorityLevelConfigurations that every cluster has: Kubernetes' mandatory and suggested ones.
//!
//! `bootstrap.json` is a short form of them. An object that carries `apf.kubernetes.io/autoupdate-spec: "true"` is kept
//! at this program's form of it; who wants to change one sets that to `"false"` first, as in Kubernetes.

use std::sync::Arc;

use ::authz::User;
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::{Value, json};

use crate::decode::Decoded;
use crate::kinds::Kind;
use crate::registry::codec;
use crate::registry::{Call, Registry, WriteOptions, create, update_with};

/// The group.
pub(super) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

fn words(text: &str) -> Vec<&str> {
    text.split(',').collect()
}

fn subject(text: &str) -> Option<Value> {
    let (kind, name) = text.split_once(':')?;
    Some(match kind {
        "group" => json!({"kind": "Group", "group": {"name": name}}),
        "user" => json!({"kind": "User", "user": {"name": name}}),
        _ => {
            let (namespace, name) = name.split_once('/')?;
            json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}})
        }
    })
}

fn schema_spec(short: &Value) -> Value {
    let strings = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let subjects: Vec<Value> = strings(&short["subjects"])
        .iter()
        .filter_map(|s| subject(s))
        .collect();
    let resources: Vec<Value> = short["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|rule| {
            let part = |i: usize| rule[i].as_str().unwrap_or_default();
            json!({
                "verbs": words(part(0)), "apiGroups": words(part(1)), "resources": words(part(2)),
                "namespaces": words(part(3)), "clusterScope": true,
            })
        })
        .collect();
    let paths = strings(&short["paths"]);
    let mut rule = json!({"subjects": subjects});
    if !resources.is_empty() {
        rule["resourceRules"] = resources.into();
    }
    if !paths.is_empty() {
        let verbs = words(short["path_verbs"].as_str().unwrap_or("*"));
        rule["nonResourceRules"] = json!([{"verbs": verbs, "nonResourceURLs": paths}]);
    }
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": short["to"]},
        "matchingPrecedence": short["precedence"],
        "rules": [rule],
    });
    if let Some(method) = short["by"].as_str() {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    spec
}

/// All objects, levels first.
pub(super) fn objects() -> Vec<Value> {
    let short: Vec<Value> =
        serde_json::from_str(include_str!("bootstrap.json")).unwrap_or_default();
    short
        .iter()
        .map(|short| {
            let (kind, name, spec) = match short["level"].as_str() {
                Some(name) => ("PriorityLevelConfiguration", name, short["spec"].clone()),
                None => (
                    "FlowSchema",
                    short["schema"].as_str().unwrap_or_default(),
                    schema_spec(short),
                ),
            };
            json!({
                "apiVersion": format!("{GROUP}/v1"), "kind": kind, "spec": spec,
                "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}},
            })
        })
        .collect()
}

/// Creates what is missing and brings up to date what is kept so. Together, so that the store can make one durable
/// write of them.
pub(super) async fn ensure(registry: &Arc<Registry>) -> Result<(), ApiError> {
    let kinds = registry.kinds.load_full();
    let all = objects();
    let writes = all.iter().filter_map(|object| {
        let plural = match object["kind"].as_str() {
            Some("FlowSchema") => "flowschemas",
            _ => "prioritylevelconfigurations",
        };
        Some(ensure_one(registry, kinds.resource(GROUP, plural)?, object))
    });
    futures_util::future::join_all(writes)
        .await
        .into_iter()
        .collect()
}

async fn ensure_one(
    registry: &Arc<Registry>,
    kind: &Arc<Kind>,
    wanted: &Value,
) -> Result<(), ApiError> {
    let user = User::new("system:apiserver", &["system:masters"]);
    let options = WriteOptions {
        manager: "api-priority-and-fairness-config-producer-v1".to_owned(),
        ..WriteOptions::default()
    };
    let name = meta::name(wanted).unwrap_or_default();
    let stored = registry.store.get(&kind.key("", name)).await;
    let stored = stored
        .ok()
        .and_then(|(entry, _)| entry)
        .and_then(|entry| codec::read_entry(&registry.sealing, &entry).ok());
    match stored {
        None => {
            let call = Call::new(registry, kind, ("", ""), "", &user, options).in_background();
            let decoded = Decoded {
                value: wanted.clone(),
                duplicates: Vec::new(),
            };
            match create(&call, decoded).await {
                Err(e) if !e.is_already_exists() => Err(e),
                _ => Ok(()),
            }
        }
        Some(stored) => {
            let is_kept = stored["metadata"]["annotations"][AUTO_UPDATE] == "true";
            if !is_kept || covers(&stored["spec"], &wanted["spec"]) {
                return Ok(());
            }
            let call = Call::new(registry, kind, ("", name), "", &user, options).in_background();
            let update = update_with(&call, |current| {
                current["spec"] = wanted["spec"].clone();
                Ok(())
            });
            update.await.map(|_| ())
        }
    }
}

/// Whether a stored spec, which has defaults too, says what is wanted.
fn covers(stored: &Value, wanted: &Value) -> bool {
    match (stored, wanted) {
        (Value::Object(stored), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| stored.get(key).is_some_and(|s| covers(s, value))),
        (Value::Array(stored), Value::Array(wanted)) => {
            stored.len() == wanted.len() && stored.iter().zip(wanted).all(|(s, w)| covers(s, w))
        }
        _ => stored == wanted,
    }
}

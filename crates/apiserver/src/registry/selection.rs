//! Label and field selectors of list, watch and deletecollection.

use apimachinery::meta;
use apimachinery::selector::{FieldSelector, LabelSelector};
use apimachinery::status::ApiError;
use serde_json::Value;

use crate::kinds::Kind;
use crate::request::Query;

/// Which objects are wanted.
pub(crate) struct Selection {
    labels: Option<LabelSelector>,
    fields: Option<FieldSelector>,
}

impl Selection {
    /// Reads `labelSelector` and `fieldSelector`; `name` adds `metadata.name`.
    pub(crate) fn parse(query: &Query, kind: &Kind) -> Result<Self, ApiError> {
        let labels =
            match query.get("labelSelector") {
                None | Some("") => None,
                Some(text) => Some(LabelSelector::parse(text).map_err(|e| {
                    ApiError::bad_request(format!("unable to parse requirement: {e}"))
                })?),
            };
        let fields = match query.get("fieldSelector") {
            None | Some("") => None,
            Some(text) => {
                let selector =
                    FieldSelector::parse(text).map_err(|e| ApiError::bad_request(e.to_string()))?;
                for requirement in selector.requirements() {
                    if !is_known(kind, &requirement.field) {
                        return Err(ApiError::bad_request(format!(
                            "field label not supported: {}",
                            requirement.field
                        )));
                    }
                }
                Some(selector)
            }
        };
        Ok(Selection { labels, fields })
    }

    /// Whether everything is wanted.
    pub(crate) fn is_all(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// Whether `object` is wanted.
    pub(crate) fn matches(&self, kind: &Kind, object: &Value) -> bool {
        if let Some(labels) = &self.labels {
            let empty = serde_json::Map::new();
            let have = meta::labels(object).unwrap_or(&empty);
            if !labels.matches(have) {
                return false;
            }
        }
        self.fields
            .as_ref()
            .is_none_or(|fields| fields.matches(|path| field(kind, object, path)))
    }
}

/// Fields beyond name and namespace that can be selected, by group and resource.
fn known_fields(kind: &Kind) -> &'static [&'static str] {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "secrets") => &["type"],
        ("", "namespaces") => &["status.phase"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "events") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("batch", "jobs") | ("apps", "statefulsets") => &["status.successful"],
        _ => &[],
    }
}

/// Built-in kinds without a list of their own take it, though those of the whole cluster are in none.
fn takes_namespace(kind: &Kind) -> bool {
    let listed = kind.is("", "nodes") || kind.is("", "namespaces");
    kind.namespaced || !(kind.is_crd() || listed)
}

fn is_known(kind: &Kind, path: &str) -> bool {
    path == "metadata.name"
        || (path == "metadata.namespace" && takes_namespace(kind))
        || known_fields(kind).contains(&path)
        || kind
            .crd
            .as_ref()
            .is_some_and(|crd| crd.selectable_fields.iter().any(|(p, _)| p == path))
}

fn field(kind: &Kind, object: &Value, path: &str) -> Option<String> {
    if let Some(crd) = &kind.crd
        && let Some((_, json_path)) = crd.selectable_fields.iter().find(|(p, _)| p == path)
    {
        return Some(
            json_path
                .find(object)
                .first()
                .map(|v| text(v))
                .unwrap_or_default(),
        );
    }
    if (path, kind.plural.as_str()) == ("source", "events") {
        return Some(
            object
                .pointer("/source/component")
                .map(text)
                .unwrap_or_default(),
        );
    }
    let path = match (path, kind.plural.as_str()) {
        ("status.successful", "jobs") => "status.succeeded",
        ("status.successful", _) => "status.replicas",
        _ => path,
    };
    let value = path
        .split('.')
        .try_fold(object, |value, key| value.get(key));
    Some(match (value, path) {
        (Some(value), _) => text(value),
        (None, "spec.unschedulable" | "spec.hostNetwork") => "false".to_owned(),
        (None, "status.succeeded" | "status.replicas") => "0".to_owned(),
        (None, _) => String::new(),
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

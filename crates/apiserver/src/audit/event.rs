//! One line of the log: an `Event` of `audit.k8s.io/v1`. Pure.

use std::collections::BTreeMap;

use ::authz::User;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::policy::{Level, Stage};
use crate::limits;

/// What is known of a request, more from stage to stage.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub level: Level,
    pub id: String,
    pub uri: String,
    pub verb: &'static str,
    pub user: User,
    pub impersonated: Option<User>,
    pub source_ips: Vec<String>,
    pub user_agent: String,
    pub object: Option<ObjectRef>,
    pub received: Timestamp,
    pub omit_managed_fields: bool,
    pub request_object: Option<Value>,
    pub response_object: Option<Value>,
    pub response_status: Option<Value>,
    pub annotations: BTreeMap<String, String>,
}

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ObjectRef {
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub group: String,
    pub version: String,
    pub resource_version: String,
    pub subresource: String,
}

impl ObjectRef {
    fn render(&self) -> Value {
        let mut map = Map::new();
        for (key, value) in [
            ("resource", &self.resource),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("uid", &self.uid),
            ("apiGroup", &self.group),
            ("apiVersion", &self.version),
            ("resourceVersion", &self.resource_version),
            ("subresource", &self.subresource),
        ] {
            if !value.is_empty() {
                map.insert(key.to_owned(), Value::String(value.clone()));
            }
        }
        Value::Object(map)
    }

    /// Takes from an object what the path did not say: a new object's name is in its body.
    pub(super) fn complete(&mut self, object: &Value) {
        let of = |key: &str| {
            let value = object.get("metadata").and_then(|m| m.get(key));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        for (field, key) in [
            (&mut self.name, "name"),
            (&mut self.namespace, "namespace"),
            (&mut self.uid, "uid"),
            (&mut self.resource_version, "resourceVersion"),
        ] {
            if field.is_empty() {
                *field = of(key);
            }
        }
    }

    /// Whether what such an object holds is nobody's to see but its reader's.
    pub(super) fn is_confidential(&self) -> bool {
        matches!(
            (self.group.as_str(), self.resource.as_str()),
            ("", "secrets" | "configmaps") | ("authentication.k8s.io", "tokenreviews")
        ) || self.subresource == "token"
    }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn user(user: &User) -> Value {
    serde_json::to_value(user).unwrap_or_default()
}

/// Leaves `metadata.managedFields` out, of items of a list too.
fn without_managed_fields(mut object: Value) -> Value {
    let drop = |object: &mut Value| {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
    };
    drop(&mut object);
    if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(drop);
    }
    object
}

/// What is said of an answer. A message may repeat a field of the object that is wrong: of confidential ones it is
/// left out.
pub(super) fn status(code: u16, body: Option<&Value>, confidential: bool) -> Value {
    let mut status = json!({"metadata": {}, "code": code});
    if code < 400 {
        return status;
    }
    status["status"] = json!("Failure");
    let body = body.filter(|b| b["kind"] == "Status");
    for key in ["reason", "message"] {
        if key == "message" && confidential && matches!(code, 400 | 422 | 500) {
            continue;
        }
        if let Some(value) = body.and_then(|b| b.get(key)) {
            status[key] = value.clone();
        }
    }
    status
}

impl Facts {
    fn render(&self, stage: Stage, now: Timestamp, with_objects: bool) -> Map<String, Value> {
        let mut event = Map::new();
        let mut put = |key: &str, value: Value| {
            event.insert(key.to_owned(), value);
        };
        put("kind", json!("Event"));
        put("apiVersion", json!("audit.k8s.io/v1"));
        put("level", json!(self.level.name()));
        put("auditID", json!(self.id));
        put("stage", json!(stage.name()));
        put("requestURI", json!(self.uri));
        put("verb", json!(self.verb));
        put("user", user(&self.user));
        if let Some(other) = &self.impersonated {
            put("impersonatedUser", user(other));
        }
        if !self.source_ips.is_empty() {
            put("sourceIPs", json!(self.source_ips));
        }
        if !self.user_agent.is_empty() {
            put("userAgent", json!(self.user_agent));
        }
        if let Some(object) = &self.object {
            put("objectRef", object.render());
        }
        if let Some(status) = &self.response_status {
            put("responseStatus", status.clone());
        }
        if with_objects {
            for (key, object) in [
                ("requestObject", &self.request_object),
                ("responseObject", &self.response_object),
            ] {
                if let Some(object) = object {
                    let shown = if self.omit_managed_fields {
                        without_managed_fields(object.clone())
                    } else {
                        object.clone()
                    };
                    put(key, shown);
                }
            }
        }
        put("requestReceivedTimestamp", json!(time(self.received)));
        put("stageTimestamp", json!(time(now)));
        let mut annotations = self.annotations.clone();
        if !with_objects {
            annotations.insert("audit.k8s.io/truncated".to_owned(), "true".to_owned());
        }
        if !annotations.is_empty() {
            put("annotations", json!(annotations));
        }
        event
    }

    /// The line of a stage. An event above the limit goes without its objects, and says so.
    pub(super) fn line(&self, stage: Stage, now: Timestamp) -> Vec<u8> {
        let encode = |with_objects: bool| {
            let event = self.render(stage, now, with_objects);
            serde_json::to_vec(&event).unwrap_or_default()
        };
        let mut line = encode(true);
        if line.len() > limits::AUDIT_EVENT {
            line = encode(false);
        }
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            level: Level::RequestResponse,
            id: "id-1".to_owned(),
            uri: "/api/v1/namespaces/n/configmaps?x=1".to_owned(),
            verb: "create",
            user: User::new("joe", &["ops"]),
            impersonated: None,
            source_ips: vec!["127.0.0.1".to_owned()],
            user_agent: "curl".to_owned(),
            object: Some(ObjectRef {
                resource: "configmaps".to_owned(),
                namespace: "n".to_owned(),
                version: "v1".to_owned(),
                ..ObjectRef::default()
            }),
            received: "2026-11-21T12:00:00.123456Z".parse().unwrap(),
            omit_managed_fields: true,
            request_object: Some(json!({"metadata": {"name": "c", "managedFields": [1]}})),
            response_object: Some(json!({"items": [{"metadata": {"managedFields": [1]}}]})),
            response_status: Some(status(201, None, false)),
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        }
    }

    #[test]
    fn an_event_is_one_line_in_the_form_of_kubernetes() {
        let mut facts = facts();
        let object = facts.request_object.clone().unwrap();
        facts.object.as_mut().unwrap().complete(&object);
        let line = facts.line(
            Stage::ResponseComplete,
            "2026-11-21T12:00:01Z".parse().unwrap(),
        );
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        let event: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            event,
            json!({
                "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "id-1",
                "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/n/configmaps?x=1", "verb": "create",
                "user": {"username": "joe", "groups": ["ops"]}, "sourceIPs": ["127.0.0.1"], "userAgent": "curl",
                "objectRef": {"resource": "configmaps", "namespace": "n", "name": "c", "apiVersion": "v1"},
                "responseStatus": {"metadata": {}, "code": 201},
                "requestObject": {"metadata": {"name": "c"}},
                "responseObject": {"items": [{"metadata": {}}]},
                "requestReceivedTimestamp": "2026-11-21T12:00:00.123456Z",
                "stageTimestamp": "2026-11-21T12:00:01.000000Z",
                "annotations": {"a": "b"},
            })
        );
    }

    #[test]
    fn what_is_too_large_goes_without_its_objects() {
        let mut facts = facts();
        facts.request_object = Some(json!({"data": "x".repeat(limits::AUDIT_EVENT)}));
        let line = facts.line(Stage::ResponseComplete, Timestamp::UNIX_EPOCH);
        assert!(line.len() < 2000);
        let event: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(event["annotations"]["audit.k8s.io/truncated"], "true");
    }

    #[test]
    fn a_message_about_a_secret_is_not_repeated() {
        let body = json!({"kind": "Status", "reason": "Invalid", "message": "data[k]: Invalid value: \"hunter2\""});
        let shown = status(422, Some(&body), true);
        assert_eq!(
            shown,
            json!({"metadata": {}, "code": 422, "status": "Failure", "reason": "Invalid"})
        );
        assert!(
            status(422, Some(&body), false)["message"]
                .as_str()
                .unwrap()
                .contains("hunter2")
        );
    }
}

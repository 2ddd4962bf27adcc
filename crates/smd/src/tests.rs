#![allow(
    clippy::needless_pass_by_value,
    clippy::semicolon_if_nothing_returned,
    reason = "values and changes are written in place"
)]

mod overlays;
mod properties;
mod recorded;
mod tracking;
mod typed;

use std::sync::Arc;

use apimachinery::gvk::GroupVersionKind;
use jiff::Timestamp;
use schema::Schema;
use serde_json::{Value, json};

use crate::*;

/// The custom resource of the recorded cases.
fn widget() -> Arc<Schema> {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "v": {"type": "string"}, "w": {"type": "string"}}}},
            "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "atomic": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
            "plain": {"type": "array", "items": {"type": "string"}},
            "obj": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "frozen": {"type": "object", "x-kubernetes-map-type": "atomic",
                "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "n": {"type": "integer"},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "intstr": {"x-kubernetes-int-or-string": true},
            "embedded": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true},
            "dflt": {"type": "string", "default": "d"}}},
        "status": {"type": "object", "properties": {
            "phase": {"type": "string"},
            "conds": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                "items": {"type": "object", "required": ["type"], "properties": {
                    "type": {"type": "string"}, "status": {"type": "string"}}}}}}}});
    Arc::new(Schema::parse(&schema).unwrap())
}

fn built_in(group: &str, version: &str, kind: &str) -> Arc<Schema> {
    let gvk = GroupVersionKind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
    };
    schema::builtin::schema(&gvk).unwrap()
}

/// What an API server does around the two functions: it stores, defaults, restores `status`, and keeps time.
struct Server {
    schema: Arc<Schema>,
    api_version: &'static str,
    kind: &'static str,
    stored: Option<Value>,
    seconds: i64,
}

impl Server {
    fn new(schema: Arc<Schema>, api_version: &'static str, kind: &'static str) -> Self {
        Server {
            schema,
            api_version,
            kind,
            stored: None,
            seconds: 0,
        }
    }

    fn widgets() -> Self {
        Server::new(widget(), "example.com/v1", "Widget")
    }

    fn config_maps() -> Self {
        Server::new(built_in("", "v1", "ConfigMap"), "v1", "ConfigMap")
    }

    fn now(&mut self) -> Timestamp {
        self.seconds += 1;
        Timestamp::from_second(self.seconds).unwrap()
    }

    fn object(&self, parts: &Value) -> Value {
        let mut object =
            json!({"apiVersion": self.api_version, "kind": self.kind, "metadata": {"name": "a"}});
        for (key, value) in parts.as_object().unwrap() {
            if key == "metadata" {
                for (key, value) in value.as_object().unwrap() {
                    object["metadata"][key] = value.clone();
                }
            } else {
                object[key] = value.clone();
            }
        }
        object
    }

    fn reset(subresource: Option<&str>) -> &'static [&'static [&'static str]] {
        match subresource {
            Some("status") => &[&["spec"], &["metadata"]],
            _ => &[&["status"]],
        }
    }

    fn store(&mut self, mut object: Value, subresource: Option<&str>) {
        let kept = match subresource {
            Some("status") => "spec",
            _ => "status",
        };
        let old = self
            .stored
            .as_ref()
            .and_then(|stored| stored.get(kept))
            .cloned();
        match old {
            Some(old) => object[kept] = old,
            None => {
                object.as_object_mut().unwrap().remove(kept);
            }
        }
        schema::default(&self.schema, &mut object).unwrap();
        self.stored = Some(object);
    }

    fn try_apply(
        &mut self,
        manager: &str,
        subresource: Option<&str>,
        force: bool,
        parts: &Value,
    ) -> Result<Value, ApplyError> {
        let applied = self.object(parts);
        let now = self.now();
        let new = apply(ApplyRequest {
            live: self.stored.as_ref(),
            applied: &applied,
            schema: &self.schema,
            manager,
            api_version: self.api_version,
            subresource,
            force,
            now,
            reset: Server::reset(subresource),
            versions: None,
        })?;
        self.store(new, subresource);
        Ok(self.stored.clone().unwrap())
    }

    fn apply(&mut self, manager: &str, parts: Value) -> Value {
        self.try_apply(manager, None, false, &parts).unwrap()
    }

    fn force(&mut self, manager: &str, parts: Value) -> Value {
        self.try_apply(manager, None, true, &parts).unwrap()
    }

    fn conflicts(&mut self, manager: &str, parts: Value) -> String {
        match self.try_apply(manager, None, false, &parts) {
            Err(error @ ApplyError::Conflicts(_)) => error.to_string(),
            other => panic!("no conflict but {other:?}"),
        }
    }

    /// Creates or replaces by update.
    fn put(&mut self, manager: &str, subresource: Option<&str>, mut new: Value) -> Value {
        schema::default(&self.schema, &mut new).unwrap();
        let now = self.now();
        update(UpdateRequest {
            old: self.stored.as_ref(),
            new: &mut new,
            schema: &self.schema,
            manager,
            api_version: self.api_version,
            subresource,
            now,
            reset: Server::reset(subresource),
            versions: None,
        });
        self.store(new, subresource);
        self.stored.clone().unwrap()
    }

    fn create(&mut self, manager: &str, parts: Value) -> Value {
        let object = self.object(&parts);
        self.put(manager, None, object)
    }

    fn patch(&mut self, manager: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut object = self.stored.clone().unwrap();
        change(&mut object);
        self.put(manager, None, object)
    }

    /// `manager operation [subresource]` with its fields, in the order of the list.
    fn owners(&self) -> Vec<(String, Value)> {
        let stored = self.stored.as_ref().unwrap();
        let list = stored["metadata"]["managedFields"].as_array();
        list.into_iter()
            .flatten()
            .map(|entry| {
                assert_eq!(entry["fieldsType"], "FieldsV1");
                assert_eq!(entry["apiVersion"], self.api_version);
                assert!(entry["time"].is_string());
                let mut who = format!(
                    "{} {}",
                    entry["manager"].as_str().unwrap(),
                    entry["operation"].as_str().unwrap()
                );
                if let Some(subresource) = entry.get("subresource") {
                    who = format!("{who} {}", subresource.as_str().unwrap());
                }
                (who, entry["fieldsV1"].clone())
            })
            .collect()
    }

    fn owned_by(&self, who: &str) -> Value {
        let owners = self.owners();
        let found = owners.into_iter().find(|(name, _)| name == who);
        found.map_or(Value::Null, |(_, fields)| fields)
    }

    fn time_of(&self, manager: &str) -> String {
        let stored = self.stored.as_ref().unwrap();
        let list = stored["metadata"]["managedFields"].as_array().unwrap();
        let entry = list
            .iter()
            .find(|entry| entry["manager"] == manager)
            .unwrap();
        entry["time"].as_str().unwrap().to_owned()
    }
}

//! The part of another server's OpenAPI v2 document that describes one group and version.
//!
//! Its document is taken as it is, but for what does not belong to the group and version: paths elsewhere, and
//! definitions that its paths do not lead to. No recursion: a document leads in circles as it likes.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::gvk::GroupVersion;
use serde_json::{Map, Value};

use super::v2::{DEFINITIONS, V2Part, member};

/// Makes the part of a group and version of another server's document.
#[must_use]
pub fn v2_foreign_part(gv: &GroupVersion, mut document: Value) -> V2Part {
    let mut take = |name: &str| match document.get_mut(name).map(Value::take) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (all, known) = (take("paths"), take("definitions"));
    let root = format!("/apis/{}/{}", gv.group, gv.version);
    let own = |path: &str| {
        let below = path.strip_prefix(&root);
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    };
    let mut wanted: Vec<String> = Vec::new();
    let mut paths = Vec::new();
    for (path, item) in all {
        if own(&path) {
            wanted.extend(references(&item));
            paths.push(member(&path, &item));
        }
    }
    let mut definitions = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        if let Some(definition) = known.get(&name)
            && !definitions.contains_key(&name)
        {
            wanted.extend(references(definition));
            definitions.insert(name, definition.to_string());
        }
    }
    V2Part {
        paths: paths.join(","),
        definitions,
    }
}

/// Names of the definitions that a value leads to.
fn references(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(map) => {
                if let Some(Value::String(to)) = map.get("$ref") {
                    found.extend(to.strip_prefix(DEFINITIONS).map(str::to_owned));
                }
                rest.extend(map.values());
            }
            _ => {}
        }
    }
    found
}

impl V2Part {
    /// The part with other names for definitions that are others elsewhere: Kubernetes appends `_v2`, `_v3`.
    pub(super) fn renamed(&self, taken: &BTreeMap<String, String>) -> V2Part {
        let clashes = |name: &String| {
            let own = self.definitions.get(name);
            taken.get(name).is_some_and(|there| Some(there) != own)
        };
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        let mut used: BTreeSet<String> = BTreeSet::new();
        for name in self.definitions.keys().filter(|name| clashes(name)) {
            // What is defined twice has a free name among so many.
            let free = (2..taken.len() + self.definitions.len() + 3)
                .map(|n| format!("{name}_v{n}"))
                .find(|new| {
                    !taken.contains_key(new)
                        && !self.definitions.contains_key(new)
                        && !used.contains(new)
                });
            if let Some(free) = free {
                used.insert(free.clone());
                names.insert(name, free);
            }
        }
        if names.is_empty() {
            return self.clone();
        }
        // A reference is a whole string of JSON, so that its text is found by its quotes.
        let reference = |name: &str| Value::from(format!("{DEFINITIONS}{name}")).to_string();
        let rename = |text: &str| {
            names.iter().fold(text.to_owned(), |text, (old, new)| {
                text.replace(&reference(old), &reference(new))
            })
        };
        V2Part {
            paths: rename(&self.paths),
            definitions: self
                .definitions
                .iter()
                .map(|(name, text)| {
                    let name = names.get(name.as_str()).unwrap_or(name);
                    (name.clone(), rename(text))
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::openapi::v2_document;

    fn reference(name: &str) -> Value {
        json!({"$ref": format!("{DEFINITIONS}{name}")})
    }

    fn part(group: &str, document: Value) -> V2Part {
        v2_foreign_part(&GroupVersion::new(group, "v1"), document)
    }

    #[test]
    fn only_what_describes_the_group_and_version_is_taken() {
        let document = json!({
            "paths": {
                "/apis/a.com/v1": {"get": {}},
                "/apis/a.com/v1/ships": {"get": {"schema": reference("Ship")}},
                "/apis/a.com/v1beta1/ships": {"get": {"schema": reference("Old")}},
                "/apis/b.com/v1/x": {}, "/api/v1/pods": {"get": {"schema": reference("Pod")}},
            },
            "definitions": {
                "Ship": {"properties": {"in": reference("Fleet"), "gone": reference("Nowhere")}},
                "Fleet": {"properties": {"ships": {"items": reference("Ship")}}},
                "Old": {}, "Pod": {},
            },
        });
        let document: Value =
            serde_json::from_str(&v2_document([&part("a.com", document)])).unwrap();
        let keys = |name: &str| -> Vec<String> {
            let map = document[name].as_object().unwrap();
            map.keys().cloned().collect()
        };
        assert_eq!(keys("paths"), ["/apis/a.com/v1", "/apis/a.com/v1/ships"]);
        assert_eq!(keys("definitions"), ["Fleet", "Ship"]);
        for nonsense in [
            json!(null),
            json!([]),
            json!({"paths": [], "definitions": 1}),
        ] {
            assert_eq!(part("a.com", nonsense), V2Part::default());
        }
    }

    #[test]
    fn names_that_mean_another_thing_are_changed_with_what_leads_to_them() {
        let of = |group: &str, what: &str| {
            let path = format!("/apis/{group}/v1/ships");
            part(
                group,
                json!({
                    "paths": {path: {"get": {"schema": reference("Ship"), "same": reference("Same")}}},
                    "definitions": {
                        "Ship": {"description": what, "properties": {"next": reference("Ship")}},
                        "Same": {"type": "string"},
                    },
                }),
            )
        };
        let parts = [
            of("a.com", "A"),
            of("b.com", "B"),
            of("c.com", "C"),
            of("d.com", "A"),
        ];
        let document: Value = serde_json::from_str(&v2_document(&parts)).unwrap();
        let names: Vec<&String> = document["definitions"]
            .as_object()
            .unwrap()
            .keys()
            .collect();
        assert_eq!(names, ["Same", "Ship", "Ship_v2", "Ship_v3"]);
        for (group, name) in [
            ("a", "Ship"),
            ("b", "Ship_v2"),
            ("c", "Ship_v3"),
            ("d", "Ship"),
        ] {
            let get = &document["paths"][format!("/apis/{group}.com/v1/ships")]["get"];
            assert_eq!(get["schema"], reference(name));
            assert_eq!(get["same"], reference("Same"));
            let definition = &document["definitions"][name];
            assert_eq!(definition["properties"]["next"], reference(name));
        }
    }
}

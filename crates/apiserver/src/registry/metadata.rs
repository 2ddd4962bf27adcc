//! The fields of metadata that belong to the server.

use apimachinery::{meta, name};
use jiff::Timestamp;
use rand::Rng as _;
use serde_json::{Map, Value};

use crate::kinds::Kind;

/// The alphabet of generated names: no vowels, nothing that looks like another.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Five random characters.
pub(crate) fn random_suffix() -> String {
    let mut rng = rand::rng();
    (0..5)
        .filter_map(|_| ALPHABET.get(rng.random_range(0..ALPHABET.len())))
        .map(|b| char::from(*b))
        .collect()
}

/// Chooses a name from `generateName` when there is none.
pub(super) fn generate(object: &mut Value) {
    if meta::name(object).is_none()
        && let Some(base) = meta::generate_name(object)
    {
        let chosen = name::generate_name(base, &random_suffix());
        meta::set_name(object, chosen);
    }
}

fn remove(object: &mut Value, fields: &[&str]) {
    if let Some(meta) = meta::metadata_mut(object) {
        for field in fields {
            meta.remove(*field);
        }
    }
}

/// Removes what is empty, as typed clients leave it (`creationTimestamp: null`, `labels: {}`).
pub(super) fn tidy(object: &mut Value) {
    if let Some(meta) = meta::metadata_mut(object) {
        meta.retain(|key, value| match value {
            Value::Null => false,
            Value::Object(map) => {
                !(map.is_empty() && matches!(key.as_str(), "labels" | "annotations"))
            }
            Value::Array(list) => {
                !(list.is_empty()
                    && matches!(
                        key.as_str(),
                        "finalizers" | "ownerReferences" | "managedFields"
                    ))
            }
            Value::String(text) => {
                !(text.is_empty()
                    && matches!(
                        key.as_str(),
                        "namespace"
                            | "generateName"
                            | "resourceVersion"
                            | "uid"
                            | "selfLink"
                            | "name"
                    ))
            }
            _ => true,
        });
    }
}

/// A new object: what clients say about these fields is dropped.
pub(super) fn on_create(kind: &Kind, object: &mut Value, now: Timestamp) {
    remove(
        object,
        &[
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "resourceVersion",
            "generation",
        ],
    );
    if !kind.namespaced {
        remove(object, &["namespace"]);
    }
    meta::set_uid(object, uuid::Uuid::new_v4().to_string());
    meta::set_creation_timestamp(object, Some(now));
    if kind.behaviour.generation {
        meta::set_generation(object, Some(1));
    }
}

/// A changed object: these fields stay as they were.
pub(super) fn on_update(kind: &Kind, object: &mut Value, old: &Value) {
    remove(object, &["selfLink"]);
    if !kind.namespaced {
        remove(object, &["namespace"]);
    }
    let kept = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ];
    let old_meta = meta::metadata(old);
    if let Some(meta) = meta::metadata_mut(object) {
        for field in kept {
            match old_meta.and_then(|m| m.get(field)) {
                Some(value) => {
                    meta.insert(field.to_owned(), value.clone());
                }
                None => {
                    meta.remove(field);
                }
            }
        }
    }
}

/// Counts another generation if a changed object, complete with its defaults, asks for something else.
pub(super) fn set_generation(kind: &Kind, object: &mut Value, old: &Value) {
    if kind.behaviour.generation {
        let before = meta::generation(old).unwrap_or(0);
        // A Deployment's annotations are copied to what it makes, so they count as its specification.
        let copied =
            kind.is("apps", "deployments") && meta::annotations(object) != meta::annotations(old);
        let changed = copied || spec_changed(kind, object, old);
        meta::set_generation(
            object,
            Some(if changed { before + 1 } else { before.max(1) }),
        );
    }
}

/// Whether anything but metadata (and a status that is a subresource) differs.
fn spec_changed(kind: &Kind, object: &Value, old: &Value) -> bool {
    let counted = |key: &str| {
        let separate = key == "status" && kind.behaviour.status;
        !separate && !matches!(key, "metadata" | "apiVersion" | "kind")
    };
    let (Some(a), Some(b)) = (object.as_object(), old.as_object()) else {
        return true;
    };
    let mut ours = a.iter().filter(|(k, _)| counted(k));
    let mut theirs = b.iter().filter(|(k, _)| counted(k));
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return false,
            (x, y) if x == y => {}
            _ => return true,
        }
    }
}

/// Whether both are the same but for the times in `managedFields`.
pub(super) fn is_noop(object: &Value, old: &Value) -> bool {
    alike(Some(object), Some(old), "metadata", |new, old| {
        alike(new, old, "managedFields", |new, old| {
            let (Some(Value::Array(new)), Some(Value::Array(old))) = (new, old) else {
                return new == old;
            };
            let mut pairs = new.iter().zip(old);
            let timeless = |new, old| alike(Some(new), Some(old), "time", |_, _| true);
            new.len() == old.len() && pairs.all(|(new, old)| timeless(new, old))
        })
    })
}

/// Whether two objects have the same fields; of the field `but`, `judge` says whether it is the same. It is asked last:
/// that field may be dear to compare.
fn alike(
    a: Option<&Value>,
    b: Option<&Value>,
    but: &str,
    judge: impl Fn(Option<&Value>, Option<&Value>) -> bool,
) -> bool {
    let (Some(Value::Object(a)), Some(Value::Object(b))) = (a, b) else {
        return a == b;
    };
    let others = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key(but));
    others(a) == others(b)
        && a.iter()
            .all(|(key, value)| key == but || b.get(key) == Some(value))
        && judge(a.get(but), b.get(but))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_write_that_changes_only_times_of_managed_fields_changes_nothing() {
        let object = |data: &str, label: &str, fields: Value| json!({"data": {"k": data}, "metadata": {"labels": {"l": label}, "managedFields": fields}});
        let fields = |time: &str, manager: &str| json!([{"manager": manager, "time": time}]);
        let old = object("a", "a", fields("2026-01-01T00:00:00Z", "m"));
        for (new, noop) in [
            (old.clone(), true),
            (object("a", "a", fields("2026-01-02T00:00:00Z", "m")), true),
            (object("a", "a", json!([{"manager": "m"}])), true),
            (object("b", "a", fields("2026-01-01T00:00:00Z", "m")), false),
            (object("a", "b", fields("2026-01-01T00:00:00Z", "m")), false),
            (object("a", "a", fields("2026-01-01T00:00:00Z", "n")), false),
            (object("a", "a", json!([])), false),
            (object("a", "a", Value::Null), false),
            (json!({"data": {"k": "a"}}), false),
            (json!({"metadata": old["metadata"]}), false),
        ] {
            assert_eq!(is_noop(&new, &old), noop, "{new}");
            assert_eq!(is_noop(&old, &new), noop, "{new}");
        }
    }
}

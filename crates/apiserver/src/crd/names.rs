//! Names of CRDs in one group must not collide.

use std::collections::BTreeSet;

use serde_json::Value;

fn text<'a>(crd: &'a Value, pointer: &str) -> &'a str {
    crd.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Resource names: plural, singular, short names.
fn resources(crd: &Value) -> BTreeSet<&str> {
    let short = crd
        .pointer("/spec/names/shortNames")
        .and_then(Value::as_array);
    [
        text(crd, "/spec/names/plural"),
        text(crd, "/spec/names/singular"),
    ]
    .into_iter()
    .chain(short.into_iter().flatten().filter_map(Value::as_str))
    .filter(|name| !name.is_empty())
    .collect()
}

fn kinds(crd: &Value) -> BTreeSet<&str> {
    [
        text(crd, "/spec/names/kind"),
        text(crd, "/spec/names/listKind"),
    ]
    .into_iter()
    .filter(|n| !n.is_empty())
    .collect()
}

/// Whether `other` was there first: it has accepted names already.
fn was_accepted(other: &Value) -> bool {
    !text(other, "/status/acceptedNames/plural").is_empty()
}

/// Why the names of `crd` cannot be accepted beside those of `others`.
pub(super) fn conflict<'a>(crd: &Value, others: impl Iterator<Item = &'a Value>) -> Option<String> {
    let (own_resources, own_kinds) = (resources(crd), kinds(crd));
    for other in others {
        if text(other, "/spec/group") != text(crd, "/spec/group") || !was_accepted(other) {
            continue;
        }
        if let Some(name) = own_resources.intersection(&resources(other)).next() {
            return Some(format!("{name:?} is already in use"));
        }
        if let Some(name) = own_kinds.intersection(&kinds(other)).next() {
            return Some(format!("{name:?} is already in use"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_collide_within_a_group_only() {
        let crd = |group: &str, plural: &str, kind: &str, accepted: bool| {
            json!({"spec": {"group": group, "names": {"plural": plural, "kind": kind}},
                   "status": {"acceptedNames": if accepted { json!({"plural": plural}) } else { json!({}) }}})
        };
        let first = crd("a", "widgets", "Widget", true);
        assert!(conflict(&crd("a", "gadgets", "Widget", false), [&first].into_iter()).is_some());
        assert!(conflict(&crd("b", "gadgets", "Widget", false), [&first].into_iter()).is_none());
        assert!(conflict(&crd("a", "gadgets", "Gadget", false), [&first].into_iter()).is_none());
    }
}

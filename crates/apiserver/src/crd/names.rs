//! Names of CRDs in one group must not collide.
//!
//! Each name is judged by itself: one that is free, or its own already, is accepted. Built-in kinds have theirs
//! first. A CRD that was established stays served, by the names that were accepted before.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::kinds::Kind;

/// What becomes of the names that a CRD asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Judgement {
    /// For `status.acceptedNames`.
    pub accepted: Value,
    /// Reason and message of `NamesAccepted=False`.
    pub conflict: Option<(&'static str, String)>,
}

/// Names that others of the group have.
#[derive(Default)]
struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    let list = value.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

impl Taken {
    fn builtin(&mut self, kind: &Kind) {
        let short = kind.short_names.iter().cloned();
        self.resources
            .extend([kind.plural.clone(), kind.singular.clone()]);
        self.resources.extend(short);
        self.kinds
            .extend([kind.kind.clone(), kind.list_kind.clone()]);
    }

    fn custom(&mut self, names: &Value) {
        let own = ["plural", "singular"].map(|key| text(names, key).to_owned());
        self.resources.extend(own);
        self.resources
            .extend(list(names, "shortNames").map(str::to_owned));
        self.kinds
            .extend(["kind", "listKind"].map(|key| text(names, key).to_owned()));
    }
}

/// Judges the names of `crd` beside those of other CRDs and of the server's own kinds.
pub(super) fn judge<'a>(
    crd: &Value,
    others: impl Iterator<Item = &'a Value>,
    builtin: &[Arc<Kind>],
) -> Judgement {
    let none = Value::Null;
    let asked = crd.pointer("/spec/names").unwrap_or(&none);
    let before = crd.pointer("/status/acceptedNames").unwrap_or(&none);
    let group = crd.pointer("/spec/group");
    let mut taken = Taken::default();
    for kind in builtin {
        if group.is_some_and(|group| *group == *kind.group) {
            taken.builtin(kind);
        }
    }
    for other in others {
        if other.pointer("/spec/group") == group
            && let Some(names) = other.pointer("/status/acceptedNames")
        {
            taken.custom(names);
        }
    }
    let mut accepted = before.as_object().cloned().unwrap_or_default();
    let mut conflict = None;
    for (key, reason, taken) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        let wanted: Vec<&str> = match key {
            "shortNames" => list(asked, key).collect(),
            _ => vec![text(asked, key)],
        };
        let own: Vec<&str> = match key {
            "shortNames" => list(before, key).collect(),
            _ => vec![text(before, key)],
        };
        let used: Vec<String> = wanted
            .iter()
            .filter(|name| !name.is_empty() && !own.contains(name) && taken.contains(**name))
            .map(|name| format!("{name:?} is already in use"))
            .collect();
        match used.as_slice() {
            [] => take(&mut accepted, asked, key),
            [one] => conflict = Some((reason, one.clone())),
            many => conflict = Some((reason, format!("[{}]", many.join(", ")))),
        }
    }
    take(&mut accepted, asked, "categories");
    // Upstream writes these two even when they are empty.
    for key in ["plural", "kind"] {
        accepted.entry(key).or_insert_with(|| json!(""));
    }
    Judgement {
        accepted: accepted.into(),
        conflict,
    }
}

fn take(accepted: &mut Map<String, Value>, asked: &Value, key: &str) {
    match asked.get(key) {
        Some(value) => accepted.insert(key.to_owned(), value.clone()),
        None => accepted.remove(key),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(group: &str, plural: &str, kind: &str, accepted: &Value) -> Value {
        json!({
            "spec": {"group": group, "names": {"plural": plural, "kind": kind, "shortNames": ["x"]}},
            "status": {"acceptedNames": accepted},
        })
    }

    #[test]
    fn each_name_is_judged_by_itself_within_its_group() {
        let first = crd(
            "a",
            "widgets",
            "Widget",
            &json!({"plural": "widgets", "kind": "Widget"}),
        );
        let judged = |crd: &Value| judge(crd, [&first].into_iter(), &[]);
        let none = json!({});
        let same_kind = judged(&crd("a", "gadgets", "Widget", &none));
        assert_eq!(
            same_kind,
            Judgement {
                accepted: json!({"plural": "gadgets", "kind": "", "shortNames": ["x"]}),
                conflict: Some(("KindConflict", "\"Widget\" is already in use".to_owned())),
            }
        );
        assert_eq!(judged(&crd("b", "gadgets", "Widget", &none)).conflict, None);
        assert_eq!(judged(&crd("a", "gadgets", "Gadget", &none)).conflict, None);
        // What it has is its own, and who was not accepted has nothing.
        let waiting = crd("a", "widgets", "Widget", &json!({"plural": "", "kind": ""}));
        assert_eq!(judge(&first, [&waiting].into_iter(), &[]).conflict, None);
    }

    #[test]
    fn what_was_accepted_before_stays_when_a_new_name_collides() {
        let other = json!({"spec": {"group": "a"}, "status": {"acceptedNames": {"plural": "o", "shortNames": ["x"]}}});
        let before = json!({"plural": "widgets", "kind": "Widget", "shortNames": ["w"]});
        let judged = judge(
            &crd("a", "widgets", "Widget", &before),
            [&other].into_iter(),
            &[],
        );
        assert_eq!(judged.accepted, before);
        assert_eq!(
            judged.conflict.map(|(reason, _)| reason),
            Some("ShortNamesConflict")
        );
    }

    #[test]
    fn builtin_kinds_keep_their_names() {
        let builtin = crate::kinds::builtin();
        let judged = |plural: &str, kind: &str| {
            let crd = crd("coordination.k8s.io", plural, kind, &json!({}));
            judge(&crd, [].into_iter(), &builtin)
                .conflict
                .map(|(reason, _)| reason)
        };
        assert_eq!(judged("leases", "Own"), Some("PluralConflict"));
        assert_eq!(judged("owns", "LeaseList"), Some("KindConflict"));
        assert_eq!(judged("owns", "Own"), None);
    }
}

//! Laws that hold for any JSON.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::collect::fields_of;
use crate::compare::compare;
use crate::merge::merge;
use crate::remove::remove;
use crate::types::Type;

fn element() -> impl Strategy<Value = PathElement> {
    prop_oneof![
        select(&["a", "b", "c.d/e"][..]).prop_map(PathElement::field),
        select(&["x", "y"][..]).prop_map(|v| PathElement::Value(Literal(json!(v)))),
        (0..2i64).prop_map(|n| PathElement::Value(Literal(json!(n)))),
        (0..2u8, select(&["TCP", "UDP"][..])).prop_map(|(port, protocol)| PathElement::Key(vec![
            ("port".to_owned(), Literal(json!(port))),
            ("protocol".to_owned(), Literal(json!(protocol))),
        ])),
        (0..2i64).prop_map(PathElement::Index),
    ]
}

fn set() -> impl Strategy<Value = FieldSet> {
    vec(vec(element(), 1..4).prop_map(Path), 0..8).prop_map(FieldSet::from_paths)
}

/// Any JSON, with member names that the schema of the widget knows.
fn json_value() -> impl Strategy<Value = Value> {
    let names = select(
        &[
            "spec",
            "status",
            "metadata",
            "map",
            "set",
            "atomic",
            "obj",
            "frozen",
            "any",
            "n",
            "name",
            "labels",
            "finalizers",
            "conds",
            "type",
            "a",
            "v",
            "embedded",
            "intstr",
            "managedFields",
            "x",
        ][..],
    );
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..3i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(&["", "a", "b", "x"][..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(names.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// A spec that fits the schema.
fn spec() -> impl Strategy<Value = Value> {
    let text = || select(&["1", "2", "3"][..]).prop_map(Value::from);
    let texts = || {
        proptest::sample::subsequence(vec!["1", "2", "3", "4"], 0..4)
            .prop_shuffle()
            .prop_map(|list| json!(list))
    };
    let items = proptest::sample::subsequence(vec!["x", "y", "z"], 0..3)
        .prop_shuffle()
        .prop_flat_map(move |names| {
            let count = names.len();
            (
                Just(names),
                vec(
                    (proptest::option::of(text()), proptest::option::of(text())),
                    count,
                ),
            )
        })
        .prop_map(|(names, values)| {
            let items = names.iter().zip(values).map(|(name, (v, w))| {
                let mut item = json!({"name": name});
                if let Some(v) = v {
                    item["v"] = v;
                }
                if let Some(w) = w {
                    item["w"] = w;
                }
                item
            });
            items.collect::<Value>()
        });
    let object = || {
        btree_map(
            select(&["a", "b"][..]).prop_map(str::to_owned),
            text(),
            0..3,
        )
        .prop_map(|m| json!(m))
    };
    let field = prop_oneof![
        items.prop_map(|v| ("map", v)),
        texts().prop_map(|v| ("set", v)),
        texts().prop_map(|v| ("atomic", v)),
        object().prop_map(|v| ("obj", v)),
        object().prop_map(|v| ("frozen", v)),
        object().prop_map(|v| ("any", v)),
        (0..3i64).prop_map(|n| ("n", json!(n))),
    ];
    vec(field, 0..6).prop_map(|fields| {
        Value::Object(
            fields
                .into_iter()
                .map(|(name, v)| (name.to_owned(), v))
                .collect(),
        )
    })
}

proptest! {
    #[test]
    fn sets_obey_the_laws_of_sets(a in set(), b in set(), c in set()) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.intersection(&b.union(&c)), a.intersection(&b).union(&a.intersection(&c)));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert_eq!(a.difference(&b).intersection(&b), FieldSet::new());
        prop_assert_eq!(a.difference(&b.union(&c)), a.difference(&b).difference(&c));
        prop_assert_eq!(a.union(&a), a.clone());
        prop_assert!(a.difference(&a).is_empty());
        prop_assert_eq!(a.len(), a.paths().len());
        for path in a.paths() {
            prop_assert!(a.contains(&path.0));
            let prefixed = (1..=path.0.len()).any(|n| path.0.get(..n).is_some_and(|p| b.contains(p)));
            prop_assert_eq!(a.recursive_difference(&b).contains(&path.0), !prefixed);
        }
    }

    #[test]
    fn encoding_round_trips(a in set()) {
        prop_assert_eq!(decode_fields(&encode_fields(&a)), Ok(a));
    }

    #[test]
    fn decoding_never_panics(value in json_value()) {
        let _ = decode_fields(&value);
    }

    #[test]
    fn nothing_panics_on_any_json(live in json_value(), applied in json_value(), force in any::<bool>()) {
        let schema = widget();
        let ty = Type::Resource(&schema);
        let now = Timestamp::UNIX_EPOCH;
        for live in [None, Some(&live)] {
            let request = ApplyRequest {
                live, applied: &applied, schema: &schema, manager: "m", api_version: "v1", subresource: None,
                force, now, reset: &[&["status"]], versions: None,
            };
            let _ = apply(request);
            let mut new = applied.clone();
            update(UpdateRequest {
                old: live, new: &mut new, schema: &schema, manager: "m", api_version: "v1", subresource: None,
                now, reset: &[&["status"]], versions: None,
            });
        }
        let changes = compare(ty, &live, &applied);
        if Literal::same(&live, &applied) {
            prop_assert!(changes.written().is_empty() && changes.removed.is_empty());
        }
        let _ = merge(ty, &live, &applied);
        let _ = remove(ty, &live, &fields_of(ty, &applied));
    }

    #[test]
    fn applying_twice_is_a_noop(first in spec(), second in spec(), by_update in any::<bool>()) {
        let mut server = Server::widgets();
        if by_update {
            server.create("tool", json!({"spec": first}));
        } else {
            server.apply("tool", json!({"spec": first}));
        }
        let once = server.force("me", json!({"spec": second}));
        prop_assert_eq!(server.apply("me", json!({"spec": second})), once);
    }

    /// After an apply, whatever was applied is there, whoever owned it.
    #[test]
    fn what_is_applied_is_there(first in spec(), second in spec()) {
        let mut server = Server::widgets();
        server.apply("tool", json!({"spec": first}));
        let object = server.force("me", json!({"spec": second}));
        let schema = widget();
        let ty = Type::Resource(&schema);
        let wanted = json!({"spec": second});
        let changes = compare(ty, &json!({"spec": object["spec"]}), &wanted);
        // Applying an empty map or list adds nothing to what is there.
        prop_assert!(changes.written().is_empty(), "{:?}", changes.written().paths());
    }

    /// Two appliers that agree share; giving up what the other one owns removes nothing.
    #[test]
    fn giving_up_shared_fields_removes_nothing(shared in spec()) {
        let mut server = Server::widgets();
        server.apply("one", json!({"spec": shared}));
        server.apply("two", json!({"spec": shared}));
        let object = server.apply("two", json!({}));
        let mut expected = shared;
        expected["dflt"] = "d".into();
        prop_assert_eq!(&object["spec"], &expected);
    }
}

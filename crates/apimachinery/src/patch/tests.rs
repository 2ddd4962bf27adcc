#![allow(
    clippy::needless_pass_by_value,
    reason = "tables of literals read better by value"
)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::limits;

fn json(doc: Value, patch: Value) -> Result<Value, PatchError> {
    let mut target = doc;
    json_patch(&mut target, &patch).map(|()| target)
}

#[test]
fn json_patch_operations() {
    let cases = [
        (
            json!({"a": 1}),
            json!([{"op": "add", "path": "/b", "value": {"c": null}}]),
            json!({"a": 1, "b": {"c": null}}),
        ),
        (
            json!({"l": ["a", "b"]}),
            json!([{"op": "add", "path": "/l/1", "value": "x"}, {"op": "add", "path": "/l/-", "value": "y"}, {"op": "add", "path": "/l/4", "value": "z"}]),
            json!({"l": ["a", "x", "b", "y", "z"]}),
        ),
        (
            json!({"l": [1, 2, 3]}),
            json!([{"op": "remove", "path": "/l/0"}]),
            json!({"l": [2, 3]}),
        ),
        (
            json!({"a": {"b": 1}}),
            json!([{"op": "replace", "path": "/a/b", "value": [2]}]),
            json!({"a": {"b": [2]}}),
        ),
        (
            json!({"a": {"b": 1}, "c": 2}),
            json!([{"op": "move", "from": "/a/b", "path": "/d"}]),
            json!({"a": {}, "c": 2, "d": 1}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "move", "from": "/a", "path": "/a"}]),
            json!({"a": 1}),
        ),
        (
            json!({"l": [1, 2, 3]}),
            json!([{"op": "move", "from": "/l/0", "path": "/l/2"}]),
            json!({"l": [2, 3, 1]}),
        ),
        (
            json!({"a": {"b": 1}}),
            json!([{"op": "copy", "from": "/a", "path": "/c"}, {"op": "copy", "from": "/a", "path": "/a/d"}]),
            json!({"a": {"b": 1, "d": {"b": 1}}, "c": {"b": 1}}),
        ),
        (
            json!({"a/b": 1, "m~n": 2}),
            json!([{"op": "replace", "path": "/a~1b", "value": 3}, {"op": "remove", "path": "/m~0n"}]),
            json!({"a/b": 3}),
        ),
        (
            json!({"": 1}),
            json!([{"op": "replace", "path": "/", "value": 2}]),
            json!({"": 2}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "replace", "path": "", "value": {"b": 2}}]),
            json!({"b": 2}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "test", "path": "/a", "value": 1.0}, {"op": "test", "path": "/none", "value": null}]),
            json!({"a": 1}),
        ),
        (json!({"a": 1}), json!([]), json!({"a": 1})),
    ];
    for (doc, patch, expected) in cases {
        assert_eq!(json(doc, patch.clone()), Ok(expected), "{patch}");
    }
}

#[test]
fn json_patches_count_from_the_end_too() {
    let cases = [
        (
            json!({"op": "add", "path": "/l/-1", "value": 9}),
            json!([1, 2, 3, 9]),
        ),
        (
            json!({"op": "add", "path": "/l/-2", "value": 9}),
            json!([1, 2, 9, 3]),
        ),
        (
            json!({"op": "replace", "path": "/l/-1", "value": 9}),
            json!([1, 2, 9]),
        ),
        (json!({"op": "remove", "path": "/l/-3"}), json!([2, 3])),
        (
            json!({"op": "copy", "from": "/l/-1", "path": "/l/0"}),
            json!([3, 1, 2, 3]),
        ),
    ];
    for (operation, expected) in cases {
        let patched = json(json!({"l": [1, 2, 3]}), json!([operation])).unwrap();
        assert_eq!(patched["l"], expected, "{operation}");
    }
}

#[test]
fn json_patches_that_do_not_apply() {
    let doc = json!({"a": {"b": 1}, "l": [1]});
    let refused = [
        json!([{"op": "test", "path": "/a/b", "value": 2}]),
        json!([{"op": "test", "path": "/a/x", "value": 2}]),
        json!([{"op": "remove", "path": "/none"}]),
        json!([{"op": "remove", "path": ""}]),
        json!([{"op": "replace", "path": "/none", "value": 1}]),
        json!([{"op": "replace", "path": "/none/deeper", "value": 1}]),
        json!([{"op": "add", "path": "/none/deeper", "value": 1}]),
        json!([{"op": "add", "path": "/a/b/c", "value": 1}]),
        json!([{"op": "add", "path": "/l/2", "value": 1}]),
        json!([{"op": "add", "path": "/l/01", "value": 1}]),
        json!([{"op": "add", "path": "/l/-3", "value": 1}]),
        json!([{"op": "remove", "path": "/l/-2"}]),
        json!([{"op": "remove", "path": "/l/-0"}]),
        json!([{"op": "remove", "path": "/l/-"}]),
        json!([{"op": "add", "path": "/x"}]),
        json!([{"op": "add", "path": "x", "value": 1}]),
        json!([{"op": "add", "path": "/~2", "value": 1}]),
        json!([{"op": "move", "from": "/a", "path": "/a/c"}]),
        json!([{"op": "move", "from": "/none", "path": "/none"}]),
        json!([{"op": "copy", "from": "/none", "path": "/x"}]),
        json!([{"op": "spin", "path": "/x"}]),
        json!([{"path": "/x"}]),
    ];
    for patch in refused {
        assert!(
            matches!(
                json(doc.clone(), patch.clone()),
                Err(PatchError::DoesNotApply(_) | PatchError::TestFailed(_))
            ),
            "{patch}"
        );
    }
    for malformed in [
        json!({"op": "remove"}),
        json!([5]),
        json!([{"op": 5, "path": "/a"}]),
    ] {
        assert!(
            matches!(
                json(doc.clone(), malformed.clone()),
                Err(PatchError::Malformed(_))
            ),
            "{malformed}"
        );
    }
    // All or nothing.
    let mut target = doc.clone();
    let patch = json!([{"op": "remove", "path": "/a"}, {"op": "test", "path": "/l", "value": 0}]);
    assert!(json_patch(&mut target, &patch).is_err());
    assert_eq!(target, doc);
}

#[test]
fn json_patches_are_bounded() {
    let add = json!({"op": "add", "path": "/x", "value": 1});
    let many = Value::Array(vec![add; limits::JSON_PATCH_OPERATIONS + 1]);
    let error = json(json!({}), many).unwrap_err();
    assert_eq!(
        error.to_string(),
        "The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
    assert_eq!(ApiError::from(error).code(), 413);

    // Doubling by copies.
    let copies: Vec<Value> = (0..100)
        .map(|i| json!({"op": "copy", "from": "", "path": format!("/c{i}")}))
        .collect();
    let error = json(json!({"a": "x".repeat(1000)}), Value::Array(copies)).unwrap_err();
    assert!(matches!(error, PatchError::TooMuch(_)), "{error}");
    assert_eq!(ApiError::from(error).code(), 422);

    // Nesting by moves: each round puts the document one level deeper.
    let mut nest = Vec::new();
    for _ in 0..200 {
        nest.push(json!({"op": "add", "path": "/b", "value": {}}));
        nest.push(json!({"op": "move", "from": "/a", "path": "/b/a"}));
        nest.push(json!({"op": "move", "from": "/b", "path": "/a"}));
    }
    assert!(matches!(
        json(json!({"a": {}}), Value::Array(nest)),
        Err(PatchError::TooMuch(_))
    ));

    // Shifting a long list again and again.
    let shifts =
        vec![json!({"op": "add", "path": "/l/0", "value": 1}); limits::JSON_PATCH_OPERATIONS];
    let list = json!({"l": vec![0; 100_000]});
    assert!(matches!(
        json(list, Value::Array(shifts)),
        Err(PatchError::TooMuch(_))
    ));
}

#[test]
fn merge_patch_is_rfc_7386() {
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": "b"}),
            json!({"b": "c"}),
            json!({"a": "b", "b": "c"}),
        ),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (
            json!({"a": "b", "b": "c"}),
            json!({"a": null}),
            json!({"b": "c"}),
        ),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (
            json!({"a": [{"b": "c"}]}),
            json!({"a": [1]}),
            json!({"a": [1]}),
        ),
        (
            json!({"e": null}),
            json!({"a": 1}),
            json!({"e": null, "a": 1}),
        ),
        (
            json!([1, 2]),
            json!({"a": "b", "c": null}),
            json!({"a": "b"}),
        ),
        (
            json!({}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        ),
        (
            json!({"a": 1}),
            json!({"a": {"b": {"c": null, "d": [null]}}}),
            json!({"a": {"b": {"d": [null]}}}),
        ),
    ];
    for (doc, patch, expected) in cases {
        let mut target = doc;
        merge_patch(&mut target, &patch).unwrap();
        assert_eq!(target, expected, "{patch}");
    }
    assert_eq!(
        ApiError::from(merge_patch(&mut json!({}), &json!([1])).unwrap_err()).code(),
        400
    );
}

/// A Deployment's and a Service's lists, as their Go types declare them.
struct Meta;

impl PatchMeta for Meta {
    fn list_strategy(&self, path: &[&str]) -> ListStrategy {
        match path {
            ["metadata", "finalizers"] | ["set"] => ListStrategy::MergeSet,
            ["spec", "containers"] | [.., "env"] => ListStrategy::MergeByKey("name".to_owned()),
            [.., "containers", "ports"] => ListStrategy::MergeByKey("containerPort".to_owned()),
            ["ports"] => ListStrategy::MergeByKey("port".to_owned()),
            _ => ListStrategy::Replace,
        }
    }

    fn map_strategy(&self, path: &[&str]) -> MapStrategy {
        if path == ["atomic"] {
            MapStrategy::Replace
        } else {
            MapStrategy::Merge
        }
    }
}

fn strategic(doc: Value, patch: Value) -> Result<Value, PatchError> {
    strategic::apply(&doc, &patch, &Meta)
}

/// `spec.containers` one and two, of which one has environment and ports.
fn pod() -> Value {
    json!({"spec": {"containers": [
        {"name": "one", "image": "one:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
         "ports": [{"containerPort": 80, "protocol": "TCP"}]},
        {"name": "two", "image": "two:1"},
    ]}})
}

#[test]
fn lists_merge_by_key_as_recorded_from_kube() {
    let patched = strategic(
        pod(),
        json!({"spec": {"containers": [{"name": "one", "image": "one:2",
            "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}], "ports": [{"containerPort": 81}]}]}}),
    )
    .unwrap();
    assert_eq!(
        patched,
        json!({"spec": {"containers": [
            {"name": "one", "image": "one:2",
             "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
             "ports": [{"containerPort": 81}, {"containerPort": 80, "protocol": "TCP"}]},
            {"name": "two", "image": "two:1"},
        ]}})
    );
    // A new element stands first.
    let patched = strategic(
        pod(),
        json!({"spec": {"containers": [{"name": "three", "image": "three:1"}]}}),
    )
    .unwrap();
    let names: Vec<&Value> = patched["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["three", "one", "two"]);
}

#[test]
fn elements_are_deleted_and_lists_replaced() {
    let delete = strategic(
        pod(),
        json!({"spec": {"containers": [{"name": "one", "$patch": "delete"}]}}),
    )
    .unwrap();
    assert_eq!(
        delete,
        json!({"spec": {"containers": [{"name": "two", "image": "two:1"}]}})
    );
    let env = strategic(pod(), json!({"spec": {"containers": [{"name": "one", "env": [{"name": "A", "$patch": "delete"}]}]}})).unwrap();
    assert_eq!(
        env["spec"]["containers"][0]["env"],
        json!([{"name": "B", "value": "2"}])
    );
    let replace = strategic(
        pod(),
        json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "fresh", "x": null}]}}),
    )
    .unwrap();
    assert_eq!(
        replace,
        json!({"spec": {"containers": [{"name": "fresh"}]}})
    );
    let ports = strategic(
        json!({"ports": [{"name": "h", "port": 80}, {"name": "t", "port": 443}]}),
        json!({"ports": [{"port": 443, "$patch": "delete"}, {"port": 80, "targetPort": 8080}]}),
    );
    assert_eq!(
        ports,
        Ok(json!({"ports": [{"name": "h", "port": 80, "targetPort": 8080}]}))
    );
    // Deleting what is not there is no error; `merge` is the default.
    let nothing = strategic(
        pod(),
        json!({"spec": {"containers": [{"name": "none", "$patch": "delete"}, {"name": "two", "$patch": "merge"}]}}),
    );
    assert_eq!(nothing, Ok(pod()));
}

#[test]
fn element_order_is_set() {
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "two"}, {"name": "one"}],
        "containers": [{"name": "two", "image": "two:2"}],
    }});
    let patched = strategic(pod(), patch).unwrap();
    assert_eq!(
        patched["spec"]["containers"][0],
        json!({"name": "two", "image": "two:2"})
    );
    assert_eq!(
        patched["spec"]["containers"][1],
        pod()["spec"]["containers"][0]
    );
    // Order alone; and an element of the server that the order does not name keeps its place before its successor.
    let doc = json!({"ports": [{"port": 1}, {"port": 2}, {"port": 3}]});
    let order = json!({"$setElementOrder/ports": [{"port": 3}, {"port": 2}]});
    assert_eq!(
        strategic(doc.clone(), order),
        Ok(json!({"ports": [{"port": 1}, {"port": 3}, {"port": 2}]}))
    );
    let mismatch = json!({"$setElementOrder/ports": [{"port": 1}], "ports": [{"port": 2}]});
    assert!(
        strategic(doc.clone(), mismatch)
            .unwrap_err()
            .to_string()
            .starts_with("The order in patch list:")
    );
    let deleting = json!({"$setElementOrder/ports": [{"port": 1}, {"port": 2}], "ports": [{"port": 3, "$patch": "delete"}]});
    assert_eq!(
        strategic(doc, deleting),
        Ok(json!({"ports": [{"port": 1}, {"port": 2}]}))
    );
    let scalars = json!({"$setElementOrder/finalizers": ["c", "a"], "finalizers": ["c"]});
    let patched = strategic(
        json!({"metadata": {"finalizers": ["a", "b"]}}),
        json!({"metadata": scalars}),
    );
    assert_eq!(
        patched,
        Ok(json!({"metadata": {"finalizers": ["c", "a", "b"]}}))
    );
    let added = strategic(
        json!({}),
        json!({"$setElementOrder/ports": [{"port": 1}], "ports": [{"port": 1}]}),
    );
    assert_eq!(added, Ok(json!({"ports": [{"port": 1}]})));
    let none = strategic(json!({}), json!({"$setElementOrder/ports": [{"port": 1}]}));
    assert_eq!(none, Ok(json!({})));
}

#[test]
fn sets_of_scalars() {
    let doc = json!({"metadata": {"finalizers": ["example.com/a"]}});
    let added = strategic(doc, json!({"metadata": {"finalizers": ["example.com/b"]}})).unwrap();
    assert_eq!(
        added,
        json!({"metadata": {"finalizers": ["example.com/b", "example.com/a"]}})
    );
    let removed = strategic(
        added.clone(),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a", "none"]}}),
    );
    assert_eq!(
        removed,
        Ok(json!({"metadata": {"finalizers": ["example.com/b"]}}))
    );
    assert_eq!(
        strategic(
            added.clone(),
            json!({"metadata": {"$deleteFromPrimitiveList/none": ["x"]}})
        ),
        Ok(added)
    );
}

#[test]
fn maps_merge_replace_and_retain() {
    let doc = json!({"data": {"k": "v", "x": "y"}, "strategy": {"type": "Rolling", "rolling": {"max": 1}}, "atomic": {"a": 1}, "list": [1, 2]});
    let cases = [
        (
            json!({"data": {"k": null, "n": "1"}}),
            json!({"data": {"n": "1", "x": "y"}}),
        ),
        (
            json!({"data": {"$patch": "replace", "only": "1"}}),
            json!({"data": {"only": "1"}}),
        ),
        (json!({"data": {"$patch": "delete"}}), json!({"data": {}})),
        (
            json!({"data": {"$patch": "merge", "n": "1"}}),
            json!({"data": {"k": "v", "n": "1", "x": "y"}}),
        ),
        (
            json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
            json!({"strategy": {"type": "Recreate"}}),
        ),
        (
            json!({"atomic": {"b": 2, "c": null}}),
            json!({"atomic": {"b": 2}}),
        ),
        (json!({"list": [3]}), json!({"list": [3]})),
        (json!({"data": 5}), json!({"data": 5})),
        (
            json!({"new": {"$retainKeys": ["a"], "a": {"b": null}}}),
            json!({"new": {"a": {}}}),
        ),
    ];
    for (patch, changed) in cases {
        let mut expected = doc.clone();
        merge_top(&mut expected, &changed);
        assert_eq!(
            strategic(doc.clone(), patch.clone()),
            Ok(expected),
            "{patch}"
        );
    }
    let whole = strategic(doc, json!({"$patch": "replace", "a": 1}));
    assert_eq!(whole, Ok(json!({"a": 1})));
}

fn merge_top(target: &mut Value, changed: &Value) {
    for (key, value) in changed.as_object().unwrap() {
        target[key] = value.clone();
    }
}

#[test]
fn bad_strategic_patches_are_refused() {
    let malformed = [
        json!([1]),
        json!({"spec": {"$retainKeys": 5}}),
        json!({"spec": {"$retainKeys": ["a"], "b": 1}}),
        json!({"$setElementOrder/ports": 5}),
        json!({"$deleteFromPrimitiveList/set": "x"}),
    ];
    for patch in malformed {
        assert!(
            matches!(
                strategic(pod(), patch.clone()),
                Err(PatchError::Malformed(_))
            ),
            "{patch}"
        );
    }
    let unfit = [
        json!({"spec": {"$patch": "explode"}}),
        json!({"spec": {"$patch": 5}}),
        json!({"spec": {"containers": [{"image": "nameless"}]}}),
        json!({"spec": {"containers": [{"$patch": "delete"}]}}),
        json!({"spec": {"containers": [{"name": "one", "$patch": "explode"}]}}),
        json!({"spec": {"containers": ["text"]}}),
        json!({"spec": {"containers": [["list"]]}}),
    ];
    for patch in unfit {
        assert!(
            matches!(
                strategic(pod(), patch.clone()),
                Err(PatchError::DoesNotApply(_))
            ),
            "{patch}"
        );
    }
    assert!(strategic(json!({"set": ["a"]}), json!({"set": [{"a": 1}]})).is_err());
    assert!(strategic(json!([]), json!({})).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4_i64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 32, 4, |inner| {
        let key = prop_oneof![
            Just("a"),
            Just("b"),
            Just("ports"),
            Just("port"),
            Just("set"),
            Just("spec"),
            Just("containers"),
            Just("name"),
            Just("env")
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map(key.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn any_map() -> impl Strategy<Value = Value> {
    any_json().prop_filter("a map", Value::is_object)
}

/// Patches with directives in them.
fn any_strategic_patch() -> impl Strategy<Value = Value> {
    let directive = prop_oneof![Just("delete"), Just("replace"), Just("merge"), Just("?")];
    (
        any_map(),
        proptest::option::of(directive),
        proptest::option::of(any_json()),
        proptest::option::of(any_json()),
        any::<bool>(),
    )
        .prop_map(|(mut patch, directive, order, delete, nested)| {
            let map = patch.as_object_mut().unwrap();
            if let Some(order) = order {
                map.insert("$setElementOrder/ports".to_owned(), order);
            }
            if let Some(delete) = delete {
                map.insert("$deleteFromPrimitiveList/set".to_owned(), delete);
            }
            if let Some(directive) = directive {
                let element = json!({"port": 1, "$patch": directive});
                map.insert("ports".to_owned(), json!([element, {"port": 2}]));
            }
            if nested {
                json!({"spec": patch})
            } else {
                patch
            }
        })
}

/// Objects whose lists have their merge keys, each once.
fn well_formed() -> impl Strategy<Value = Value> {
    let set = proptest::sample::subsequence(vec!["a", "b", "c", "d"], 0..=4).prop_shuffle();
    let port = (1..6, "[xy]", proptest::option::of("[pq]"));
    let ports = proptest::collection::vec(port, 0..5).prop_map(|ports| {
        let mut seen = std::collections::HashSet::new();
        let ports = ports.into_iter().filter(|(port, ..)| seen.insert(*port));
        ports
            .map(|(port, name, extra)| json!({"port": port, "name": name, "extra": extra}))
            .collect::<Vec<_>>()
    });
    (set, ports, any_json()).prop_map(|(set, ports, other)| json!({"set": set, "ports": ports, "x": [other], "m": {"ports": ports}}))
}

proptest! {
    #[test]
    fn merge_patches_are_idempotent(doc in any_map(), patch in any_map()) {
        let mut once = doc;
        merge_patch(&mut once, &patch).unwrap();
        let mut twice = once.clone();
        merge_patch(&mut twice, &patch).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn json_patches_never_panic(doc in any_json(), ops in proptest::collection::vec(
        ("(add|remove|replace|move|copy|test)", "(/(a|b|0|1|-|ports))?(/(a|b|0|1|-|set))?", "(/(a|b|0|1|ports))?(/(a|b|0))?", any_json()), 0..8)
    ) {
        let patch: Vec<Value> = ops.into_iter()
            .map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}))
            .collect();
        let mut target = doc.clone();
        if json_patch(&mut target, &Value::Array(patch)).is_err() {
            prop_assert_eq!(target, doc);
        }
    }

    #[test]
    fn adding_and_removing_a_key_round_trips(doc in any_map(), value in any_json(), key in "[x-z~/]{1,4}") {
        let path = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        let patch = json!([{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}, {"op": "remove", "path": path}]);
        prop_assert_eq!(json(doc.clone(), patch), Ok(doc));
    }

    #[test]
    fn strategic_patches_never_panic_nor_leak_directives(doc in any_map(), patch in any_strategic_patch()) {
        if let Ok(patched) = strategic::apply(&doc, &patch, &Meta) {
            prop_assert!(!patched.to_string().contains('$'), "{}", patched);
        }
    }

    #[test]
    fn strategic_patches_without_directives_are_idempotent(doc in well_formed(), patch in well_formed()) {
        let once = strategic::apply(&doc, &patch, &Meta).unwrap();
        prop_assert_eq!(strategic::apply(&once, &patch, &Meta), Ok(once));
    }

    #[test]
    fn an_empty_strategic_patch_changes_nothing(doc in any_map()) {
        prop_assert_eq!(strategic::apply(&doc, &json!({}), &Meta), Ok(doc));
    }
}

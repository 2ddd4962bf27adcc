//! Laws that hold for every schema and every value.

use apimachinery::field::FieldPath;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{Schema, builtin, default, prune, prune_value, validate};

/// Names from a small set, so that values and schemas meet.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "name", "metadata", "kind"]).prop_map(str::to_owned)
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn scalar_schema() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "string", "pattern": "^a", "maxLength": 2})),
        Just(json!({"type": "string", "default": "a", "nullable": true})),
        Just(json!({"type": "integer", "minimum": 0, "format": "int32", "default": 1})),
        Just(
            json!({"type": "number", "multipleOf": 2, "anyOf": [{"minimum": 1}, {"maximum": -1}]})
        ),
        Just(json!({"type": "boolean", "default": false})),
        Just(json!({"x-kubernetes-int-or-string": true})),
        Just(json!({"x-kubernetes-preserve-unknown-fields": true})),
        Just(
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true})
        ),
    ]
}

/// A structural schema of one field.
fn field_schema() -> impl Strategy<Value = Value> {
    scalar_schema().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::btree_map("[abc]", inner.clone(), 0..3).prop_map(|properties| {
                let required: Vec<&String> = properties.keys().take(1).collect();
                json!({"type": "object", "required": required, "properties": properties})
            }),
            inner.clone().prop_map(|value| json!({"type": "object", "additionalProperties": value})),
            inner.prop_map(|items| json!({"type": "array", "items": items})),
            Just(json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"})),
            Just(json!({
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                "items": {"type": "object", "required": ["a"],
                          "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}},
            })),
        ]
    })
}

fn schema() -> impl Strategy<Value = Schema> {
    prop::collection::btree_map("[abc]", field_schema(), 0..4).prop_map(|properties| {
        let properties: Map<String, Value> = properties.into_iter().collect();
        Schema::parse(&json!({"type": "object", "properties": properties})).unwrap()
    })
}

proptest! {
    #[test]
    fn parsing_what_was_written_gives_the_same(schema in schema()) {
        prop_assert_eq!(Schema::parse(&schema.to_value()).unwrap(), schema);
    }

    #[test]
    fn parsing_never_panics(value in any_json()) {
        if let Ok(schema) = Schema::parse(&value) {
            prop_assert_eq!(Schema::parse(&schema.to_value()), Ok(schema));
        }
    }

    #[test]
    fn pruning_is_idempotent(schema in schema(), value in any_json()) {
        let mut once = value;
        prune(&schema, &mut once);
        let mut twice = once.clone();
        prop_assert_eq!(prune(&schema, &mut twice), Vec::<String>::new());
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn defaulting_is_idempotent(schema in schema(), value in any_json()) {
        let mut once = value;
        default(&schema, &mut once).unwrap();
        let mut twice = once.clone();
        default(&schema, &mut twice).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn defaults_need_no_pruning(schema in schema(), value in any_json()) {
        let mut value = value;
        prune_value(&schema, &mut value);
        default(&schema, &mut value).unwrap();
        prop_assert_eq!(prune_value(&schema, &mut value), Vec::<String>::new());
    }

    #[test]
    fn validating_never_panics(schema in schema(), value in any_json(), old in any_json()) {
        let path = FieldPath::default();
        let _ = validate(&schema, &value, Some(&old), &path);
        // What did not change is not judged.
        prop_assert!(validate(&schema, &value, Some(&value), &path).is_empty());
    }

    #[test]
    fn built_in_kinds_take_any_json(value in any_json(), pick in any::<prop::sample::Index>()) {
        let all: Vec<_> = builtin::definitions().collect();
        let schema = all[pick.index(all.len())].schema();
        let mut value = value;
        prune(&schema, &mut value);
        default(&schema, &mut value).unwrap();
        let _ = validate(&schema, &value, None, &FieldPath::default());
    }
}

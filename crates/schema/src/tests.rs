//! Behaviour recorded from kube-apiserver v1.36, as far as it concerns schemas alone.

mod builtins;
mod documents;
mod properties;
mod structure;

use apimachinery::field::{FieldError, FieldPath};
use serde_json::{Value, json};

use crate::{Schema, default, prune, validate};

/// The schema of a widget with this schema as its `spec`.
fn widget(spec: &Value) -> Schema {
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    Schema::parse(&schema).unwrap()
}

fn fields(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

/// Runs an object through the whole pipeline; returns it, unknown fields and errors.
fn admit(schema: &Schema, object: Value) -> (Value, Vec<String>, Vec<String>) {
    let mut object = object;
    let unknown = prune(schema, &mut object);
    default(schema, &mut object).unwrap();
    let errors = validate(schema, &object, None, &FieldPath::default());
    (object, unknown, errors.iter().map(show).collect())
}

fn show(error: &FieldError) -> String {
    format!("{} {error}", error.reason())
}

/// The errors of a spec.
fn refusals(schema: &Schema, spec: Value) -> Vec<String> {
    admit(schema, json!({"spec": spec})).2
}

#[test]
fn wrong_types_are_named() {
    let schema = widget(&fields(json!({
        "s": {"type": "string"}, "i": {"type": "integer"}, "b": {"type": "boolean"},
        "n": {"type": "number"}, "l": {"type": "array", "items": {"type": "string"}},
        "o": fields(json!({"k": {"type": "string"}})),
    })));
    let cases = [
        (json!({"s": 1}), "spec.s", "integer", "string"),
        (json!({"i": "1"}), "spec.i", "string", "integer"),
        (json!({"i": 1.5}), "spec.i", "number", "integer"),
        (json!({"b": "true"}), "spec.b", "string", "boolean"),
        (json!({"n": "1.5"}), "spec.n", "string", "number"),
        (json!({"l": {"x": "y"}}), "spec.l", "object", "array"),
        (json!({"l": ["x", 1]}), "spec.l[1]", "integer", "string"),
        (json!({"o": ["x"]}), "spec.o", "array", "object"),
    ];
    for (spec, path, found, wanted) in cases {
        let expected = format!(
            "FieldValueTypeInvalid {path}: Invalid value: \"{found}\": {path} in body must be of type {wanted}: \"{found}\""
        );
        assert_eq!(refusals(&schema, spec), [expected]);
    }
    let good = json!({"s": "x", "i": 5.0, "b": true, "n": 1, "l": ["x"], "o": {"k": "v"}});
    assert_eq!(refusals(&schema, good), [""; 0]);
}

#[test]
fn numbers_have_bounds() {
    let schema = widget(&fields(json!({
        "min": {"type": "integer", "minimum": 1},
        "max": {"type": "integer", "maximum": 10},
        "emin": {"type": "integer", "minimum": 1, "exclusiveMinimum": true},
        "emax": {"type": "integer", "maximum": 10, "exclusiveMaximum": true},
        "mult": {"type": "integer", "multipleOf": 5},
    })));
    let cases = [
        (json!({"min": 0}), "min", "0", "greater than or equal to 1"),
        (json!({"max": 11}), "max", "11", "less than or equal to 10"),
        (json!({"emin": 1}), "emin", "1", "greater than 1"),
        (json!({"emax": 10}), "emax", "10", "less than 10"),
        (json!({"mult": 7}), "mult", "7", "a multiple of 5"),
    ];
    for (spec, field, value, rest) in cases {
        let rest = match field {
            "mult" => format!("should be {rest}"),
            _ => format!("should be {rest}"),
        };
        let expected = format!(
            "FieldValueInvalid spec.{field}: Invalid value: {value}: spec.{field} in body {rest}"
        );
        assert_eq!(refusals(&schema, spec), [expected]);
    }
    let good = json!({"min": 1, "max": 10, "emin": 2, "emax": 9, "mult": 10});
    assert_eq!(refusals(&schema, good), [""; 0]);
}

#[test]
fn strings_and_collections_have_bounds() {
    let schema = widget(&fields(json!({
        "p": {"type": "string", "pattern": "^[a-z]+$"},
        "short": {"type": "string", "minLength": 1},
        "long": {"type": "string", "maxLength": 5},
        "l": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
        "m": {"type": "object", "additionalProperties": {"type": "string"},
              "minProperties": 1, "maxProperties": 2},
        "color": {"type": "string", "enum": ["red", "green"]},
        "size": {"type": "integer", "enum": [1, 2]},
    })));
    let cases = [
        (
            json!({"p": "ABC"}),
            "FieldValueInvalid spec.p: Invalid value: \"ABC\": spec.p in body should match '^[a-z]+$'",
        ),
        (
            json!({"short": ""}),
            "FieldValueInvalid spec.short: Invalid value: \"\": spec.short in body should be at least 1 chars long",
        ),
        (
            json!({"long": "abcdef"}),
            "FieldValueTooLong spec.long: Too long: may not be more than 5 bytes",
        ),
        (
            json!({"l": []}),
            "FieldValueInvalid spec.l: Invalid value: 0: spec.l in body should have at least 1 items",
        ),
        (
            json!({"l": ["1", "2", "3", "4"]}),
            "FieldValueTooMany spec.l: Too many: 4: must have at most 3 items",
        ),
        (
            json!({"m": {}}),
            "FieldValueInvalid spec.m: Invalid value: 0: spec.m in body should have at least 1 properties",
        ),
        (
            json!({"m": {"a": "1", "b": "2", "c": "3"}}),
            "FieldValueTooMany spec.m: Too many: 3: must have at most 2 items",
        ),
        (
            json!({"m": {"x": 1}}),
            "FieldValueTypeInvalid spec.m.x: Invalid value: \"integer\": spec.m.x in body must be of type string: \"integer\"",
        ),
        (
            json!({"color": "pink"}),
            "FieldValueNotSupported spec.color: Unsupported value: \"pink\": supported values: \"red\", \"green\"",
        ),
        (
            json!({"size": 3}),
            "FieldValueNotSupported spec.size: Unsupported value: 3: supported values: \"1\", \"2\"",
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(refusals(&schema, spec), [expected]);
    }
    // Lengths count characters, whatever the message says.
    assert_eq!(
        refusals(&schema, json!({"long": "äöüßé", "size": 2})),
        [""; 0]
    );
}

#[test]
fn known_formats_are_checked() {
    let spec = fields(json!({
        "dt": {"type": "string", "format": "date-time"},
        "i32": {"type": "integer", "format": "int32"},
        "i64": {"type": "integer", "format": "int64"},
        "by": {"type": "string", "format": "byte"},
        "odd": {"type": "string", "format": "made-up"},
    }));
    let schema = widget(&spec);
    assert_eq!(schema.unrecognized_formats(), ["made-up"]);
    assert_eq!(
        refusals(&schema, json!({"dt": "yesterday"})),
        [
            "FieldValueTypeInvalid spec.dt: Invalid value: \"yesterday\": spec.dt in body must be of type date-time: \"yesterday\""
        ]
    );
    assert_eq!(
        refusals(&schema, json!({"i32": 3_000_000_000_u64})),
        [
            "FieldValueInvalid spec.i32: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.i32"
        ]
    );
    let good = json!({"dt": "2024-01-02T03:04:05Z", "i32": -5, "i64": 9_007_199_254_740_993_i64, "by": "AAEC", "odd": "x"});
    assert_eq!(refusals(&schema, good), [""; 0]);
}

#[test]
fn int_or_string_takes_only_these() {
    let schema = widget(&fields(json!({
        "port": {"x-kubernetes-int-or-string": true},
        "pct": {"x-kubernetes-int-or-string": true,
                "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+%?$"},
    })));
    assert_eq!(
        refusals(&schema, json!({"port": 80, "pct": "25%"})),
        [""; 0]
    );
    assert_eq!(
        refusals(&schema, json!({"port": "http", "pct": 5})),
        [""; 0]
    );
    for (value, found) in [(json!(true), "boolean"), (json!(1.5), "number")] {
        let expected = format!(
            "FieldValueTypeInvalid spec.port: Invalid value: \"{found}\": spec.port in body must be of type integer,string: \"{found}\""
        );
        assert_eq!(refusals(&schema, json!({"port": value})), [expected]);
    }
    assert_eq!(
        refusals(&schema, json!({"pct": "many"})),
        [
            "FieldValueInvalid spec.pct: Invalid value: \"many\": spec.pct in body should match '^[0-9]+%?$'"
        ]
    );
}

#[test]
fn sets_and_map_lists_are_unique() {
    let schema = widget(&fields(json!({
        "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"],
                          "properties": {"name": {"type": "string"}, "v": {"type": "string"}}}},
        "two": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["port", "protocol"],
                "items": {"type": "object", "required": ["port"],
                          "properties": {"port": {"type": "integer"},
                                         "protocol": {"type": "string", "default": "TCP"}}}},
    })));
    let cases = [
        (
            json!({"set": ["x", "y", "x", "x"]}),
            "FieldValueDuplicate spec.set[2]: Duplicate value: \"x\"",
        ),
        (
            json!({"map": [{"name": "a", "v": "1"}, {"name": "a", "v": "2"}]}),
            "FieldValueDuplicate spec.map[1]: Duplicate value: {\"name\":\"a\"}",
        ),
        (
            json!({"two": [{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}, {"port": 80}]}),
            "FieldValueDuplicate spec.two[2]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}",
        ),
        (
            json!({"map": [{"v": "no key"}]}),
            "FieldValueRequired spec.map[0].name: Required value",
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(refusals(&schema, spec), [expected]);
    }
}

#[test]
fn nulls_are_kept_defaulted_or_dropped() {
    let schema = widget(&fields(json!({
        "n": {"type": "string", "nullable": true},
        "d": {"type": "string", "default": "dflt"},
        "nd": {"type": "string", "nullable": true, "default": "dflt"},
        "plain": {"type": "string"},
        "req": {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
    })));
    let spec = |spec| admit(&schema, json!({"spec": spec})).0["spec"].clone();
    let nulls = spec(json!({"n": null, "d": null, "nd": null}));
    assert_eq!(nulls, json!({"d": "dflt", "n": null, "nd": null}));
    assert_eq!(
        spec(json!({"plain": null})),
        json!({"d": "dflt", "nd": "dflt"})
    );
    assert_eq!(
        refusals(&schema, json!({"req": {"x": null}})),
        ["FieldValueRequired spec.req.x: Required value"]
    );
}

#[test]
fn defaults_fill_what_is_there() {
    let schema = widget(&fields(json!({
        "count": {"type": "integer", "default": 3},
        "inner": fields(json!({"mode": {"type": "string", "default": "auto"}})),
        "whole": {"type": "object", "default": {"a": "x"},
                  "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 2}}},
        "list": {"type": "array", "items": fields(json!({"x": {"type": "string", "default": "d"}}))},
    })));
    let spec = |object| admit(&schema, object).0["spec"].clone();
    assert_eq!(
        spec(json!({"spec": {}})),
        json!({"count": 3, "whole": {"a": "x", "b": 2}})
    );
    assert_eq!(
        spec(json!({"spec": {"inner": {}, "list": [{}, {"x": "set"}], "count": 0}})),
        json!({"count": 0, "inner": {"mode": "auto"}, "list": [{"x": "d"}, {"x": "set"}],
               "whole": {"a": "x", "b": 2}})
    );
    assert_eq!(spec(json!({"metadata": {"name": "c"}})), Value::Null);
}

#[test]
fn unknown_fields_are_pruned_and_reported() {
    let schema = widget(&fields(json!({
        "known": {"type": "string"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "half": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                 "properties": {"typed": {"type": "integer"}}},
        "arr": {"type": "array", "items": fields(json!({"k": {"type": "string"}}))},
        "o": {"type": "object", "additionalProperties": fields(json!({"n": {"type": "integer"}}))},
    })));
    let (object, unknown, errors) = admit(
        &schema,
        json!({
            "apiVersion": "v1", "kind": "Widget", "metadata": {"name": "a", "anything": 1},
            "spec": {"known": "1", "gone": "2", "free": {"any": {"thing": [1, {"x": null}]}},
                     "half": {"typed": 1, "extra": "kept"}, "arr": [{"k": "v", "gone": 1}],
                     "o": {"first": {"n": 1, "unknown": true}}},
            "top": "gone",
        }),
    );
    assert_eq!(
        unknown,
        [
            "spec.arr[0].gone",
            "spec.gone",
            "spec.o.first.unknown",
            "top"
        ]
    );
    assert_eq!(errors, [""; 0]);
    assert_eq!(
        object,
        json!({
            "apiVersion": "v1", "kind": "Widget", "metadata": {"name": "a", "anything": 1},
            "spec": {"known": "1", "free": {"any": {"thing": [1, {"x": null}]}},
                     "half": {"typed": 1, "extra": "kept"}, "arr": [{"k": "v"}],
                     "o": {"first": {"n": 1}}},
        })
    );
    let loose = widget(&fields(json!({
        "any": {"type": "object", "additionalProperties": true},
        "list": {"type": "array", "x-kubernetes-preserve-unknown-fields": true,
                 "items": fields(json!({"k": fields(json!({}))}))},
    })));
    let spec = json!({"any": {"text": "kept", "object": {"gone": 1}}, "list": [{"kept": 1, "k": {"gone": 1}}]});
    let unknown = admit(&loose, json!({"spec": spec})).1;
    assert_eq!(unknown, ["spec.any.object.gone", "spec.list[0].k.gone"]);
    // As a resource, metadata is known in full.
    let mut object = json!({"metadata": {"name": "a", "labels": {"x": "y"}, "anything": 1}});
    assert_eq!(
        prune(&schema.into_resource(), &mut object),
        ["metadata.anything"]
    );
}

#[test]
fn combinations_are_summarised() {
    let schema = widget(&fields(json!({
        "x": {"type": "integer", "anyOf": [{"maximum": 3}, {"minimum": 10}]},
        "y": {"type": "integer", "allOf": [{"minimum": 10}, {"maximum": 30}]},
        "z": {"type": "integer", "oneOf": [{"maximum": 3}, {"maximum": 10}], "not": {"enum": [7]}},
    })));
    let found = refusals(&schema, json!({"x": 5}));
    assert!(found.contains(&"FieldValueInvalid spec.x: Invalid value: 5: spec.x in body should be less than or equal to 3".to_owned()), "{found:?}");
    assert!(
        found[0].contains("\"spec.x\" must validate at least one schema (anyOf)"),
        "{found:?}"
    );
    let found = refusals(&schema, json!({"y": 50}));
    assert!(found.contains(&"FieldValueInvalid spec.y: Invalid value: 50: spec.y in body should be less than or equal to 30".to_owned()), "{found:?}");
    assert!(refusals(&schema, json!({"z": 2}))[0].contains("Found 2 valid alternatives"));
    assert!(refusals(&schema, json!({"z": 7}))[0].contains("must not validate the schema (not)"));
    assert_eq!(refusals(&schema, json!({"x": 1, "y": 20, "z": 5})), [""; 0]);
}

#[test]
fn embedded_resources_are_whole_objects() {
    let schema = widget(&fields(json!({
        "tmpl": {"type": "object", "x-kubernetes-embedded-resource": true,
                 "x-kubernetes-preserve-unknown-fields": true},
    })));
    assert_eq!(
        refusals(&schema, json!({"tmpl": {"metadata": {"name": "x"}}})),
        [
            "FieldValueRequired spec.tmpl.apiVersion: Required value",
            "FieldValueRequired spec.tmpl.kind: Required value",
        ]
    );
    let template = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"any": [1]},
                          "metadata": {"name": "x", "labels": {"bad key!": "y"}, "odd": 1}});
    let (object, unknown, errors) = admit(&schema, json!({"spec": {"tmpl": template}}));
    assert_eq!(unknown, ["spec.tmpl.metadata.odd"]);
    assert_eq!(object["spec"]["tmpl"]["spec"], json!({"any": [1]}));
    assert!(
        errors[0].starts_with(
            "FieldValueInvalid spec.tmpl.metadata.labels: Invalid value: \"bad key!\""
        ),
        "{errors:?}"
    );
    let mistyped = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": 1}}});
    let found = refusals(&schema, json!({"tmpl": mistyped}));
    assert!(
        found[0].starts_with("FieldValueTypeInvalid spec.tmpl.metadata.labels.a"),
        "{found:?}"
    );
}

#[test]
fn unchanged_parts_are_not_judged_again() {
    let schema = widget(&fields(json!({
        "name": {"type": "string", "pattern": "^[a-z]+$"},
        "other": {"type": "string"},
        "atomic": {"type": "array", "items": {"type": "string", "maxLength": 1}},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                 "items": {"type": "object", "required": ["k"],
                           "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}},
    })));
    let update = |old: Value, new: Value| -> Vec<String> {
        let (old, new) = (json!({"spec": old}), json!({"spec": new}));
        let errors = validate(&schema, &new, Some(&old), &FieldPath::default());
        errors.iter().map(|error| error.path.to_string()).collect()
    };
    let old = json!({"name": "LOUD", "other": "x"});
    assert_eq!(
        update(old.clone(), json!({"name": "LOUD", "other": "y"})),
        [""; 0]
    );
    assert_eq!(
        update(old.clone(), json!({"name": "LOUDER"})),
        ["spec.name"]
    );
    assert_eq!(update(old, json!({"name": "quiet"})), [""; 0]);
    let old = json!({"list": [{"k": "a", "v": 5}, {"k": "b", "v": 1}]});
    let new = json!({"list": [{"k": "c", "v": 9}, {"k": "a", "v": 5}]});
    assert_eq!(update(old, new), ["spec.list[0].v"]);
    let old = json!({"atomic": ["long"]});
    assert_eq!(
        update(old, json!({"atomic": ["long", "x"]})),
        ["spec.atomic[0]"]
    );
}

#[test]
fn schemas_are_small() {
    assert!(size_of::<Schema>() <= 360, "{}", size_of::<Schema>());
}

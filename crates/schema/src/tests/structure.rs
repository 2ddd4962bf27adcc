//! Which schemas are structural, and what is said about those that are not.

use serde_json::{Value, json};

use super::{fields, show};
use crate::Schema;

/// The errors of a schema whose `spec.a` is this, without the path in front of `a`.
fn faults(schema: &Value) -> Vec<String> {
    let whole = json!({"type": "object", "properties": {"spec": fields(json!({"a": schema}))}});
    let errors = Schema::parse(&whole).err().unwrap_or_default();
    let shorten = |text: String| text.replace("properties[spec].properties[a]", "a");
    errors.iter().map(show).map(shorten).collect()
}

fn root_faults(schema: &Value) -> Vec<String> {
    Schema::parse(schema)
        .unwrap_err()
        .iter()
        .map(show)
        .collect()
}

#[test]
fn types_are_needed_everywhere() {
    assert_eq!(
        faults(&json!({})),
        [
            "FieldValueRequired a.type: Required value: must not be empty for specified object fields"
        ]
    );
    assert_eq!(
        faults(&json!({"type": "array"})),
        ["FieldValueRequired a.items: Required value: must be specified"]
    );
    assert_eq!(
        faults(&json!({"type": "array", "items": {}})),
        [
            "FieldValueRequired a.items.type: Required value: must not be empty for specified array items"
        ]
    );
    assert_eq!(
        faults(&json!({"type": "text"})),
        [
            "FieldValueNotSupported a.type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\""
        ]
    );
    assert_eq!(
        root_faults(&json!({"type": "string"})),
        ["FieldValueInvalid type: Invalid value: \"string\": must be object at the root"]
    );
    assert_eq!(
        root_faults(&json!({})),
        ["FieldValueRequired type: Required value: must not be empty at the root"]
    );
    assert_eq!(
        faults(&json!({"x-kubernetes-preserve-unknown-fields": true})),
        [""; 0]
    );
    assert_eq!(
        faults(&json!({"x-kubernetes-int-or-string": true})),
        [""; 0]
    );
}

#[test]
fn value_validations_define_no_structure() {
    assert_eq!(
        faults(&json!({"type": "object", "anyOf": [{"properties": {"x": {"type": "string"}}}]})),
        [
            "FieldValueForbidden a.anyOf[0].properties[x].type: Forbidden: must be empty to be structural"
        ]
    );
    let nested = json!({"type": "string", "not": {"nullable": true, "default": "x"}});
    assert_eq!(
        faults(&nested),
        [
            "FieldValueForbidden a.not.default: Forbidden: must be undefined to be structural",
            "FieldValueForbidden a.not.nullable: Forbidden: must be false to be structural",
        ]
    );
    assert_eq!(
        root_faults(&json!({"type": "object", "oneOf": [{"properties": {"x": {}}}]})),
        [
            "FieldValueRequired properties[x]: Required value: because it is defined in oneOf[0].properties[x]"
        ]
    );
}

#[test]
fn properties_exclude_additional_ones() {
    let schema = json!({"type": "object", "properties": {"x": {"type": "string"}},
                        "additionalProperties": {"type": "string"}});
    assert_eq!(
        faults(&schema),
        [
            "FieldValueForbidden a.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"
        ]
    );
    // Nothing more, and anything more: what is not said of properties may be said beside them.
    assert_eq!(
        faults(&json!({"type": "object", "additionalProperties": false})),
        [""; 0]
    );
    assert_eq!(
        faults(
            &json!({"type": "object", "properties": {"x": {"type": "string"}},
                       "additionalProperties": true})
        ),
        [""; 0]
    );
    assert_eq!(
        root_faults(&json!({"type": "object", "additionalProperties": false})),
        ["FieldValueForbidden additionalProperties: Forbidden: must not be used at the root"]
    );
}

#[test]
fn lists_say_how_they_merge() {
    let list = |extra: Value| {
        let mut list = json!({"type": "array", "x-kubernetes-list-type": "map",
                              "items": fields(json!({"name": {"type": "string"}}))});
        let object = list.as_object_mut().unwrap();
        object.extend(extra.as_object().unwrap().clone());
        faults(&list)
    };
    assert_eq!(
        list(json!({"x-kubernetes-list-map-keys": ["name"]})),
        [
            "FieldValueRequired a.items.properties[name].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
        ]
    );
    assert_eq!(
        list(json!({})),
        [
            "FieldValueRequired a.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"
        ]
    );
    assert_eq!(
        list(json!({"x-kubernetes-list-map-keys": ["other"]})),
        [
            "FieldValueInvalid a.x-kubernetes-list-map-keys: Invalid value: [\"other\"]: entries must all be names of item properties"
        ]
    );
    assert_eq!(
        list(json!({"x-kubernetes-list-type": "bag"})),
        [
            "FieldValueNotSupported a.x-kubernetes-list-type: Unsupported value: \"bag\": supported values: \"atomic\", \"set\", \"map\""
        ]
    );
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": fields(json!({}))});
    assert_eq!(
        faults(&set),
        [
            "FieldValueInvalid a.items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"
        ]
    );
}

#[test]
fn defaults_fit_their_schema() {
    let cases = [
        (
            json!({"type": "integer", "default": "x"}),
            "FieldValueTypeInvalid a.default: Invalid value: \"string\":  in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "object", "properties": {"b": {"type": "string"}}, "default": {"c": "pruned"}}),
            "FieldValueInvalid a.default: Invalid value: {\"c\":\"pruned\"}: must not have unknown fields",
        ),
        (
            json!({"type": "string", "pattern": "^a$", "default": "b"}),
            "FieldValueInvalid a.default: Invalid value: \"b\":  in body should match '^a$'",
        ),
    ];
    for (schema, expected) in cases {
        assert_eq!(faults(&schema), [expected]);
    }
}

#[test]
fn what_has_no_meaning_here_is_refused() {
    for key in [
        "$ref",
        "id",
        "definitions",
        "dependencies",
        "patternProperties",
        "additionalItems",
    ] {
        let schema = json!({"type": "string", key: {}});
        let expected = format!("FieldValueForbidden a.{key}: Forbidden: {key} is not supported");
        assert_eq!(faults(&schema), [expected]);
    }
    assert!(
        faults(&json!({"type": "string", "pattern": "("}))[0]
            .contains("must be a valid regular expression")
    );
    assert!(
        faults(&json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}))[0]
            .contains("quadratic")
    );
}

#[test]
fn metadata_belongs_to_the_api_machinery() {
    let with = |metadata: Value| json!({"type": "object", "properties": {"metadata": metadata}});
    let name = fields(json!({"name": {"type": "string", "maxLength": 5}}));
    let schema = Schema::parse(&with(name)).unwrap().into_resource();
    let object = json!({"metadata": {"name": "too-long"}});
    let errors = crate::validate(&schema, &object, None, &Default::default());
    assert!(
        errors
            .iter()
            .any(|error| error.path.to_string() == "metadata.name"),
        "{errors:?}"
    );
    let labels = fields(json!({"labels": {"type": "object"}}));
    assert!(
        root_faults(&with(labels))[0]
            .contains("must not specify anything other than name and generateName")
    );
}

#[test]
fn depth_and_size_are_bounded() {
    let mut schema = json!({"type": "string"});
    for _ in 0..150 {
        schema = fields(json!({"a": schema}));
    }
    let faults = root_faults(&schema);
    let deep = |fault: &String| fault.contains("must not be nested deeper than");
    assert!(faults.iter().any(deep), "{faults:?}");
}

#[test]
fn rules_are_checked_as_far_as_text_goes() {
    let with = |rule: Value| {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}},
                            "x-kubernetes-validations": [rule]});
        let shorten = |fault: String| fault.replace("a.x-kubernetes-validations[0].", "");
        faults(&schema).into_iter().map(shorten).collect::<Vec<_>>()
    };
    assert_eq!(
        with(json!({"rule": "self.n > 0", "fieldPath": ".n"})),
        [""; 0]
    );
    assert_eq!(
        with(json!({"rule": ""})),
        ["FieldValueRequired rule: Required value: rule is not specified"]
    );
    assert_eq!(
        with(json!({"rule": "self.n > 0", "fieldPath": ".zzz"})),
        ["FieldValueInvalid fieldPath: Invalid value: \".zzz\": must be a valid path"]
    );
    assert!(
        with(json!({"rule": "self.n > 0", "reason": "Because"}))[0]
            .starts_with("FieldValueNotSupported reason")
    );
    assert!(
        with(json!({"rule": "self.n > 0", "message": "two\nlines"}))[0]
            .starts_with("FieldValueInvalid message")
    );
}

//! Rules of schemas.

use apimachinery::field::FieldPath;
use schema::Schema;
use serde_json::{Value as Json, json};

use crate::budget::Budget;
use crate::rules::{CompiledRules, compile};

fn rules(schema: Json) -> Result<CompiledRules, Vec<String>> {
    let schema = Schema::parse(&schema).unwrap();
    compile(&schema, &FieldPath::new("openAPIV3Schema"))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn spec(properties: Json, rules: Json) -> Json {
    json!({"type": "object", "properties": {"spec": {
        "type": "object", "properties": properties, "x-kubernetes-validations": rules}}})
}

fn faults(rules: &CompiledRules, object: Json, old: Option<Json>) -> Vec<String> {
    rules
        .evaluate(
            &object,
            old.as_ref(),
            &FieldPath::root(),
            &mut Budget::of_object(),
        )
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn compile_errors_are_at_the_rule() {
    let n = json!({"n": {"type": "integer"}, "s": {"type": "string"}});
    for (rule, wanted) in [
        (
            json!({"rule": "self.nope == 1"}),
            "[0].rule: Invalid value: {\"FieldPath\":\"\",\"Message\":\"\",\"MessageExpression\":\"\",\"OptionalOldSelf\":null,\"Reason\":null,\"Rule\":\"self.nope == 1\"}: compilation failed: ERROR: <input>:1:5: undefined field 'nope'",
        ),
        (
            json!({"rule": "self.n"}),
            "cel expression must evaluate to a bool",
        ),
        (
            json!({"rule": "self.n == 'x'"}),
            "found no matching overload for '_==_' applied to '(int, string)'",
        ),
        (json!({"rule": "self.n =="}), "Syntax error"),
        (
            json!({"rule": "self.n > 0", "messageExpression": "self.n"}),
            "[0].messageExpression: Invalid value",
        ),
        (
            json!({"rule": "self.n > 0", "messageExpression": "self.x"}),
            "messageExpression compilation failed",
        ),
        (
            json!({"rule": "self.n > 0", "optionalOldSelf": true}),
            "[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
        ),
    ] {
        let errors = rules(spec(n.clone(), json!([rule]))).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(wanted), "{}", errors[0]);
        assert!(errors[0].starts_with("openAPIV3Schema.properties[spec].x-kubernetes-validations"));
    }
}

#[test]
fn unbounded_loops_are_over_the_estimate() {
    let list = |items: Json| spec(json!({"l": items}), json!([]));
    let rule = json!([{"rule": "self.all(x, self.all(y, x == y))"}]);
    let errors = rules(list(json!({"type": "array", "items": {"type": "string"},
        "x-kubernetes-validations": rule})))
    .unwrap_err();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].contains("estimated rule cost exceeds budget by factor of more than 100x"));
    assert!(errors[1].contains("contributed to estimated rule cost total"));
    assert!(errors[2].starts_with(
        "openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total"
    ));
    rules(list(
        json!({"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10},
        "x-kubernetes-validations": rule}),
    ))
    .unwrap();
    // What Kubernetes accepts without bounds must stay accepted.
    rules(spec(
        json!({"s": {"type": "string"}, "l": {"type": "array", "items": {"type": "string"}}}),
        json!([
            {"rule": "self.s.startsWith('a') || self.s.size() > 3"},
            {"rule": "self.s == 'x' || !has(self.l) || self.l.size() < 5"},
            {"rule": "self.l.all(x, x != '')"},
        ]),
    ))
    .unwrap();
}

#[test]
fn violations_are_told_with_path_value_and_reason() {
    let compiled = rules(spec(
        json!({"a": {"type": "string"}, "b": {"type": "string"},
            "n": {"type": "integer", "x-kubernetes-validations": [
                {"rule": "self < 5", "messageExpression": "'over five by ' + (self > 9 ? 'a lot' : 'little')"}]},
            "m": {"type": "integer", "x-kubernetes-validations": [
                {"rule": "self < 5", "message": "plain text", "messageExpression": "['a', 'b'][self]"}]},
            "map": {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "integer",
                "x-kubernetes-validations": [{"rule": "self > 0"}]}},
            "l": {"type": "array", "maxItems": 5, "items": {"type": "object",
                "properties": {"n": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.n <= 10", "message": "too large"}]}}}),
        json!([{"rule": "!(has(self.a) && has(self.b))", "message": "a or b", "fieldPath": ".b",
            "reason": "FieldValueForbidden"}]),
    ))
    .unwrap();
    for (object, wanted) in [
        (json!({"a": "x", "b": "y"}), "spec.b: Forbidden: a or b"),
        (
            json!({"n": 7}),
            "spec.n: Invalid value: 7: over five by little",
        ),
        (json!({"m": 7}), "spec.m: Invalid value: 7: plain text"),
        (
            json!({"map": {"k": 0}}),
            "spec.map[k]: Invalid value: 0: failed rule: self > 0",
        ),
        (
            json!({"l": [{"n": 1}, {"n": 12}]}),
            "spec.l[1]: Invalid value: too large",
        ),
        (
            json!({"l": [{}]}),
            "spec.l[0]: Invalid value: \"object\": no such key: n evaluating rule: self.n <= 10",
        ),
    ] {
        assert_eq!(faults(&compiled, json!({"spec": object}), None), [wanted]);
    }
    assert!(faults(&compiled, json!({"spec": {"a": "x"}}), None).is_empty());
}

#[test]
fn transition_rules() {
    let compiled = rules(spec(
        json!({
            "id": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]},
            "mode": {"type": "string", "x-kubernetes-validations": [
                {"rule": "oldSelf.hasValue() || self == 'init'", "message": "starts with init", "optionalOldSelf": true}]},
            "l": {"type": "array", "maxItems": 9, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {
                    "type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}}}}),
        json!([]),
    ))
    .unwrap();
    let run = |object: Json, old: Option<Json>| {
        faults(
            &compiled,
            json!({"spec": object}),
            old.map(|old| json!({"spec": old})),
        )
    };
    assert!(run(json!({"id": "a"}), None).is_empty());
    assert_eq!(
        run(json!({"id": "b"}), Some(json!({"id": "a"}))),
        ["spec.id: Invalid value: \"b\": immutable"]
    );
    assert!(run(json!({"id": "b"}), Some(json!({}))).is_empty());
    assert_eq!(
        run(json!({"mode": "late"}), None),
        ["spec.mode: Invalid value: \"late\": starts with init"]
    );
    assert!(run(json!({"mode": "late"}), Some(json!({"mode": "init"}))).is_empty());
    let old = json!({"l": [{"k": "a", "v": 1}, {"k": "b", "v": 5}]});
    assert_eq!(
        run(
            json!({"l": [{"k": "b", "v": 4}, {"k": "a", "v": 2}]}),
            Some(old)
        ),
        ["spec.l[0].v: Invalid value: 4: failed rule: self >= oldSelf"]
    );
    let errors = rules(spec(
        json!({"l": {"type": "array", "maxItems": 9, "items": {"type": "string", "maxLength": 9,
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}),
        json!([]),
    ))
    .unwrap_err();
    assert!(
        errors[0].contains("oldSelf cannot be used on the uncorrelatable portion"),
        "{errors:?}"
    );
}

#[test]
fn unchanged_values_are_not_judged_again() {
    let compiled = rules(spec(json!({"n": {"type": "integer"}, "x": {"type": "object", "properties": {"y": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.y > 0"}]}}), json!([]))).unwrap();
    let old = json!({"spec": {"n": 1, "x": {"y": 0}}});
    assert!(
        faults(
            &compiled,
            json!({"spec": {"n": 2, "x": {"y": 0}}}),
            Some(old.clone())
        )
        .is_empty()
    );
    assert_eq!(
        faults(
            &compiled,
            json!({"spec": {"n": 2, "x": {"y": -1}}}),
            Some(old)
        )
        .len(),
        1
    );
}

#[test]
fn types_follow_the_schema() {
    let compiled = rules(spec(
        json!({"at": {"type": "string", "format": "date-time"}, "for": {"type": "string", "format": "duration"},
            "ratio": {"type": "number"}, "raw": {"type": "string", "format": "byte"},
            "port": {"x-kubernetes-int-or-string": true}, "a-b.c": {"type": "integer"}, "null": {"type": "integer", "nullable": true},
            "ref": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}),
        json!([
            {"rule": "self.at.getFullYear() == 2024"},
            {"rule": "self.__for__ < duration('2h')"},
            {"rule": "self.ratio == 2.0"},
            {"rule": "self.raw.size() == 5"},
            {"rule": "type(self.port) == int ? self.port == 80 : self.port == 'http'"},
            {"rule": "self.a__dash__b__dot__c == 1"},
            {"rule": "!has(self.__null__)"},
            {"rule": "self.ref.metadata.name == 'n' && self.ref.kind == 'K'"},
        ]),
    ))
    .unwrap();
    let object = json!({"spec": {"at": "2024-05-06T07:08:09Z", "for": "1h30m", "ratio": 2, "raw": "aGVsbG8=",
        "port": "http", "a-b.c": 1, "null": null,
        "ref": {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}}}});
    assert_eq!(faults(&compiled, object, None), Vec::<String>::new());
}

#[test]
fn the_root_knows_names() {
    let compiled = rules(json!({"type": "object", "x-kubernetes-validations": [
        {"rule": "self.metadata.name.startsWith('vm-')", "message": "name must start with vm-"}]}))
    .unwrap();
    let object = |name: &str| json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": name}});
    assert_eq!(
        faults(&compiled, object("bad"), None),
        ["<nil>: Invalid value: name must start with vm-"]
    );
    assert!(faults(&compiled, object("vm-1"), None).is_empty());
    assert!(rules(json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.labels.size() > 0"}]})).is_err());
}

#[test]
fn the_budget_of_an_object_ends_the_walk() {
    let compiled = rules(spec(
        json!({"l": {"type": "array", "maxItems": 1000, "items": {"type": "integer",
        "x-kubernetes-validations": [{"rule": "[1, 2, 3, 4, 5].all(x, x != self - 1000000)"}]}}}),
        json!([]),
    ))
    .unwrap();
    let list: Vec<i64> = (0..1000).collect();
    let object = json!({"spec": {"l": list}});
    let errors = compiled.evaluate(&object, None, &FieldPath::root(), &mut Budget::new(5_000));
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0]
            .detail
            .contains("no further validation rules will be run"),
        "{}",
        errors[0]
    );
}

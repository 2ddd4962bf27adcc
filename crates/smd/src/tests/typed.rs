//! Walks by type: order of merged lists, duplicates, deduced values, embedded resources, keys.

use super::*;
use crate::collect::fields_of;
use crate::merge::merge;
use crate::types::Type;

fn merged(live: Value, applied: Value) -> Value {
    let schema = widget();
    let ty = Type::Resource(&schema);
    merge(ty, &json!({"spec": live}), &json!({"spec": applied})).unwrap()["spec"].clone()
}

fn names(list: &[&str]) -> Value {
    list.iter().map(|name| json!({"name": name})).collect()
}

#[test]
fn merged_lists_follow_the_applied_order() {
    let set = |live: Value, applied: Value| {
        merged(json!({"set": live}), json!({"set": applied}))["set"].clone()
    };
    assert_eq!(
        set(json!(["a", "b", "c"]), json!(["c", "a"])),
        json!(["b", "c", "a"])
    );
    assert_eq!(
        set(json!(["a", "b"]), json!(["x", "a", "b"])),
        json!(["x", "a", "b"])
    );
    assert_eq!(
        set(json!(["a", "b"]), json!(["a", "x", "b"])),
        json!(["a", "x", "b"])
    );
    assert_eq!(set(json!([]), json!(["a"])), json!(["a"]));
    assert_eq!(set(json!(["a"]), json!([])), json!(["a"]));
    let map = merged(
        json!({"map": names(&["a", "b", "c"])}),
        json!({"map": names(&["d", "b", "a"])}),
    );
    assert_eq!(map["map"], names(&["d", "b", "c", "a"]));
}

#[test]
fn an_applied_list_may_not_repeat_elements_but_a_live_one_may() {
    let mut server = Server::widgets();
    let error = server
        .try_apply("one", None, false, &json!({"spec": {"set": ["a", "a"]}}))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("duplicate entries for key [=\"a\"]"),
        "{error}"
    );
    server.create("tool", json!({"spec": {"set": ["a", "a", "b"]}}));
    assert_eq!(
        server.owned_by("tool Update")["f:spec"]["f:set"],
        json!({".": {}, "v:\"a\"": {}, "v:\"b\"": {}})
    );
    let object = server.apply("one", json!({"spec": {"set": ["c"]}}));
    assert_eq!(object["spec"]["set"], json!(["a", "a", "b", "c"]));
    let object = server.force("one", json!({"spec": {"set": ["a", "c"]}}));
    assert_eq!(object["spec"]["set"], json!(["a", "b", "c"]));
}

#[test]
fn what_the_schema_does_not_describe_merges_maps_by_key_and_lists_as_a_whole() {
    let mut server = Server::widgets();
    server.apply(
        "one",
        json!({"spec": {"any": {"x": {"y": 1, "l": [1, {"z": 2}]}}}}),
    );
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:spec": {"f:any": {
        "f:x": {".": {}, "f:l": {}, "f:y": {}}}}})
    );
    let object = server.apply("two", json!({"spec": {"any": {"x": {"w": 3}}}}));
    assert_eq!(
        object["spec"]["any"],
        json!({"x": {"y": 1, "w": 3, "l": [1, {"z": 2}]}})
    );
    server.conflicts("two", json!({"spec": {"any": {"x": {"l": []}}}}));
    // A change of kind takes the old fields from their owner.
    let object = server.force("two", json!({"spec": {"any": {"x": "text"}}}));
    assert_eq!(object["spec"]["any"], json!({"x": "text"}));
    assert_eq!(server.owned_by("one Apply"), Value::Null);
}

#[test]
fn numbers_or_strings_and_embedded_resources_are_known() {
    let mut server = Server::widgets();
    server.apply("one", json!({"spec": {"intstr": 80, "embedded": {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"x": [1]}}}}));
    assert_eq!(
        server.owned_by("one Apply"),
        json!({"f:spec": {"f:intstr": {}, "f:embedded": {
        "f:apiVersion": {}, "f:kind": {}, "f:metadata": {"f:name": {}, "f:labels": {"f:a": {}}},
        "f:spec": {".": {}, "f:x": {}}}}})
    );
    server.apply("one", json!({"spec": {"intstr": "http"}}));
    let error = server
        .try_apply("one", None, false, &json!({"spec": {"intstr": [1]}}))
        .unwrap_err();
    assert!(matches!(error, ApplyError::Invalid(_)));
}

#[test]
fn key_fields_may_be_defaulted_or_partly_absent() {
    let schema = built_in("", "v1", "Service");
    let object = json!({"apiVersion": "v1", "kind": "Service", "spec": {
        "ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}, {"protocol": "SCTP"}],
        "selector": {"a": "b"}}});
    let fields = encode_fields(&fields_of(Type::Resource(&schema), &object));
    let ports = fields["f:spec"]["f:ports"].as_object().unwrap();
    let keys: Vec<&str> = ports.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "k:{\"port\":80,\"protocol\":\"TCP\"}",
            "k:{\"port\":80,\"protocol\":\"UDP\"}",
            "k:{\"protocol\":\"SCTP\"}",
        ]
    );
    assert_eq!(fields["f:spec"]["f:selector"], json!({}));
}

#[test]
fn an_element_without_identity_cannot_be_applied() {
    let mut server = Server::widgets();
    for (list, message) in [
        (json!([{"v": "1"}]), "omits all key fields [\"name\"]"),
        (json!([null]), "may not have a null element"),
        (json!(["x"]), "may not have non-map elements"),
    ] {
        let parts = json!({"spec": {"map": list}});
        let error = server.try_apply("one", None, false, &parts).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn a_set_written_before_a_list_became_atomic_is_taken_whole() {
    let mut server = Server::widgets();
    server.apply("one", json!({"spec": {"atomic": ["1"], "n": 1}}));
    let stored = server.stored.as_mut().unwrap();
    stored["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:atomic"] =
        json!({"v:\"1\"": {}});
    assert_eq!(
        server.conflicts("two", json!({"spec": {"atomic": ["2"]}})),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.atomic"
    );
    let object = server.apply("one", json!({"spec": {"n": 1}}));
    assert_eq!(object["spec"].get("atomic"), None);
}

#[test]
fn paths_print_and_parse() {
    let element = PathElement::decode("k:{\"b\":1,\"a\":\"x\"}")
        .unwrap()
        .unwrap();
    assert_eq!(element.to_string(), "[a=\"x\",b=1]");
    assert_eq!(element.encode(), "k:{\"a\":\"x\",\"b\":1}");
    assert_eq!(
        PathElement::decode("v:1").unwrap(),
        PathElement::decode("v:1.0").unwrap()
    );
    assert_eq!(
        PathElement::decode("i:3").unwrap(),
        Some(PathElement::Index(3))
    );
    assert_eq!(PathElement::decode("q:3").unwrap(), None);
    for bad in ["", "f", "v:{", "k:[]", "i:x"] {
        assert!(PathElement::decode(bad).is_err(), "{bad}");
    }
    assert!(decode_fields(&json!([])).is_err());
    assert!(decode_fields(&json!({"f:a": 3})).is_err());
    let mut deep = json!({});
    for _ in 0..limits::DEPTH + 2 {
        deep = json!({"f:a": deep});
    }
    assert_eq!(decode_fields(&deep), Err(DecodeError::TooDeep));
}

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn object() -> Value {
    json!({
        "metadata": {"name": "a", "labels": {"kubevirt.io/vm": "x", "a.b": "dotted"}},
        "spec": {"n": 3, "list": [10, 20, 30, 40], "empty": []},
        "status": {"conditions": [
            {"type": "Ready", "status": "True", "n": 1},
            {"type": "Paused", "status": "False", "n": 2},
        ]},
    })
}

fn find(path: &str) -> Vec<Value> {
    JsonPath::parse(path)
        .unwrap()
        .find(&object())
        .into_iter()
        .cloned()
        .collect()
}

#[test]
fn paths_lead_where_kube_says() {
    let cases = [
        (".metadata.name", json!(["a"])),
        ("metadata.name", json!(["a"])),
        ("{.metadata.name}", json!(["a"])),
        ("$.metadata.name", json!(["a"])),
        (r".metadata.labels.a\.b", json!(["dotted"])),
        (r".metadata.labels.kubevirt\.io/vm", json!(["x"])),
        (".metadata.labels['kubevirt.io/vm']", json!(["x"])),
        (".metadata.labels[\"a.b\"]", json!(["dotted"])),
        (".spec.list[0]", json!([10])),
        (".spec.list[-1]", json!([40])),
        (".spec.list[9]", json!([])),
        (".spec.list[-9]", json!([])),
        (".spec.list[1:3]", json!([20, 30])),
        (".spec.list[:2]", json!([10, 20])),
        (".spec.list[::2]", json!([10, 30])),
        (".spec.list[0,2]", json!([10, 30])),
        (".spec.list[*]", json!([10, 20, 30, 40])),
        (".spec.list", json!([[10, 20, 30, 40]])),
        (
            ".status.conditions[?(@.type==\"Ready\")].status",
            json!(["True"]),
        ),
        (
            ".status.conditions[?(@.type=='Paused')].status",
            json!(["False"]),
        ),
        (
            ".status.conditions[?( @.type != 'Paused' )].status",
            json!(["True"]),
        ),
        (".status.conditions[?(@.n>1)].type", json!(["Paused"])),
        (".status.conditions[?(@.n<=1)].type", json!(["Ready"])),
        (".status.conditions[?(@.nope)].type", json!([])),
        (".status.conditions[*].type", json!(["Ready", "Paused"])),
        ("..type", json!(["Ready", "Paused"])),
        (".status..status", json!(["True", "False"])),
        (
            ".metadata.*",
            json!([{"a.b": "dotted", "kubevirt.io/vm": "x"}, "a"]),
        ),
        (".missing.deeper[0]", json!([])),
        (".metadata.name.not_a_map", json!([])),
    ];
    for (path, expected) in cases {
        assert_eq!(json!(find(path)), expected, "{path}");
    }
    assert_eq!(find("."), [object()]);
}

#[test]
fn nonsense_is_refused() {
    for path in [
        "{.a",
        ".a b",
        ".a[",
        ".a[]",
        ".a[x]",
        ".a[?(@.b==]",
        ".a[?(@.b=='x']",
        ".a['x",
        ".a..",
        "..",
        ".a[1:2:0]",
        ".a[?(@.b=1)]",
        ".a[?(@.b==word)]",
        ".a[99999999999999999999]",
        "{range .items[*]}",
        ".a.",
    ] {
        assert!(JsonPath::parse(path).is_err(), "{path}");
    }
    let error = JsonPath::parse(".a[").unwrap_err().to_string();
    assert_eq!(
        error,
        "unable to parse JSONPath \".a[\": invalid array index"
    );
    assert!(JsonPath::parse(&".a".repeat(5000)).is_err());
}

#[test]
fn simple_paths_tell_their_fields() {
    assert_eq!(
        JsonPath::parse(".spec.replicas").unwrap().simple_fields(),
        Some(vec!["spec", "replicas"])
    );
    assert_eq!(
        JsonPath::parse(".spec.list[0]").unwrap().simple_fields(),
        None
    );
}

#[test]
fn results_are_bounded() {
    let list = Value::Array(vec![Value::Array(vec![json!(1); 1000]); 1000]);
    assert_eq!(
        JsonPath::parse("[*][*]").unwrap().find(&list).len(),
        JSONPATH_RESULTS
    );
}

proptest! {
    #[test]
    fn any_text_parses_or_fails(text in "[.\\[\\]{}()?@'\"a-c0-9*:,=<>! \\\\-]{0,40}") {
        if let Ok(path) = JsonPath::parse(&text) {
            path.find(&object());
        }
    }
}

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn labels(pairs: &[(&'static str, &'static str)]) -> BTreeMap<&'static str, &'static str> {
    pairs.iter().copied().collect()
}

fn parse(text: &str) -> LabelSelector {
    LabelSelector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn label_selectors_select() {
    let web = labels(&[("app", "web"), ("tier", "front"), ("n", "7"), ("empty", "")]);
    let cases = [
        ("", true),
        ("  ", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web , tier = front", true),
        ("app=db", false),
        ("app!=db", true),
        ("app!=web", false),
        ("none!=x", true),
        ("none=x", false),
        ("app", true),
        ("none", false),
        ("!app", false),
        ("!none", true),
        ("! none", true),
        ("app in (web,db)", true),
        ("app in (db)", false),
        ("none in (web)", false),
        ("app notin (db)", true),
        ("app notin (web)", false),
        ("none notin (web)", true),
        ("n>6", true),
        ("n>7", false),
        ("n<8", true),
        ("n<7", false),
        ("app>1", false),
        ("none<1", false),
        ("empty=", true),
        ("empty", true),
        ("app=", false),
        ("none=", false),
        ("none!=", true),
        ("empty in (,a)", true),
        ("empty in (a,)", true),
        ("empty in (,)", true),
        ("app=web,tier", true),
        ("app=web,!tier", false),
        ("in=a", false),
        ("!in", true),
        ("app in (in,web)", true),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text).matches(&web), expected, "{text}");
    }
    assert!(parse("app=web").matches(json!({"app": "web"}).as_object().unwrap()));
    assert!(!parse("app=web").matches(&None::<&serde_json::Map<String, serde_json::Value>>));
}

#[test]
fn label_selectors_complain_as_kube_does() {
    let cases = [
        (
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        ("a,", "found '', expected: identifier after ','"),
        ("a,,b", "found ',', expected: identifier after ','"),
        (
            ",a",
            "found ',', expected: !, identifier, or 'end of string'",
        ),
        (
            "=a",
            "found '=', expected: !, identifier, or 'end of string'",
        ),
        ("!a b", "found 'b', expected: ',' or 'end of string'"),
        (
            "!",
            "unable to parse requirement: found '', expected: identifier",
        ),
        (
            "a in",
            "unable to parse requirement: found '' expected: '('",
        ),
        (
            "a in b",
            "unable to parse requirement: found 'b' expected: '('",
        ),
        (
            "a in (b",
            "unable to parse requirement: found '', expected: ',' or ')'",
        ),
        (
            "a in (b c)",
            "unable to parse requirement: found 'c', expected: ',' or ')'",
        ),
        (
            "a in (=)",
            "unable to parse requirement: found '=', expected: ',', ')' or identifier",
        ),
        (
            "a in ()",
            "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
        ),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        (
            "a=!",
            "unable to parse requirement: found '!', expected: identifier",
        ),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        (
            "a===b",
            "unable to parse requirement: found '=', expected: identifier",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(
            LabelSelector::parse(text).unwrap_err().to_string(),
            message,
            "{text}"
        );
    }
    let key = LabelSelector::parse("-a=b").unwrap_err().to_string();
    assert!(
        key.starts_with(
            "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of"
        ),
        "{key}"
    );
    let value = LabelSelector::parse("a=-b").unwrap_err().to_string();
    assert!(value.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label must be"), "{value}");
}

#[test]
fn the_empty_value_alone_survives_printing() {
    let printed = parse("a in (,)").to_string();
    assert_eq!(printed, "a in (,)");
    assert_eq!(parse(&printed), parse("a in (,)"));
}

#[test]
fn selectors_print_sorted_by_key() {
    assert_eq!(
        parse("z=1, !b ,a in (y,x), c notin (q),n>3,m!=2").to_string(),
        "a in (x,y),!b,c notin (q),m!=2,n>3,z=1"
    );
}

#[test]
fn json_selectors() {
    let from = |v: serde_json::Value| LabelSelector::from_json(&v);
    assert!(from(json!(null)).unwrap().is_nothing());
    assert!(!from(json!(null)).unwrap().matches(&labels(&[])));
    assert!(from(json!({})).unwrap().is_everything());
    let selector = from(json!({
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"},
            {"key": "x", "operator": "NotIn", "values": ["y"]},
            {"key": "app", "operator": "Exists"},
        ],
    }))
    .unwrap();
    assert_eq!(
        selector.to_string(),
        "app=web,app,!old,tier in (a,b),x notin (y)"
    );
    assert!(selector.matches(&labels(&[("app", "web"), ("tier", "a")])));
    assert!(!selector.matches(&labels(&[("app", "web"), ("tier", "c")])));
    for bad in [
        json!(5),
        json!({"matchLabels": 5}),
        json!({"matchLabels": {"a": 5}}),
        json!({"matchExpressions": {}}),
        json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
        json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
        json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}),
        json!({"matchExpressions": [{"operator": "Exists"}]}),
        json!({"matchExpressions": [{"key": "a", "operator": "In", "values": [5]}]}),
    ] {
        assert!(from(bad.clone()).is_err(), "{bad}");
    }
    let error = from(json!({"matchExpressions": [{"key": "a", "operator": "Gt"}]})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"Gt\" is not a valid label selector operator"
    );
}

#[test]
fn requirements_are_added() {
    let more = Requirement::new("k", Operator::In, ["v"]).unwrap();
    assert_eq!(
        parse("z,a=1").and(more.clone()).to_string(),
        "a=1,k in (v),z"
    );
    assert!(LabelSelector::nothing().and(more).is_nothing());
}

#[test]
fn field_selectors() {
    let lookup = |path: &str| match path {
        "metadata.name" => Some("a".to_owned()),
        "x" => Some("1,2=3\\".to_owned()),
        _ => None,
    };
    let cases = [
        ("", true),
        ("metadata.name=a", true),
        ("metadata.name==a", true),
        ("metadata.name!=a", false),
        ("metadata.name!=b", true),
        ("metadata.name=a,spec.nodeName=", true),
        ("spec.nodeName!=", false),
        (r"x=1\,2\=3\\", true),
        ("metadata.name=a,", true),
    ];
    for (text, expected) in cases {
        assert_eq!(
            FieldSelector::parse(text).unwrap().matches(lookup),
            expected,
            "{text}"
        );
    }
    let errors = [
        ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
        (
            r"a=\b",
            r"invalid field selector: invalid escape sequence: \b",
        ),
        (
            "a=b=c",
            "invalid field selector: unescaped character in value: =",
        ),
    ];
    for (text, message) in errors {
        assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), message);
    }
    let pinned = FieldSelector::parse("metadata.name=a,metadata.namespace!=b").unwrap();
    assert_eq!(
        (
            pinned.exact("metadata.name"),
            pinned.exact("metadata.namespace")
        ),
        (Some("a"), None)
    );
    assert_eq!(pinned.requirements().len(), 2);
}

proptest! {
    #[test]
    fn any_text_parses_or_fails(text in "[a-c!=<>(), innot\\\\/.-]{0,40}|.{0,30}") {
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
    }

    #[test]
    fn label_selectors_survive_printing(text in "(!?[a-c](=[x-z]?|!=[x-z]| in \\([x-z](,[x-z]){0,2}\\)| notin \\([x-z]\\)|>[0-9])?,){0,4}[a-c]") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            let printed = selector.to_string();
            prop_assert_eq!(LabelSelector::parse(&printed).unwrap(), selector, "{}", printed);
        }
    }

    #[test]
    fn field_selectors_survive_printing(value in ".{0,20}", field in "[a-z.]{1,10}") {
        let selector = FieldSelector::equals(field, value);
        prop_assert_eq!(FieldSelector::parse(&selector.to_string()).unwrap(), selector);
    }

    #[test]
    fn negation_is_the_complement(value in "[a-c]{0,2}", given in proptest::option::of("[a-c]{0,2}")) {
        let labels: BTreeMap<String, String> = given.into_iter().map(|v| ("k".to_owned(), v)).collect();
        let with = |operator| LabelSelector::new(vec![Requirement::new("k", operator, [value.clone()]).unwrap()]).matches(&labels);
        prop_assert_ne!(with(Operator::Equals), with(Operator::NotEquals));
        prop_assert_ne!(with(Operator::In), with(Operator::NotIn));
    }
}

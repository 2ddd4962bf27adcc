use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;

use super::*;

/// Always the same cases.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(11),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn value(text: &str) -> Value {
    read(text).unwrap().value
}

fn refused(text: &str) -> String {
    read(text).unwrap_err()
}

#[test]
fn booleans_are_those_of_yaml_1_1() {
    for (word, is) in [
        ("y", true),
        ("yes", true),
        ("on", true),
        ("true", true),
        ("n", false),
        ("no", false),
        ("off", false),
        ("false", false),
    ] {
        let capital = format!("{}{}", word[..1].to_uppercase(), &word[1..]);
        for spelling in [word.to_owned(), capital, word.to_uppercase()] {
            assert_eq!(value(&format!("[{spelling}]")), json!([is]), "{spelling}");
            // Quotes make a text of anything, and so do tags and blocks.
            for text in [
                format!("['{spelling}']"),
                format!("[\"{spelling}\"]"),
                format!("[!!str {spelling}]"),
                format!("[!own {spelling}]"),
                format!("- |-\n  {spelling}"),
            ] {
                assert_eq!(value(&text), json!([spelling]), "{text}");
            }
        }
    }
    for word in ["yEs", "oN", "tRUE", "nO", "oui", "ye", "yess"] {
        assert_eq!(value(word), json!(word));
    }
}

#[test]
fn numbers_are_those_of_go() {
    for (text, is) in [
        ("0", json!(0)),
        ("-0", json!(0)),
        ("+12", json!(12)),
        ("1_000", json!(1000)),
        ("0644", json!(420)),
        ("-0o17", json!(-15)),
        ("0O17", json!(15)),
        ("089", json!(89)),
        ("0x_1F", json!(31)),
        ("0XfF", json!(255)),
        ("0b1_01", json!(5)),
        ("-0B11", json!(-3)),
        ("9223372036854775807", json!(i64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("18446744073709551615", json!(u64::MAX)),
        ("18446744073709551616", json!(18_446_744_073_709_551_616.0)),
        ("1.0", json!(1)),
        ("1e3", json!(1000)),
        ("2.5E-1", json!(0.25)),
        (".5", json!(0.5)),
        ("-.5", json!(-0.5)),
        ("7.", json!(7)),
        ("1_0.5", json!(10.5)),
        ("!!float 3", json!(3)),
        ("!!int '5'", json!(5)),
    ] {
        assert_eq!(value(text), is, "{text}");
    }
    for text in [
        "0x",
        "0b2",
        "0o8",
        "1__",
        "1e",
        "1e999",
        "+",
        "+-1",
        "0x-1",
        "0b+1",
        ".",
        ".e3",
        "1.2.3",
        "1:30",
        "190:20:30",
        "2026-11-21",
        "2026-11-21T10:00:00Z",
        "10.0.0.1",
        "1Gi",
        "_1",
        "١",
    ] {
        let is = value(&format!("[{text}]"));
        let wanted = if text == "1__" {
            json!([1])
        } else {
            json!([text])
        };
        assert_eq!(is, wanted, "{text}");
    }
    for text in [".nan", ".inf", "-.Inf", "+.INF"] {
        assert!(refused(text).contains("unsupported value"), "{text}");
    }
}

#[test]
fn nothing_is_null_and_names_are_texts() {
    assert_eq!(value(""), Value::Null);
    assert_eq!(value("# nothing\n"), Value::Null);
    assert_eq!(
        value("{a: , b: ~, c: NULL, d: ''}"),
        json!({"a": null, "b": null, "c": null, "d": ""})
    );
    assert_eq!(
        value("{on: 1, 0x10: 2, 1.5: 3, 1e21: 4, 'on': 5, 1000000.0: 6, \"<<\": 7, 0.00001: 8}"),
        json!({"true": 1, "16": 2, "1.5": 3, "1e+21": 4, "on": 5, "1e+06": 6, "<<": 7, "1e-05": 8})
    );
    assert!(refused("{~: 1}").contains("name is null"));
    assert!(refused("{[a]: 1}").contains("a field's name is a list"));
    assert!(refused("? {a: b}\n: 1").contains("a field's name is a list"));
}

#[test]
fn the_first_document_counts() {
    assert_eq!(value("a: 1\n---\nb: 2\n"), json!({"a": 1}));
    assert_eq!(value("---\na: 1\n...\n% nonsense"), json!({"a": 1}));
}

#[test]
fn fields_given_twice_are_named_and_the_last_counts() {
    let found =
        read("spec: {l: [x, {a: 1, a: 2}], yes: 1, true: 2}\nspec: {b: 1, b: 2}\n").unwrap();
    assert_eq!(found.value, json!({"spec": {"b": 2}}));
    assert_eq!(
        found.duplicates,
        ["spec.l[1].a", "spec.true", "spec", "spec.b"]
    );
    let many = (0..1000).map(|_| "a: 1\n").collect::<String>();
    assert_eq!(read(&many).unwrap().duplicates.len(), MAX_DUPLICATES);
}

#[test]
fn anchors_and_merges() {
    let text = "
base: &base {a: 1, b: [x, &two 2]}
more: &more {b: 3, c: 4}
one: {<<: *base, d: *two}
both: {<<: [*base, *more], a: 0}
quoted: {'<<': 1}
";
    let base = json!({"a": 1, "b": ["x", 2]});
    assert_eq!(
        value(text),
        json!({
            "base": base, "more": {"b": 3, "c": 4},
            "one": {"a": 1, "b": ["x", 2], "d": 2},
            "both": {"a": 0, "b": ["x", 2], "c": 4},
            "quoted": {"<<": 1},
        })
    );
    assert!(refused("{<<: 1}").contains("map merge requires"));
    assert!(refused("{<<: [1]}").contains("map merge requires"));
    assert!(refused("a: &a [*a]").contains("contains itself"));
    refused("a: *nobody");
}

#[test]
fn what_is_hostile_is_refused_in_bounded_time_and_memory() {
    let laughs: String = (1..30)
        .map(|n| {
            format!(
                "a{n}: &a{n} [{}]\n",
                vec![format!("*a{}", n - 1); 9].join(",")
            )
        })
        .collect();
    let laughs = format!("a0: &a0 [x]\n{laughs}");
    assert!(refused(&laughs).contains("excessive aliasing"));
    let large = format!(
        "a: &a {}\nb: [{}]",
        "x".repeat(1 << 20),
        vec!["*a"; 10_000].join(",")
    );
    assert!(refused(&large).contains("excessive aliasing"));
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let nested = |depth| format!("{}{}", open.repeat(depth), close.repeat(depth));
        assert!(read(&nested(limits::MAX_DEPTH)).is_ok());
        refused(&nested(limits::MAX_DEPTH + 1));
    }
    assert!(refused(&"- ".repeat(150)).contains("max depth"));
    // The parser has bounds of its own.
    refused(&"[".repeat(1 << 20));
    refused(&"{a: ".repeat(1 << 18));
    refused(&"- ".repeat(1 << 18));
    refused("a: b\n  c: d");
    refused("a: 'b");
    assert!(refused("!!int x").contains("cannot decode `x` as a !!int"));
    assert!(refused("!!bool 1").contains("cannot decode"));
    assert!(refused("!!binary '*'").contains("base64"));
    assert_eq!(value("!!binary aGVs bG8="), json!("hello"));
    assert_eq!(value("!!timestamp 2026-1-2"), json!("2026-1-2"));
    assert!(refused("!!timestamp soon").contains("cannot decode"));
}

/// Texts that could be taken for something else.
fn trap() -> impl Strategy<Value = String> {
    prop_oneof![
        "[-+.0-9_xXoObBeE:]{0,8}",
        "(?i)(y|yes|n|no|on|off|true|false|null|~|\\.inf|-\\.inf|\\.nan|<<|=)",
        "[ -~]{0,12}",
        any::<String>(),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e12..1e12).prop_map(|f: f64| Value::from(f.trunc() + 0.5)),
        trap().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::btree_map(trap(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(cases(512))]

    /// JSON is YAML.
    #[test]
    fn json_is_read_as_it_is(tree in tree()) {
        let found = read(&tree.to_string()).unwrap();
        prop_assert_eq!(found.value, tree);
        prop_assert!(found.duplicates.is_empty());
    }

    /// A client that reads by the same rules understands our answers.
    #[test]
    fn what_is_written_is_read_back(tree in tree()) {
        let text = serde_saphyr::to_string(&tree).unwrap();
        prop_assert_eq!(read(&text).map(|d| d.value), Ok(tree), "{}", text);
    }

    #[test]
    fn every_spelling_of_a_number_is_that_number(n in any::<i64>(), at in 1..4_usize) {
        let (sign, size) = (if n < 0 { "-" } else { "" }, n.unsigned_abs());
        for digits in [format!("{size}"), format!("0x{size:x}"), format!("0X{size:X}"), format!("0o{size:o}"), format!("0{size:o}"), format!("0b{size:b}")] {
            let mut spelling = format!("{sign}{digits}");
            let text = value(&spelling);
            prop_assert_eq!(&text, &json!(n), "{}", spelling);
            spelling.insert(spelling.len().min(sign.len() + at), '_');
            prop_assert_eq!(value(&spelling), json!(n), "{}", spelling);
        }
    }

    #[test]
    fn nothing_panics(text in "[-\\[\\]{}:,&*!|>'\"%@`# \n\ta-c0-9.<~?_]{0,64}") {
        let _ = read(&text);
    }
}

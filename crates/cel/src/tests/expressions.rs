//! Values of expressions.

use kube_cel::cel::Value;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::budget::{Budget, Fault};
use crate::check::{Env, check};
use crate::eval::Machine;
use crate::expression::parse;
use crate::types::Type;
use crate::value::from_json;

/// Evaluates with `self`, untyped.
pub(super) fn eval(source: &str, this: Json) -> Result<Value, Fault> {
    let ast = parse(source).unwrap_or_else(|why| panic!("{source}: {why}"));
    let env = Env {
        variables: vec![("self".to_owned(), Type::Dyn)],
        ..Env::default()
    };
    check(&env, source, &ast).unwrap_or_else(|why| panic!("{source}: {why}"));
    let roots = [("self", from_json(&this, &Type::Dyn))];
    Machine::new(&roots, &[]).run(&ast, &mut Budget::of_object())
}

fn holds(source: &str, this: Json) {
    assert_eq!(eval(source, this), Ok(Value::Bool(true)), "{source}");
}

#[test]
fn operators_and_macros() {
    holds("string(1 == 1) + string(false) == 'truefalse'", json!({}));
    for source in [
        "1 + 2 * 3 == 7 && 7 % 4 == 3 && -(3) == 0 - 3",
        "'a' + 'b' == 'ab' && [1] + [2] == [1, 2]",
        "2.5 * 2.0 == 5.0 && 1 < 2u && 2.0 >= 1",
        "1 in [1, 2] && 'k' in {'k': 1} && !(3 in [1, 2])",
        "[1, 2, 3].all(x, x > 0) && [1, 2].exists(x, x == 2) && [1, 2].exists_one(x, x == 2)",
        "[1, 2, 3].map(x, x * 2) == [2, 4, 6] && [1, 2, 3].filter(x, x > 1) == [2, 3]",
        "[1, 2, 3].map(x, x > 1, x * 2) == [4, 6]",
        "{'b': 1, 'a': 2}.map(k, k) == ['a', 'b']",
        "{'a': {'b': 1}}.a.b == 1 && has({'a': 1}.a) && !has({'a': 1}.b)",
        "true || 1 / 0 == 1",
        "1 / 0 == 1 || true",
        "!(false && 1 / 0 == 1)",
        "[0, 1].exists(x, 1 / x == 1)",
        "!([0, 1].all(x, 1 / x == 2))",
        "[[1, 2], [3]].all(l, l.all(x, x < 4))",
        "(self.n > 1 ? 'big' : 'small') == 'big'",
        "size('häß') == 3 && 'abc'.size() == 3",
        "type(1) == int && type('') == string && type([]) == list",
        "b'abc'.size() == 3 && bytes('abc') == b'abc'",
        "timestamp('2024-01-02T03:04:05Z').getHours() == 3",
        "duration('1h') + duration('30m') == duration('90m')",
        "timestamp('2024-01-01T00:00:00Z') + duration('24h') == timestamp('2024-01-02T00:00:00Z')",
        "int('12') == 12 && string(12) == '12' && double('1.5') == 1.5 && bool('true')",
    ] {
        holds(source, json!({"n": 2}));
    }
}

#[test]
fn kubernetes_functions() {
    for source in [
        "quantity('4Gi').compareTo(quantity('2Gi')) >= 0 && quantity('1k').isGreaterThan(quantity('1'))",
        "quantity('1').add(quantity('2')).compareTo(quantity('3')) == 0 && isQuantity('1Mi')",
        "isURL('https://x') && url('https://x:80/p?q=1').getScheme() == 'https'",
        "url('https://x:80/p?q=1').getPort() == '80'",
        "isIP('192.168.1.1') && cidr('192.168.0.0/16').containsIP('192.168.1.1')",
        "cidr('10.0.0.0/8').prefixLength() == 8 && ip('10.0.0.1').family() == 4",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && isCIDR('::/0')",
        "'a.b'.split('.').size() == 2 && 'a.b'.replace('.', '').upperAscii() == 'AB'",
        "[1, 2, 3].isSorted() && [1, 2, 3].sum() < 100 && [1, 2].indexOf(2) == 1",
        "[3, 1].min() == 1 && [3, 1].max() == 3 && ['a', 'b'].join('-') == 'a-b'",
        "'hello'.substring(1, 3) == 'el' && ' x '.trim() == 'x' && 'abc'.charAt(1) == 'b'",
        "'abc'.indexOf('c') == 2 && 'abab'.lastIndexOf('ab') == 2",
        "'a1b22'.find('[0-9]+') == '1' && 'a1b22'.findAll('[0-9]+') == ['1', '22']",
        "'a1b22'.findAll('[0-9]+', 1) == ['1'] && 'abc'.matches('^a.c$')",
        "'%s is %d'.format(['x', 5]) == 'x is 5'",
        "sets.contains([1, 2, 3], [1]) && sets.intersects([1], [1, 2]) && sets.equivalent([1], [1, 1])",
        "semver('1.2.3').major() == 1 && semver('1.2.3').isLessThan(semver('2.0.0'))",
        "!format.dns1123Label().validate('good').hasValue()",
        "format.dns1123Label().validate('Bad!').hasValue()",
        "self.?missing.orValue('x') == 'x' && self.?there.orValue(0) == 1",
        "self[?'there'].hasValue() && !self[?'missing'].hasValue()",
        "optional.of(1).value() == 1 && !optional.none().hasValue()",
        "optional.none().or(optional.of(2)).value() == 2",
        "[?self.?missing, 1] == [1] && {?'a': self.?there}.a == 1",
        "base64.encode(b'hello') == 'aGVsbG8=' && base64.decode('aGVsbG8=') == b'hello'",
    ] {
        holds(source, json!({"there": 1}));
    }
}

#[test]
fn faults_are_told_as_in_kubernetes() {
    for (source, text) in [
        ("10 / self.zero > 0", "division by zero"),
        ("10 % self.zero > 0", "modulus by zero"),
        ("self.map['k'] == ''", "no such key: k"),
        ("self.gone == 1", "no such key: gone"),
        ("[1][self.five] == 1", "index out of bounds: 5"),
        ("self.zero + 'x' == 'x'", "no such overload"),
        ("9223372036854775807 + self.five > 0", "integer overflow"),
        (
            "{self.five: 1, 5: 2}.size() == 1",
            "Failed with repeated key",
        ),
    ] {
        let outcome = eval(source, json!({"zero": 0, "five": 5, "map": {}}));
        assert_eq!(outcome.unwrap_err().to_string(), text, "{source}");
    }
}

#[test]
fn what_does_not_check() {
    let env = Env {
        variables: vec![
            ("n".to_owned(), Type::Int),
            ("s".to_owned(), Type::String(9)),
        ],
        ..Env::default()
    };
    for (source, wanted) in [
        (
            "n == 'x'",
            "found no matching overload for '_==_' applied to '(int, string)'",
        ),
        ("m == 1", "undeclared reference to 'm' (in container '')"),
        ("n.x == 1", "type 'int' does not support field selection"),
        (
            "s.nope()",
            "undeclared reference to 'nope' (in container '')",
        ),
        (
            "n.startsWith('x')",
            "found no matching overload for 'startsWith' applied to 'int.(string)'",
        ),
        (
            "n.all(x, true)",
            "expression of type 'int' cannot be range of a comprehension",
        ),
        ("s.matches('(')", "error parsing regexp"),
        ("lists.nope(9) == []", "undeclared reference to 'lists'"),
        ("[1, 2].sorted() == []", "undeclared reference to 'sorted'"),
        ("a{b: 1} == 2", "undeclared reference to 'a'"),
        ("n && true", "found no matching overload for '_&&_'"),
        ("n ? 1 : 2", "found no matching overload for '_?_:_'"),
    ] {
        let ast = parse(source).unwrap_or_else(|why| panic!("{source}: {why}"));
        let why = check(&env, source, &ast).unwrap_err();
        assert!(why.contains(wanted), "{source}: {why}");
    }
    for source in [
        "n ==",
        "",
        "1 1",
        "(",
        "a.b(",
        "'",
        "[1, 2",
        "has(n)",
        "?",
        "x.map(1, 2)",
    ] {
        assert!(parse(source).is_err(), "{source}");
    }
    let why = parse("self.n ==").unwrap_err();
    assert!(
        why.starts_with("ERROR: <input>:1:10: Syntax error"),
        "{why}"
    );
    assert!(why.ends_with("\n | self.n ==\n | .........^"), "{why}");
}

#[test]
fn complaints_point_at_the_place() {
    let ast = parse("1 == 1 &&\n  self.nope == 1").unwrap();
    let env = Env {
        variables: vec![("self".to_owned(), Type::Object(Default::default()))],
        ..Env::default()
    };
    let why = check(&env, "1 == 1 &&\n  self.nope == 1", &ast).unwrap_err();
    assert_eq!(
        why,
        "ERROR: <input>:2:7: undefined field 'nope'\n |   self.nope == 1\n | ......^"
    );
}

/// Texts that look like expressions.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("self".to_owned()),
        Just("self.a".to_owned()),
        Just("x".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        "'[a-z0-9.:/%(\\[+-]{0,8}'",
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just("duration('9999999h')".to_owned()),
        Just("timestamp('9999-12-31T23:59:59Z')".to_owned()),
        Just("quantity('1Gi')".to_owned()),
        Just("cidr('10.0.0.0/8')".to_owned()),
        Just("ip('::1')".to_owned()),
        Just("semver('1.2.3')".to_owned()),
        Just("optional.none()".to_owned()),
        Just("format.uuid()".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let names: Vec<&'static str> = METHODS.to_vec();
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(OPERATORS.to_vec()),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (
                inner.clone(),
                prop::sample::select(names),
                prop::collection::vec(inner.clone(), 0..3)
            )
                .prop_map(|(of, name, args)| format!("{of}.{name}({})", args.join(", "))),
            (
                prop::sample::select(FUNCTIONS.to_vec()),
                prop::collection::vec(inner.clone(), 0..3)
            )
                .prop_map(|(name, args)| format!("{name}({})", args.join(", "))),
            (
                inner.clone(),
                prop::sample::select(MACROS.to_vec()),
                inner.clone()
            )
                .prop_map(|(of, name, body)| format!("{of}.{name}(x, {body})")),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|l| format!("[{}]", l.join(", "))),
            (inner.clone(), inner.clone()).prop_map(|(k, v)| format!("{{{k}: {v}}}")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            inner.prop_map(|a| format!("-{a}")),
        ]
    })
}

const OPERATORS: &[&str] = &[
    "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in",
];
const MACROS: &[&str] = &["all", "exists", "exists_one", "map", "filter"];
const METHODS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "matches",
    "find",
    "findAll",
    "charAt",
    "indexOf",
    "lastIndexOf",
    "lowerAscii",
    "replace",
    "split",
    "substring",
    "trim",
    "join",
    "reverse",
    "format",
    "isSorted",
    "sum",
    "min",
    "max",
    "getFullYear",
    "getMonth",
    "getHours",
    "getMilliseconds",
    "getScheme",
    "family",
    "string",
    "containsIP",
    "containsCIDR",
    "prefixLength",
    "masked",
    "ip",
    "asInteger",
    "add",
    "sub",
    "sign",
    "compareTo",
    "isGreaterThan",
    "major",
    "hasValue",
    "value",
    "or",
    "orValue",
    "validate",
];
const FUNCTIONS: &[&str] = &[
    "size",
    "matches",
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "dyn",
    "type",
    "timestamp",
    "duration",
    "url",
    "isURL",
    "ip",
    "isIP",
    "cidr",
    "isCIDR",
    "quantity",
    "isQuantity",
    "semver",
    "isSemver",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "optional.of",
    "optional.ofNonZeroValue",
    "base64.encode",
    "base64.decode",
    "math.greatest",
    "math.least",
    "format.named",
    "ip.isCanonical",
];

fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,8}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|m| Json::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn never_panics_and_ends(source in expression(), this in json_value()) {
        // Whatever evaluation meets, `dyn` lets everything pass the checker.
        for source in [source.clone(), source.replace("x", "dyn(self)")] {
            let Ok(ast) = parse(&source) else { continue };
            let env = Env { variables: vec![("self".to_owned(), Type::Dyn)], ..Env::default() };
            let _ = check(&env, &source, &ast);
            let roots = [("self", from_json(&this, &Type::Dyn))];
            let _ = Machine::new(&roots, &[]).run(&ast, &mut Budget::new(20_000));
        }
    }

    #[test]
    fn any_text_parses_or_does_not(source in "[a-z0-9 .()\\[\\]{}'\"?:,&|!<>=+*/%\\\\-]{0,60}|.{0,40}") {
        let _ = parse(&source);
    }
}

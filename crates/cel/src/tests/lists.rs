//! Functions of lists, and macros over two variables.

use kube_cel::cel::Value;
use serde_json::json;

use super::expressions::eval;
use crate::budget::Fault;
use crate::check::{Env, check};
use crate::expression::parse;

fn holds(source: &str) {
    let this = json!({"l": [3, 1, 2], "m": {"a": 1, "b": 2}});
    assert_eq!(eval(source, this), Ok(Value::Bool(true)), "{source}");
}

#[test]
fn lists_have_functions() {
    for source in [
        "self.l.slice(1, 3) == [1, 2] && [1].slice(1, 1) == []",
        "[[1], [2, 3]].flatten() == [1, 2, 3]",
        "[1, [2, [3, [4]]]].flatten(2) == [1, 2, 3, [4]] && [[1]].flatten(0) == [[1]]",
        "[1, 2, 2, 1].distinct() == [1, 2] && [].distinct() == []",
        "self.l.sort() == [1, 2, 3] && ['b', 'a'].sort() == ['a', 'b']",
        "self.l.first().value() == 3 && self.l.last().orValue(0) == 2",
        "![].first().hasValue()",
        "lists.range(3) == [0, 1, 2] && lists.range(0) == []",
    ] {
        holds(source);
    }
    for (source, fault) in [
        ("[1].slice(0, 2)", "cannot slice(0, 2), list is length 1"),
        (
            "[1].slice(1, 0)",
            "cannot slice(1, 0), start index must be less than or equal to end index",
        ),
        (
            "[1].slice(-1, 0)",
            "cannot slice(-1, 0), negative indexes not supported",
        ),
        ("[1].flatten(-1)", "level must be non-negative"),
        (
            "[dyn(1), dyn('a')].sort()",
            "list elements must have the same type",
        ),
        (
            "lists.range(-1)",
            "lists.range(): size must not be negative",
        ),
    ] {
        let expected = Err(Fault::Function(fault.to_owned()));
        assert_eq!(eval(source, json!(null)), expected, "{source}");
    }
    assert_eq!(
        eval("lists.range(9000000000)", json!(null)),
        Err(Fault::Exhausted),
        "a list is charged before it is made"
    );
}

#[test]
fn macros_may_have_two_variables() {
    for source in [
        "['a', 'b'].all(i, s, s == ['a', 'b'][i])",
        "self.m.all(k, v, k != '' && v > 0) && !self.m.all(k, v, v > 1)",
        "self.m.exists(k, v, k == 'b' && v == 2) && !self.m.exists(k, v, v == 3)",
        "self.l.existsOne(i, x, i == x - 1) == false && self.m.existsOne(k, v, v == 1)",
        "self.l.transformList(i, x, x * 10 + i) == [30, 11, 22]",
        "self.l.transformList(i, x, x > 1, i) == [0, 2]",
        "self.m.transformList(k, v, k) == ['a', 'b']",
        "self.m.transformMap(k, v, v * 2) == {'a': 2, 'b': 4}",
        "self.m.transformMap(k, v, v > 1, v) == {'b': 2}",
        "['x', 'y'].transformMap(i, s, s) == {0: 'x', 1: 'y'}",
        "self.m.transformMapEntry(k, v, {v: k}) == {1: 'a', 2: 'b'}",
        // As with one variable, what decides may come after what fails.
        "[0, 1].exists(i, x, 1 / x == 1) && ![0, 1].all(i, x, 1 / x == 2)",
        // The names are the macro's own.
        "[1].all(self, x, self == 0) && self.m.a == 1",
    ] {
        holds(source);
    }
    assert_eq!(
        eval("[0].all(i, x, 1 / x == 1)", json!(null)),
        Err(Fault::Division)
    );
    let twice = "[1, 2].transformMapEntry(i, x, {'k': x})";
    let fault = "insert failed: key already exists".to_owned();
    assert_eq!(eval(twice, json!(null)), Err(Fault::Function(fault)));
}

#[test]
fn what_does_not_fit_is_refused_before_it_runs() {
    for source in [
        "[1].all(i, x, x)",
        "[1].transformList(i, x, i, x) == []",
        "(1).all(i, x, true)",
        "[1].transformMapEntry(i, x, x) == {}",
        "[[1]].sort() == []",
        "[1].slice('a', 1) == []",
        "lists.range('a') == []",
        "[1].flatten() == []",
    ] {
        let ast = parse(source).unwrap_or_else(|why| panic!("{source}: {why}"));
        check(&Env::default(), source, &ast).unwrap_err();
    }
}

#[test]
fn a_format_is_found_by_its_name() {
    for source in [
        "!format.named('dns1123Label').value().validate('a').hasValue()",
        "format.named('dns1123Label').value().validate('A_').hasValue()",
        "!format.named('none').hasValue()",
    ] {
        holds(source);
    }
}

//! Hostile expressions end, soon and with an error.

use serde_json::json;

use super::expressions::eval;
use crate::budget::{Budget, Fault};
use crate::check::{Env, check};
use crate::eval::Machine;
use crate::expression::parse;
use crate::limits;
use crate::types::Type;
use crate::value::from_json;

#[test]
fn deep_and_long_sources_are_refused() {
    for source in [
        "(".repeat(10_000),
        format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("{}1", "!".repeat(10_000)),
        format!("{}1", "-".repeat(10_000)),
        format!("self{}", ".a".repeat(5_000)),
        format!("1{}", "+1".repeat(5_000)),
        format!("self{}", "[0]".repeat(3_000)),
        "a?b:".repeat(3_000) + "c",
        "[".repeat(9_000),
        format!("self{}", ".map(x, x)".repeat(1_000)),
        "'a' + ".repeat(1_000) + "'a'",
        "1".repeat(limits::SOURCE + 1),
    ] {
        assert!(parse(&source).is_err(), "{}...", &source[..20]);
    }
}

/// Runs on a stack of so many bytes.
fn on_stack<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(bytes);
    thread.spawn(work).unwrap().join().unwrap()
}

#[test]
fn the_deepest_accepted_source_keeps_to_its_stacks() {
    let brackets = limits::BRACKETS - 1;
    let deepest = [
        format!("{}1{}", "(".repeat(brackets), ")".repeat(brackets)),
        format!("self{}", ".a".repeat(90)),
        format!("1{}", "+1".repeat(90)),
        format!("1{}", "+1".repeat(limits::CHAIN)),
        "true?1:".repeat(brackets) + "2",
        format!("{}self{}", "[".repeat(brackets), "]".repeat(brackets)),
        format!("{}true", "self.a && ".repeat(900)),
        (0..20).fold("true".to_owned(), |inner, n| {
            format!("self.all(x{n}, {inner})")
        }),
    ];
    for source in deepest {
        let shown = source[..20].to_owned();
        let parsed = on_stack(limits::PARSER_STACK, {
            let source = source.clone();
            move || parse(&source)
        });
        let Ok(ast) = parsed else {
            println!("refused: {shown}");
            continue;
        };
        println!("evaluated: {shown}");
        // As on a worker thread of the server, which has 2 MiB and is not at its beginning.
        on_stack(1 << 20, move || {
            let env = Env {
                variables: vec![("self".to_owned(), Type::Dyn)],
                ..Env::default()
            };
            let _ = check(&env, &source, &ast);
            let roots = [("self", from_json(&json!([1]), &Type::Dyn))];
            let _ = Machine::new(&roots, &[]).run(&ast, &mut Budget::of_object());
        });
    }
}

#[test]
fn loops_and_growth_spend_the_budget() {
    let list: Vec<u32> = (0..2_000).collect();
    let this = json!({"l": list, "s": "a".repeat(100_000)});
    for source in [
        "self.l.all(a, self.l.all(b, a + b >= 0))",
        "self.l.map(a, self.l.map(b, self.l)).size() > 0",
        "self.l.map(a, self.s + self.s).size() > 0",
        "self.l.all(a, self.s.contains(self.s + 'b') || true)",
        "self.l.all(a, self.s.replace('', self.s) == '' || true)",
        "self.l.all(a, self.s.split('').size() > 0)",
        "self.l.all(a, self.l == self.l)",
        "self.l.all(a, sets.contains(self.l, self.l))",
        "self.l.all(a, self.s.matches('(a*)*b' + string(a)) || true)",
    ] {
        assert_eq!(
            eval(source, this.clone()),
            Err(Fault::Exhausted),
            "{source}"
        );
    }
}

#[test]
fn regular_expressions_are_bounded() {
    let this = json!({"p": "((a{0,100}){0,100}){0,100}", "s": "a".repeat(1000)});
    let fault = eval("self.s.matches(self.p)", this).unwrap_err();
    assert!(
        fault.to_string().contains("error parsing regexp"),
        "{fault}"
    );
    let ok = eval(
        "self.s.matches('^(a+)+$')",
        json!({"s": "a".repeat(10_000) + "b"}),
    );
    assert_eq!(ok, Ok(kube_cel::cel::Value::Bool(false)));
}

#[test]
fn formats_cannot_ask_for_endless_digits() {
    assert!(eval("'%.999999999f'.format([1.5]) == ''", json!({})).is_err());
}

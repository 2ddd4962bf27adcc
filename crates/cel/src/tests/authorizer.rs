//! The variable `authorizer`.

use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};

use crate::authorizer::{Authorizer, Decision, Question};
use crate::budget::Budget;
use crate::policy::{Conditions, Inputs};

/// Allows what is asked with the verb `get`, and writes down all questions.
#[derive(Default)]
struct Getter(Mutex<Vec<String>>);

impl Authorizer for Getter {
    fn decide(&self, question: &Question<'_>) -> Decision {
        self.0.lock().unwrap().push(format!(
            "{:?} {} {:?}",
            question.service_account, question.verb, question.on
        ));
        Decision {
            allowed: question.verb == "get",
            reason: format!("it is {}", question.verb),
            error: None,
        }
    }
}

/// Whether the expression holds, and what was asked.
fn ask(expression: &str) -> (Result<bool, String>, Vec<String>) {
    let given: Json = json!({"name": "x", "expression": expression});
    let getter = Arc::new(Getter::default());
    let authorizer: Arc<dyn Authorizer> = Arc::clone(&getter) as _;
    let request = json!({"requestResource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "requestSubResource": "scale", "namespace": "ns", "name": "d"});
    let inputs = Inputs {
        object: None,
        old_object: None,
        request: &request,
        params: None,
        namespace_object: None,
        authorizer: &authorizer,
    };
    let held = Conditions::compile(&[given]).hold(&inputs, &mut Budget::of_object());
    let asked = std::mem::take(&mut *getter.0.lock().unwrap());
    (held, asked)
}

#[test]
fn questions_are_built_step_by_step() {
    let pods = "authorizer.group('').resource('pods').subresource('status').namespace('ns').name('p')\
                .fieldSelector('a=b').labelSelector('c').check('get')";
    for (expression, question) in [
        (
            format!("{pods}.allowed()"),
            r#"None get Resource { group: "", resource: "pods", subresource: "status", namespace: "ns", name: "p" }"#,
        ),
        (
            "authorizer.path('/healthz').check('get').reason() == 'it is get'".to_owned(),
            r#"None get Path("/healthz")"#,
        ),
        (
            "!authorizer.serviceAccount('ns', 'sa').path('/x').check('put').allowed()".to_owned(),
            r#"Some(("ns", "sa")) put Path("/x")"#,
        ),
        (
            "authorizer.requestResource.name('e').check('get').allowed()".to_owned(),
            r#"None get Resource { group: "apps", resource: "deployments", subresource: "scale", namespace: "ns", name: "e" }"#,
        ),
        (
            "!authorizer.requestResource.check('update').errored() && authorizer.path('/').check('get').error() == ''".to_owned(),
            r#"None update Resource { group: "apps", resource: "deployments", subresource: "scale", namespace: "ns", name: "d" }"#,
        ),
    ] {
        let (held, asked) = ask(&expression);
        assert_eq!(held, Ok(true), "{expression}");
        assert_eq!(asked[0], question, "{expression}");
    }
}

#[test]
fn what_cannot_be_asked_is_an_error() {
    for (expression, error) in [
        (
            "authorizer.path(' ').check('get').allowed()",
            "path must not be empty",
        ),
        (
            "authorizer.group('').resource('').check('get').allowed()",
            "resource must not be empty",
        ),
        (
            "authorizer.serviceAccount('n', 'a@b').path('/').check('get').allowed()",
            "Invalid service account name",
        ),
        (
            "authorizer.serviceAccount('n.n', 'a').path('/').check('get').allowed()",
            "Invalid service account namespace",
        ),
    ] {
        let (held, asked) = ask(expression);
        assert_eq!(held, Err(error.to_owned()), "{expression}");
        assert!(asked.is_empty(), "{expression}");
    }
}

#[test]
fn an_expression_may_ask_twice() {
    let one = "authorizer.path('/').check('get').allowed()";
    let two = format!("{one} && {one}");
    assert_eq!(ask(&two).0, Ok(true));
    let (held, asked) = ask(&format!("{two} && {one}"));
    assert_eq!(
        held,
        Err("operation cancelled: actual cost limit exceeded".to_owned())
    );
    assert_eq!(asked.len(), 2);
}

//! Kinds that are computed: reviews of tokens, of access, and of oneself.

use ::authz::{Attributes, Decision, User, rules_status};
use apimachinery::status::ApiError;
use apimachinery::time::format_time;
use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::registry::Reader;
use crate::review_rules::{self, Scope};
use crate::server::Inner;

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Answers a review.
pub(crate) async fn serve(
    inner: &Inner,
    kind: &Kind,
    namespace: &str,
    user: &User,
    mut review: Value,
) -> Result<Value, ApiError> {
    check_type(kind, &mut review)?;
    let status = match kind.plural.as_str() {
        "selfsubjectreviews" => {
            review["metadata"] = json!({"creationTimestamp": format_time(jiff::Timestamp::now())});
            json!({"userInfo": user})
        }
        "tokenreviews" => token(inner, &review).await?,
        "selfsubjectaccessreviews" => {
            judge(kind, &review, Scope::Own)?;
            access(inner, &review, user)
        }
        "subjectaccessreviews" => {
            judge(kind, &review, Scope::Anybody)?;
            access(inner, &review, &subject(&review))
        }
        "localsubjectaccessreviews" => {
            judge(kind, &review, Scope::Local(namespace))?;
            access(inner, &review, &subject(&review))
        }
        "selfsubjectrulesreviews" => {
            let namespace = text(&review, "/spec/namespace");
            if namespace.is_empty() {
                return Err(ApiError::bad_request("no namespace on request"));
            }
            rules_status(&inner.registry.authorizer.index().rules_for(user, namespace))
        }
        _ => return Err(ApiError::unknown_resource()),
    };
    if review.get("metadata").is_none() {
        review["metadata"] = json!({"creationTimestamp": null});
    }
    review["status"] = status;
    Ok(review)
}

fn check_type(kind: &Kind, review: &mut Value) -> Result<(), ApiError> {
    let Some(map) = review.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {})",
            kind.kind
        )));
    };
    for (key, wanted) in [
        ("kind", kind.kind.clone()),
        ("apiVersion", kind.api_version()),
    ] {
        let given = map.get(key).and_then(Value::as_str).unwrap_or_default();
        if !given.is_empty() && given != wanted {
            return Err(ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): {key} is {given:?}",
                kind.kind
            )));
        }
        map.insert(key.to_owned(), Value::String(wanted));
    }
    Ok(())
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn judge(kind: &Kind, review: &Value, scope: Scope<'_>) -> Result<(), ApiError> {
    let errors = review_rules::check(review, scope);
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&kind.group_kind(), "", errors))
}

fn subject(review: &Value) -> User {
    User {
        name: text(review, "/spec/user").to_owned(),
        uid: text(review, "/spec/uid").to_owned(),
        groups: strings(review.pointer("/spec/groups")),
        extra: review
            .pointer("/spec/extra")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, values)| (key.clone(), strings(Some(values))))
            .collect(),
    }
}

/// Of a review that was judged: whether the user may do what it asks about.
fn access(inner: &Inner, review: &Value, user: &User) -> Value {
    let none = Value::Null;
    let part = |key: &str| review.pointer(&format!("/spec/{key}")).unwrap_or(&none);
    let attributes = match part("resourceAttributes") {
        r if r.is_object() => Attributes {
            version: text(r, "/version"),
            subresource: text(r, "/subresource"),
            namespace: text(r, "/namespace"),
            name: text(r, "/name"),
            ..Attributes::resource(
                user,
                text(r, "/verb"),
                text(r, "/group"),
                text(r, "/resource"),
            )
        },
        _ => {
            let p = part("nonResourceAttributes");
            Attributes::path(user, text(p, "/verb"), text(p, "/path"))
        }
    };
    match inner.registry.authorizer.index().authorize(&attributes) {
        Decision::Allow { reason } if reason.is_empty() => json!({"allowed": true}),
        Decision::Allow { reason } => json!({"allowed": true, "reason": reason}),
        Decision::NoOpinion { reason } if reason.is_empty() => json!({"allowed": false}),
        Decision::NoOpinion { reason } => json!({"allowed": false, "reason": reason}),
        Decision::Deny => json!({"allowed": false, "denied": true}),
    }
}

async fn token(inner: &Inner, review: &Value) -> Result<Value, ApiError> {
    let given = text(review, "/spec/token");
    if given.is_empty() {
        return Err(ApiError::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let audiences = strings(review.pointer("/spec/audiences"));
    let reader = Reader::new(std::sync::Arc::clone(&inner.registry));
    Ok(
        match inner.authenticator.token(given, &audiences, &reader).await {
            Some((user, matched)) => {
                let audiences = if matched.is_empty() {
                    vec![inner.audience.clone()]
                } else {
                    matched
                };
                json!({"authenticated": true, "user": user, "audiences": audiences})
            }
            None => json!({"user": {}, "error": "invalid bearer token"}),
        },
    )
}

//! TokenRequest: bound service-account tokens.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::gvk::{GroupKind, GroupResource};
use apimachinery::meta;
use apimachinery::status::ApiError;
use apimachinery::time::format_time;
use jiff::SignedDuration;
use pki::{BoundObject, Claims, KubernetesClaims};
use serde_json::{Value, json};

use crate::registry::Call;
use crate::server::Inner;

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

/// Serves POST `serviceaccounts/<name>/token`.
pub(crate) async fn request(
    inner: &Inner,
    call: &Call<'_>,
    request: Value,
) -> Result<Value, ApiError> {
    let resource = GroupResource::new("", "serviceaccounts");
    let Some(account) = call
        .reader
        .get("", "serviceaccounts", call.namespace, call.name)
        .await?
    else {
        return Err(ApiError::not_found(&resource, call.name));
    };
    if request
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(|k| !matches!(k, "" | "TokenRequest"))
    {
        return Err(ApiError::bad_request(
            "the body must be a TokenRequest of authentication.k8s.io/v1",
        ));
    }
    own_metadata(call, &request)?;
    let spec = FieldPath::new("spec");
    let seconds = match request.pointer("/spec/expirationSeconds") {
        None | Some(Value::Null) => DEFAULT_SECONDS,
        Some(given) => given
            .as_i64()
            .ok_or_else(|| ApiError::bad_request("spec.expirationSeconds must be an integer"))?,
    };
    let path = spec.child("expirationSeconds");
    let mut errors = Vec::new();
    if seconds < MIN_SECONDS {
        errors.push(FieldError::invalid(
            &path,
            seconds,
            "may not specify a duration less than 10 minutes",
        ));
    } else if seconds > MAX_SECONDS {
        errors.push(FieldError::invalid(
            &path,
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        ));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(
            &GroupKind::new("authentication.k8s.io", "TokenRequest"),
            "",
            errors,
        ));
    }
    let audiences: Vec<String> = match request.pointer("/spec/audiences").and_then(Value::as_array)
    {
        Some(list) if !list.is_empty() => list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => vec![inner.audience.clone()],
    };
    let mut kubernetes = KubernetesClaims {
        namespace: call.namespace.to_owned(),
        serviceaccount: BoundObject {
            name: call.name.to_owned(),
            uid: meta::uid(&account).unwrap_or_default().to_owned(),
        },
        ..KubernetesClaims::default()
    };
    bind(call, &request, &mut kubernetes).await?;
    let now = call.now.as_second();
    let claims = Claims {
        iss: inner.issuer.clone(),
        sub: format!("system:serviceaccount:{}:{}", call.namespace, call.name),
        aud: audiences.clone(),
        exp: now + seconds,
        iat: now,
        nbf: now,
        jti: Some(uuid::Uuid::new_v4().to_string()),
        kubernetes,
    };
    let token = inner.keys.sign(&claims).map_err(ApiError::internal)?;
    let expires = call
        .now
        .checked_add(SignedDuration::from_secs(seconds))
        .map_err(ApiError::internal)?;
    let bound = request
        .pointer("/spec/boundObjectRef")
        .cloned()
        .unwrap_or(Value::Null);
    Ok(json!({
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": call.name, "namespace": call.namespace, "creationTimestamp": format_time(call.now)},
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound},
        "status": {"token": token, "expirationTimestamp": format_time(expires)},
    }))
}

/// A request that names an account names that of the URL.
fn own_metadata(call: &Call<'_>, request: &Value) -> Result<(), ApiError> {
    let wanted = [("name", call.name), ("namespace", call.namespace)];
    for (key, wanted) in wanted {
        let given = request.pointer(&format!("/metadata/{key}"));
        let given = given.and_then(Value::as_str).unwrap_or_default();
        if !given.is_empty() && given != wanted {
            let path = FieldPath::new("metadata").child(key);
            let detail = format!("must match the service account {key} if specified");
            let error = FieldError::invalid(&path, given, detail);
            let kind = GroupKind::new("authentication.k8s.io", "TokenRequest");
            return Err(ApiError::invalid(&kind, call.name, vec![error]));
        }
    }
    Ok(())
}

async fn bind(
    call: &Call<'_>,
    request: &Value,
    claims: &mut KubernetesClaims,
) -> Result<(), ApiError> {
    let Some(reference) = request
        .pointer("/spec/boundObjectRef")
        .filter(|r| r.is_object())
    else {
        return Ok(());
    };
    let text = |key: &str| {
        reference
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let resource = match text("kind") {
        "Pod" => "pods",
        "Secret" => "secrets",
        other => {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to object of type {other:?}",
                call.name
            )));
        }
    };
    let Some(object) = call
        .reader
        .get("", resource, call.namespace, text("name"))
        .await?
    else {
        return Err(ApiError::not_found(
            &GroupResource::new("", resource),
            text("name"),
        ));
    };
    let uid = meta::uid(&object).unwrap_or_default();
    if !text("uid").is_empty() && text("uid") != uid {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            text("uid")
        );
        return Err(ApiError::conflict(
            &GroupResource::new("", resource),
            text("name"),
            why,
        ));
    }
    let bound = BoundObject {
        name: text("name").to_owned(),
        uid: uid.to_owned(),
    };
    if resource == "secrets" {
        claims.secret = Some(bound);
        return Ok(());
    }
    let account = object
        .pointer("/spec/serviceAccountName")
        .and_then(Value::as_str)
        .unwrap_or("default");
    if account != call.name {
        return Err(ApiError::bad_request(format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            call.name
        )));
    }
    claims.pod = Some(bound);
    Ok(())
}

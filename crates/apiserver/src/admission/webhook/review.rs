//! AdmissionReview: the question and its answer.

use apimachinery::status::{ApiError, Status};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::kinds::api_version;
use crate::registry::{Call, FieldValidation};
use crate::strategy::Operation;

/// What a webhook said.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Present when it refuses.
    pub denied: Option<Value>,
    /// A JSON patch.
    pub patch: Option<Value>,
    pub warnings: Vec<String>,
    /// For the audit log; names are the webhook's own.
    pub annotations: Vec<(String, String)>,
}

/// Longest warning and number of warnings that are passed on.
const MAX_WARNING: usize = 4096;
const MAX_WARNINGS: usize = 64;

/// An object as a webhook sees it that knows the kind in `version`.
pub(super) fn shown(call: &Call<'_>, version: &str, value: Option<&Value>) -> Option<Value> {
    let mut value = value.cloned();
    let is_own = call.kind.body_of(call.subresource).is_none();
    if let Some(value) = value
        .as_mut()
        .filter(|_| is_own && version != call.kind.version)
    {
        value["apiVersion"] = Value::String(api_version(&call.kind.group, version));
    }
    value
}

/// The request (`AdmissionRequest`) without its uid and objects. The kind is named in `version`.
pub(super) fn describe(
    call: &Call<'_>,
    version: &str,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Value {
    let kind = call.kind;
    let (name, options) = match operation {
        Operation::Create => ("CREATE", "CreateOptions"),
        Operation::Update => ("UPDATE", "UpdateOptions"),
        Operation::Delete => ("DELETE", "DeleteOptions"),
    };
    let mut options = json!({"kind": options, "apiVersion": "meta.k8s.io/v1"});
    if call.options.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if operation != Operation::Delete {
        if call.options.manager_given {
            options["fieldManager"] = json!(call.options.manager);
        }
        options["fieldValidation"] = json!(match call.options.field_validation {
            FieldValidation::Ignore => "Ignore",
            FieldValidation::Warn => "Warn",
            FieldValidation::Strict => "Strict",
        });
    }
    let object_name = object
        .or(old)
        .and_then(apimachinery::meta::name)
        .unwrap_or(call.name);
    let own = (
        kind.group.as_str(),
        kind.version.as_str(),
        kind.kind.as_str(),
    );
    let body = kind.body_of(call.subresource);
    let in_version = body.unwrap_or((own.0, version, own.2));
    let in_request = body.unwrap_or(own);
    let named = |(group, version, kind): (&str, &str, &str)| json!({"group": group, "version": version, "kind": kind});
    let mut request = json!({
        "kind": named(in_version),
        "resource": {"group": kind.group, "version": version, "resource": kind.plural},
        "requestKind": named(in_request),
        "requestResource": {"group": kind.group, "version": kind.version, "resource": kind.plural},
        "name": object_name,
        "operation": name,
        "userInfo": call.user,
        "dryRun": call.options.dry_run,
        "options": options,
    });
    if !call.namespace.is_empty() {
        request["namespace"] = json!(call.namespace);
    } else if kind.is("", "namespaces") {
        request["namespace"] = json!(object_name);
    }
    if !call.subresource.is_empty() {
        request["subResource"] = json!(call.subresource);
        request["requestSubResource"] = json!(call.subresource);
    }
    request
}

/// The question, and its uid, which the answer must repeat. The object is shown in `version`.
pub(super) fn request(
    call: &Call<'_>,
    version: &str,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> (String, Vec<u8>) {
    let uid = uuid::Uuid::new_v4().to_string();
    let mut request = describe(call, version, operation, object, old);
    request["uid"] = json!(uid);
    request["object"] = json!(shown(call, version, object));
    request["oldObject"] = json!(shown(call, version, old));
    let review = json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": request,
    });
    (uid, review.to_string().into_bytes())
}

/// Reads an answer; the error says what is wrong with it.
pub(super) fn answer(bytes: &[u8], uid: &str) -> Result<Answer, String> {
    let review: Value = serde_json::from_slice(bytes)
        .map_err(|e| format!("the webhook's answer is no JSON: {e}"))?;
    if review["kind"] != "AdmissionReview" || review["apiVersion"] != "admission.k8s.io/v1" {
        return Err(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {}, Kind={}",
            review["apiVersion"].as_str().unwrap_or_default(),
            review["kind"].as_str().unwrap_or_default()
        ));
    }
    let response = &review["response"];
    if response["uid"] != uid {
        return Err(format!(
            "expected response.uid={uid:?}, got {:?}",
            response["uid"].as_str().unwrap_or_default()
        ));
    }
    let mut answer = Answer::default();
    for warning in response["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .take(MAX_WARNINGS)
    {
        let text = warning.as_str().unwrap_or_default();
        answer
            .warnings
            .push(text.chars().take(MAX_WARNING).collect());
    }
    let annotations = response["auditAnnotations"].as_object();
    for (key, value) in annotations.into_iter().flatten().take(MAX_WARNINGS) {
        let value = value.as_str().unwrap_or_default();
        answer.annotations.push((key.clone(), value.to_owned()));
    }
    if response["allowed"] != true {
        answer.denied = Some(response["status"].clone());
        return Ok(answer);
    }
    let patch = response["patch"].as_str().unwrap_or_default();
    match (response["patchType"].as_str(), patch) {
        (None, "") => {}
        (Some("JSONPatch"), patch) if !patch.is_empty() => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(patch)
                .map_err(|e| format!("response.patch is no base64: {e}"))?;
            let patch = serde_json::from_slice(&bytes)
                .map_err(|e| format!("response.patch is no JSON patch: {e}"))?;
            answer.patch = Some(patch);
        }
        (Some("JSONPatch"), _) => {
            return Err("webhook returned response.patchType but not response.patch".to_owned());
        }
        (None, _) => {
            return Err("webhook returned response.patch but not response.patchType".to_owned());
        }
        (Some(other), _) => return Err(format!("unsupported response.patchType {other:?}")),
    }
    Ok(answer)
}

/// The refusal as the client gets it; `status` is the webhook's, or null.
pub(super) fn denial(webhook: &str, status: &Value) -> ApiError {
    let denied = format!("admission webhook {webhook:?} denied the request");
    let text = |key: &str| status[key].as_str().unwrap_or_default();
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = status["code"].as_u64().and_then(|c| u16::try_from(c).ok());
    let code = code.filter(|c| (400..600).contains(c)).unwrap_or(400);
    let details = serde_json::from_value(status["details"].clone()).ok();
    Status::failure(text("reason").into(), message, details).into_error(code)
}

/// A status as an error with a code of its own.
trait IntoError {
    fn into_error(self, code: u16) -> ApiError;
}

impl IntoError for Status {
    fn into_error(self, code: u16) -> ApiError {
        ApiError::from(self).with_code(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(response: &Value) -> Vec<u8> {
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn answers_must_be_of_the_question_and_whole() {
        let patch = base64::engine::general_purpose::STANDARD.encode("[]");
        let ok =
            reply(&json!({"uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": patch}));
        assert_eq!(answer(&ok, "u").unwrap().patch, Some(json!([])));
        assert!(answer(&ok, "other").is_err());
        assert!(answer(b"{}", "u").is_err());
        assert!(
            answer(
                &reply(&json!({"uid": "u", "allowed": true, "patch": patch})),
                "u"
            )
            .is_err()
        );
        let no = reply(&json!({"uid": "u", "allowed": false, "warnings": ["w"]}));
        let no = answer(&no, "u").unwrap();
        assert!(no.denied.is_some());
        assert_eq!(no.warnings, ["w"]);
    }

    #[test]
    fn denials_carry_the_webhooks_status() {
        let plain = denial("a.b.c", &Value::Null);
        assert_eq!(plain.code(), 400);
        assert_eq!(
            plain.0.message,
            "admission webhook \"a.b.c\" denied the request without explanation"
        );
        let own = denial(
            "a",
            &json!({"code": 409, "reason": "Conflict", "message": "clash"}),
        );
        assert_eq!((own.code(), own.reason().as_str()), (409, "Conflict"));
        assert_eq!(denial("a", &json!({"code": 200})).code(), 400);
    }
}

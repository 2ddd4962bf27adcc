use serde_json::json;

use super::*;
use crate::field::FieldPath;

fn widgets() -> GroupResource {
    GroupResource::new("example.com", "widgets")
}

#[test]
fn wording_is_that_of_kube() {
    let pods = GroupResource::new("", "pods");
    let cases = [
        (
            ApiError::not_found(&pods, "a"),
            404,
            "NotFound",
            r#"pods "a" not found"#,
        ),
        (
            ApiError::not_found(&widgets(), "a"),
            404,
            "NotFound",
            r#"widgets.example.com "a" not found"#,
        ),
        (
            ApiError::unknown_resource(),
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
        (
            ApiError::already_exists(&pods, "a"),
            409,
            "AlreadyExists",
            r#"pods "a" already exists"#,
        ),
        (
            ApiError::modified(&pods, "a"),
            409,
            "Conflict",
            r#"Operation cannot be fulfilled on pods "a": the object has been modified; please apply your changes to the latest version and try again"#,
        ),
        (
            ApiError::forbidden(&pods, "a", "no"),
            403,
            "Forbidden",
            r#"pods "a" is forbidden: no"#,
        ),
        (
            ApiError::forbidden(&widgets(), "", "no"),
            403,
            "Forbidden",
            "widgets.example.com is forbidden: no",
        ),
        (
            ApiError::forbidden(&GroupResource::default(), "", "no"),
            403,
            "Forbidden",
            "forbidden: no",
        ),
        (
            ApiError::unauthorized(),
            401,
            "Unauthorized",
            "Unauthorized",
        ),
        (ApiError::bad_request("what?"), 400, "BadRequest", "what?"),
        (
            ApiError::method_not_supported(&widgets(), "create"),
            405,
            "MethodNotAllowed",
            r#"create is not supported on resources of kind "widgets.example.com""#,
        ),
        (
            ApiError::too_old_resource_version(1, 138_261),
            410,
            "Expired",
            "too old resource version: 1 (138261)",
        ),
        (
            ApiError::too_large("limit is 3145728"),
            413,
            "RequestEntityTooLarge",
            "Request entity too large: limit is 3145728",
        ),
        (
            ApiError::unsupported_media_type(&["application/json", "application/yaml"]),
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml",
        ),
        (
            ApiError::not_acceptable(&["application/json"]),
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json",
        ),
        (
            ApiError::internal("boom"),
            500,
            "InternalError",
            "Internal error occurred: boom",
        ),
        (
            ApiError::timeout("request did not complete", 0),
            504,
            "Timeout",
            "Timeout: request did not complete",
        ),
        (
            ApiError::insufficient_storage("full"),
            507,
            "InsufficientStorage",
            "full",
        ),
        (
            ApiError::server_timeout(&pods, "list", 2),
            500,
            "ServerTimeout",
            "The list operation against pods could not be completed at this time, please try again.",
        ),
    ];
    for (error, code, reason, message) in cases {
        assert_eq!(error.code(), code, "{message}");
        assert_eq!(error.reason().as_str(), reason);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn not_found_has_kubes_json() {
    let status = ApiError::not_found(&widgets(), "a").into_status();
    assert_eq!(
        serde_json::to_string(&status).unwrap(),
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"widgets.example.com \"a\" not found","reason":"NotFound","details":{"name":"a","group":"example.com","kind":"widgets"},"code":404}"#
    );
}

#[test]
fn one_fault_stands_alone_and_several_in_brackets() {
    let kind = GroupKind::new("", "Pod");
    let image = FieldError::required(&FieldPath::new("spec.containers[0].image"), "");
    let name = FieldError::duplicate(&FieldPath::new("spec.containers[1].name"), "a");
    let one = ApiError::invalid(&kind, "p", vec![image.clone()]);
    assert_eq!(
        one.to_string(),
        r#"Pod "p" is invalid: spec.containers[0].image: Required value"#
    );
    let two = ApiError::invalid(&kind, "p", vec![image, name]);
    assert_eq!(
        two.to_string(),
        r#"Pod "p" is invalid: [spec.containers[0].image: Required value, spec.containers[1].name: Duplicate value: "a"]"#
    );
    assert_eq!(
        serde_json::to_value(two.into_status().details).unwrap(),
        json!({"name": "p", "kind": "Pod", "causes": [
            {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers[0].image"},
            {"reason": "FieldValueDuplicate", "message": "Duplicate value: \"a\"", "field": "spec.containers[1].name"},
        ]})
    );
    assert_eq!(
        ApiError::invalid(&kind, "p", vec![]).to_string(),
        r#"Pod "p" is invalid"#
    );
}

#[test]
fn every_reason_survives_json() {
    let names = [
        "",
        "Unauthorized",
        "Forbidden",
        "NotFound",
        "AlreadyExists",
        "Conflict",
        "Gone",
        "Invalid",
        "ServerTimeout",
        "Timeout",
        "TooManyRequests",
        "BadRequest",
        "MethodNotAllowed",
        "NotAcceptable",
        "RequestEntityTooLarge",
        "UnsupportedMediaType",
        "InternalError",
        "Expired",
        "ServiceUnavailable",
        "InsufficientStorage",
        "MadeUp",
    ];
    for name in names {
        assert_eq!(Reason::from(name).as_str(), name);
    }
    assert_eq!(Reason::from("MadeUp"), Reason::Other("MadeUp".to_owned()));
}

#[test]
fn foreign_statuses_are_read_leniently() {
    let status: Status =
        serde_json::from_value(json!({"status": "Failure", "message": "m", "code": 418})).unwrap();
    assert_eq!((status.kind.as_str(), status.code), ("Status", 418));
    let status: Status =
        serde_json::from_value(json!({"metadata": {}, "reason": "Teapot"})).unwrap();
    assert_eq!(status.reason, Reason::Other("Teapot".to_owned()));
}

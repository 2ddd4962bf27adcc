//! `Status`: what the API server answers when it does not answer with an object.
//!
//! ```text
//!   Reason ──► HTTP code
//!   ApiError::not_found(..) etc. ──► ApiError(Status) ──► body of the response
//! ```
//!
//! [`ApiError`] is the error of everything that serves requests. Its constructors carry the exact
//! wording of kube-apiserver, on which clients match.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::field::{FieldError, aggregate};
use crate::gvk::{GroupKind, GroupResource};
use crate::meta::ListMeta;
use crate::quote::quoted;

/// A `Status` object (`v1`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Always `Status`.
    #[serde(default = "kind")]
    pub kind: String,
    /// Always `v1`.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// List metadata; `continue` is given with an expired continue token.
    #[serde(default)]
    pub metadata: ListMeta,
    /// `Success` or `Failure`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// For machines.
    #[serde(default, skip_serializing_if = "Reason::is_unknown")]
    pub reason: Reason,
    /// About which object, and what in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<StatusDetails>,
    /// The HTTP status code.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u16,
}

/// About which object a [`Status`] speaks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDetails {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The object's group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource (or, for validation, the kind).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One entry for each fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// When to try again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// One fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCause {
    /// For machines: `FieldValueInvalid`, `FieldManagerConflict` ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The path of the field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

fn kind() -> String {
    "Status".to_owned()
}

fn api_version() -> String {
    "v1".to_owned()
}

fn is_zero<N: Default + PartialEq>(n: &N) -> bool {
    *n == N::default()
}

/// Why a request failed, for machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No reason given.
    #[default]
    Unknown,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 409: a name is taken
    AlreadyExists,
    /// 409: the object changed meanwhile
    Conflict,
    /// 410: it was here, and will not come back
    Gone,
    /// 422
    Invalid,
    /// 500: try again
    ServerTimeout,
    /// 504
    Timeout,
    /// 429
    TooManyRequests,
    /// 400
    BadRequest,
    /// 405
    MethodNotAllowed,
    /// 406
    NotAcceptable,
    /// 413
    RequestEntityTooLarge,
    /// 415
    UnsupportedMediaType,
    /// 500
    InternalError,
    /// 410: a resource version or continue token is too old
    Expired,
    /// 503
    ServiceUnavailable,
    /// 507: the store is full
    InsufficientStorage,
    /// A reason that others made up, such as an admission webhook.
    Other(String),
}

impl Reason {
    /// The HTTP status code; 500 where the reason does not tell.
    pub fn code(&self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Gone | Self::Expired => 410,
            Self::Invalid => 422,
            Self::Timeout => 504,
            Self::TooManyRequests => 429,
            Self::BadRequest => 400,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::ServiceUnavailable => 503,
            Self::InsufficientStorage => 507,
            Self::Unknown | Self::ServerTimeout | Self::InternalError | Self::Other(_) => 500,
        }
    }

    /// The reason as it stands in JSON.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unknown => "",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Invalid => "Invalid",
            Self::ServerTimeout => "ServerTimeout",
            Self::Timeout => "Timeout",
            Self::TooManyRequests => "TooManyRequests",
            Self::BadRequest => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::InternalError => "InternalError",
            Self::Expired => "Expired",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::InsufficientStorage => "InsufficientStorage",
            Self::Other(text) => text,
        }
    }

    fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        match text {
            "" => Self::Unknown,
            "Unauthorized" => Self::Unauthorized,
            "Forbidden" => Self::Forbidden,
            "NotFound" => Self::NotFound,
            "AlreadyExists" => Self::AlreadyExists,
            "Conflict" => Self::Conflict,
            "Gone" => Self::Gone,
            "Invalid" => Self::Invalid,
            "ServerTimeout" => Self::ServerTimeout,
            "Timeout" => Self::Timeout,
            "TooManyRequests" => Self::TooManyRequests,
            "BadRequest" => Self::BadRequest,
            "MethodNotAllowed" => Self::MethodNotAllowed,
            "NotAcceptable" => Self::NotAcceptable,
            "RequestEntityTooLarge" => Self::RequestEntityTooLarge,
            "UnsupportedMediaType" => Self::UnsupportedMediaType,
            "InternalError" => Self::InternalError,
            "Expired" => Self::Expired,
            "ServiceUnavailable" => Self::ServiceUnavailable,
            "InsufficientStorage" => Self::InsufficientStorage,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(String::deserialize(deserializer)?.as_str()))
    }
}

impl Status {
    /// The answer to a successful deletion and the like.
    pub fn success(details: Option<StatusDetails>) -> Self {
        Self {
            kind: kind(),
            api_version: api_version(),
            metadata: ListMeta::default(),
            status: "Success".to_owned(),
            message: String::new(),
            reason: Reason::Unknown,
            details,
            code: 0,
        }
    }

    /// A failure; the code is that of the reason.
    pub fn failure(
        reason: Reason,
        message: impl Into<String>,
        details: Option<StatusDetails>,
    ) -> Self {
        Self {
            status: "Failure".to_owned(),
            message: message.into(),
            code: reason.code(),
            reason,
            ..Self::success(details)
        }
    }
}

/// A failed request, as the [`Status`] that its client gets.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError(pub Box<Status>);

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for ApiError {}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

fn of(resource: &GroupResource, name: &str) -> StatusDetails {
    StatusDetails {
        name: name.to_owned(),
        group: resource.group.clone(),
        kind: resource.resource.clone(),
        ..StatusDetails::default()
    }
}

fn retry(seconds: u32) -> StatusDetails {
    StatusDetails {
        retry_after_seconds: seconds,
        ..StatusDetails::default()
    }
}

impl ApiError {
    /// A failure with any reason, message and details.
    pub fn new(reason: Reason, message: impl Into<String>, details: Option<StatusDetails>) -> Self {
        Self(Box::new(Status::failure(reason, message, details)))
    }

    /// The same with another HTTP code.
    #[must_use]
    pub fn with_code(mut self, code: u16) -> Self {
        self.0.code = code;
        self
    }

    /// The same with one more cause.
    #[must_use]
    pub fn with_cause(mut self, cause: StatusCause) -> Self {
        self.0
            .details
            .get_or_insert_with(StatusDetails::default)
            .causes
            .push(cause);
        self
    }

    /// The HTTP code.
    pub fn code(&self) -> u16 {
        self.0.code
    }

    /// The reason.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// The Status to send.
    pub fn into_status(self) -> Status {
        *self.0
    }

    /// True for 404 NotFound.
    pub fn is_not_found(&self) -> bool {
        self.0.reason == Reason::NotFound
    }

    /// True for 409 Conflict.
    pub fn is_conflict(&self) -> bool {
        self.0.reason == Reason::Conflict
    }

    /// True for 409 AlreadyExists.
    pub fn is_already_exists(&self) -> bool {
        self.0.reason == Reason::AlreadyExists
    }

    /// 404: no such object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        let message = format!("{resource} {} not found", quoted(name));
        Self::new(Reason::NotFound, message, Some(of(resource, name)))
    }

    /// 404: no such path or resource.
    pub fn unknown_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(Reason::NotFound, message, Some(StatusDetails::default()))
    }

    /// 409: the name is taken.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        let message = format!("{resource} {} already exists", quoted(name));
        Self::new(Reason::AlreadyExists, message, Some(of(resource, name)))
    }

    /// 409: every generated name was taken.
    pub fn generate_name_conflict(resource: &GroupResource, name: &str, retry_after: u32) -> Self {
        let message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            quoted(name)
        );
        let details = StatusDetails {
            retry_after_seconds: retry_after,
            ..of(resource, name)
        };
        Self::new(Reason::AlreadyExists, message, Some(details))
    }

    /// 409: cannot be done to the object as it is now.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {resource} {}: {why}",
            quoted(name)
        );
        Self::new(Reason::Conflict, message, Some(of(resource, name)))
    }

    /// 409: the object changed since it was read.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409: server-side apply found fields that others own.
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<StatusCause>) -> Self {
        let details = StatusDetails {
            causes,
            ..StatusDetails::default()
        };
        Self::new(Reason::Conflict, message, Some(details))
    }

    /// 422: the object's fields are wrong.
    pub fn invalid(kind: &GroupKind, name: &str, errors: Vec<FieldError>) -> Self {
        let mut message = format!("{kind} {} is invalid", quoted(name));
        if !errors.is_empty() {
            message.push_str(": ");
            message.push_str(&aggregate(&errors));
        }
        let causes = errors
            .into_iter()
            .map(|error| StatusCause {
                reason: error.reason().to_owned(),
                message: error.body(),
                field: error.path.to_string(),
            })
            .collect();
        let details = StatusDetails {
            name: name.to_owned(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes,
            ..StatusDetails::default()
        };
        Self::new(Reason::Invalid, message, Some(details))
    }

    /// 403: the caller may not. Without a resource: a path; without a name: the collection.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = if resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {} is forbidden: {why}", quoted(name))
        };
        Self::new(Reason::Forbidden, message, Some(of(resource, name)))
    }

    /// 401: the caller is not known.
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "Unauthorized", None)
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message, None)
    }

    /// 405: the resource does not have this verb.
    pub fn method_not_supported(resource: &GroupResource, verb: &str) -> Self {
        let message = format!(
            "{verb} is not supported on resources of kind {}",
            quoted(&resource.to_string())
        );
        Self::new(Reason::MethodNotAllowed, message, Some(of(resource, "")))
    }

    /// 405: the path does not have this HTTP method.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(
            Reason::MethodNotAllowed,
            message,
            Some(StatusDetails::default()),
        )
    }

    /// 410: the resource version or continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message, None)
    }

    /// 410: a watch from a resource version older than the history that is kept.
    pub fn too_old_resource_version(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// 504: it took too long.
    pub fn timeout(message: impl fmt::Display, retry_after: u32) -> Self {
        Self::new(
            Reason::Timeout,
            format!("Timeout: {message}"),
            Some(retry(retry_after)),
        )
    }

    /// 500 ServerTimeout: try again.
    pub fn server_timeout(resource: &GroupResource, operation: &str, retry_after: u32) -> Self {
        let message = format!(
            "The {operation} operation against {resource} could not be completed at this time, please try again."
        );
        let details = StatusDetails {
            retry_after_seconds: retry_after,
            ..of(resource, "")
        };
        // Kube names the operation where the object's name would stand.
        let details = StatusDetails {
            name: operation.to_owned(),
            ..details
        };
        Self::new(Reason::ServerTimeout, message, Some(details))
    }

    /// 413: the body is larger than allowed.
    pub fn too_large(message: impl fmt::Display) -> Self {
        Self::new(
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: {message}"),
            None,
        )
    }

    /// 415: the body's media type is not understood.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(Reason::UnsupportedMediaType, message, None)
    }

    /// 406: no media type that the client accepts can be served.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!(
            "only the following media types are accepted: {}",
            accepted.join(", ")
        );
        Self::new(Reason::NotAcceptable, message, None)
    }

    /// 500: our fault.
    pub fn internal(error: impl fmt::Display) -> Self {
        let cause = StatusCause {
            message: error.to_string(),
            ..StatusCause::default()
        };
        let details = StatusDetails {
            causes: vec![cause],
            ..StatusDetails::default()
        };
        Self::new(
            Reason::InternalError,
            format!("Internal error occurred: {error}"),
            Some(details),
        )
    }

    /// 503: not now.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(Reason::ServiceUnavailable, message, None)
    }

    /// 429: too many requests, or a disruption budget refuses.
    pub fn too_many_requests(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(Reason::TooManyRequests, message, Some(retry(retry_after)))
    }

    /// 507: the store is full.
    pub fn insufficient_storage(message: impl Into<String>) -> Self {
        Self::new(Reason::InsufficientStorage, message, None)
    }
}

#[cfg(test)]
mod tests;

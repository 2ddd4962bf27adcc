//! Options of lists and watches: which of them go together.
//!
//! All faults are found before any is reported, in the words and the order of Kubernetes.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::gvk::GroupKind;
use apimachinery::status::ApiError;

use crate::request::Query;

const EXACT: &str = "Exact";
const NOT_OLDER: &str = "NotOlderThan";

/// `sendInitialEvents`, when it is given.
pub(super) fn send_initial_events(query: &Query) -> Option<bool> {
    query
        .get("sendInitialEvents")
        .map(|_| query.flag("sendInitialEvents"))
}

/// Checks the options of a list.
pub(super) fn check_list(query: &Query) -> Result<(), ApiError> {
    let (matching, version, token) = given(query);
    let path = FieldPath::new("resourceVersionMatch");
    let mut errors = Vec::new();
    if !matching.is_empty() {
        if version.is_empty() {
            let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(FieldError::forbidden(&path, detail));
        }
        if token {
            errors.push(FieldError::forbidden(&path, NOT_WITH_TOKEN));
        }
        if ![EXACT, NOT_OLDER].contains(&matching) {
            let supported = [EXACT, NOT_OLDER, ""];
            errors.push(FieldError::not_supported(&path, matching, &supported));
        }
        if matching == EXACT && version == "0" {
            let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden(&path, detail));
        }
    }
    if send_initial_events(query).is_some() {
        let path = FieldPath::new("sendInitialEvents");
        let detail = "sendInitialEvents is forbidden for list";
        errors.push(FieldError::forbidden(&path, detail));
    }
    refuse(errors)
}

/// Checks the options of a watch.
pub(super) fn check_watch(query: &Query) -> Result<(), ApiError> {
    let (matching, _, token) = given(query);
    let path = FieldPath::new("resourceVersionMatch");
    let initial = send_initial_events(query).is_some();
    let mut errors = Vec::new();
    if initial && matching != NOT_OLDER {
        let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(&path, detail));
    }
    if !matching.is_empty() {
        if !initial {
            let detail =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(&path, detail));
        }
        if matching != NOT_OLDER {
            errors.push(FieldError::not_supported(&path, matching, &[NOT_OLDER]));
        }
        if token {
            errors.push(FieldError::forbidden(&path, NOT_WITH_TOKEN));
        }
    }
    refuse(errors)
}

const NOT_WITH_TOKEN: &str = "resourceVersionMatch is forbidden when continue is provided";

/// The match, the version, and whether there is a token.
fn given(query: &Query) -> (&str, &str, bool) {
    (
        query.get("resourceVersionMatch").unwrap_or_default(),
        query.get("resourceVersion").unwrap_or_default(),
        query.get("continue").is_some_and(|token| !token.is_empty()),
    )
}

fn refuse(errors: Vec<FieldError>) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupKind::new("meta.k8s.io", "ListOptions");
    Err(ApiError::invalid(&kind, "", errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The causes of a refusal: whether each is a value that is not supported, or something forbidden.
    fn causes(found: Result<(), ApiError>) -> Vec<String> {
        let details = found.err().and_then(|error| error.0.details);
        let causes = details.map(|details| {
            assert_eq!(details.group, "meta.k8s.io");
            details.causes
        });
        let text = |cause: &apimachinery::status::StatusCause| {
            let reason = cause.reason.trim_start_matches("FieldValue");
            format!("{} {reason}", cause.field)
        };
        causes.iter().flatten().map(text).collect()
    }

    #[test]
    fn lists_match_a_version_that_is_given() {
        let of = |query: &str| causes(check_list(&Query::parse(query)));
        let fine: [&str; 0] = [];
        for query in [
            "",
            "resourceVersion=5",
            "resourceVersion=5&resourceVersionMatch=Exact",
            "resourceVersion=0&resourceVersionMatch=NotOlderThan",
            "continue=x&limit=1",
        ] {
            assert_eq!(of(query), fine, "{query}");
        }
        let forbidden = "resourceVersionMatch Forbidden";
        let unknown = "resourceVersionMatch NotSupported";
        assert_eq!(of("resourceVersionMatch=Exact"), [forbidden]);
        assert_eq!(
            of("resourceVersionMatch=Exact&resourceVersion=0"),
            [forbidden]
        );
        assert_eq!(of("resourceVersionMatch=Some&resourceVersion=1"), [unknown]);
        assert_eq!(
            of("resourceVersionMatch=Some&continue=x&sendInitialEvents=false"),
            [forbidden, forbidden, unknown, "sendInitialEvents Forbidden"]
        );
    }

    #[test]
    fn watches_match_only_with_initial_events() {
        let of = |query: &str| causes(check_watch(&Query::parse(query)));
        let fine: [&str; 0] = [];
        assert_eq!(of("resourceVersion=5"), fine);
        assert_eq!(
            of("sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
            fine
        );
        let forbidden = "resourceVersionMatch Forbidden";
        let unknown = "resourceVersionMatch NotSupported";
        assert_eq!(of("sendInitialEvents=true"), [forbidden]);
        assert_eq!(of("resourceVersionMatch=NotOlderThan"), [forbidden]);
        assert_eq!(of("resourceVersionMatch=Exact"), [forbidden, unknown]);
        assert_eq!(
            of("sendInitialEvents=true&resourceVersionMatch=Exact&continue=x"),
            [forbidden, unknown, forbidden]
        );
    }
}

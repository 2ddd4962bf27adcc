//! Tokens that continue a list at the revision it began with.

use apimachinery::status::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use store::Revision;

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: u64,
    start: String,
}

/// A token that goes on behind `key`, a key below `prefix`.
pub(super) fn encode(revision: Revision, prefix: &str, key: &str) -> String {
    let token = Token {
        v: "meta.k8s.io/v1".to_owned(),
        rv: revision.0,
        start: key.strip_prefix(prefix).unwrap_or(key).to_owned(),
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// The revision and the key to go on behind.
pub(super) fn decode(text: &str, prefix: &str) -> Result<(Revision, String), ApiError> {
    let invalid = |detail: &str| {
        ApiError::bad_request(format!(
            "invalid continue token: continue key is not valid: {detail}"
        ))
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|e| invalid(&e.to_string()))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|e| invalid(&e.to_string()))?;
    if token.v != "meta.k8s.io/v1" || token.start.is_empty() || token.rv == 0 {
        return Err(invalid("it is not one of this server"));
    }
    Ok((Revision(token.rv), format!("{prefix}{}", token.start)))
}

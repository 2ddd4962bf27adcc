//! What virtctl asks before anything else.

use apimachinery::status::ApiError;
use apiserver::{Response, Subresource, SubresourceRequest};
use async_trait::async_trait;
use http::StatusCode;
use serde_json::json;

/// One question.
#[derive(Debug, Clone, Copy)]
pub(super) enum About {
    Version,
    Health,
}

impl About {
    pub(super) const ALL: [Self; 2] = [Self::Version, Self::Health];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Health => "healthz",
        }
    }
}

#[async_trait]
impl Subresource for About {
    async fn call(&self, _request: SubresourceRequest) -> Result<Response, ApiError> {
        let version = concat!("v", env!("CARGO_PKG_VERSION"), "+ferrovirt");
        let answer = match self {
            Self::Version => json!({
                "gitVersion": version,
                "gitCommit": "",
                "gitTreeState": "",
                "buildDate": "",
                "goVersion": "",
                "compiler": "rustc",
                "platform": "linux/amd64",
            }),
            Self::Health => json!({"apiserver": {"connectivity": "ok", "version": version}}),
        };
        Ok(SubresourceRequest::json(StatusCode::OK, &answer))
    }
}

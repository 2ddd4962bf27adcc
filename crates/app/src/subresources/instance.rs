//! What is asked of a running guest: `pause`, `unpause`, `reset`, `softreboot`.

use std::path::PathBuf;

use api::kubevirt::{VirtualMachineInstance as Vmi, is_true};
use apimachinery::status::ApiError;
use apiserver::{Response, Subresource, SubresourceRequest};
use async_trait::async_trait;
use http::StatusCode;
use launcher_api::{Client, ClientError, RefusalReason, Request};

use super::console::launcher_dir;
use super::{conflict, object, typed};

const RESOURCE: &str = "virtualmachineinstances";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Pause,
    Unpause,
    Reset,
}

impl Action {
    pub(super) const ALL: [Self; 3] = [Self::Pause, Self::Unpause, Self::Reset];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Reset => "reset",
        }
    }

    fn request(self) -> Request {
        match self {
            Self::Pause => Request::Pause,
            Self::Unpause => Request::Unpause,
            Self::Reset => Request::Reset,
        }
    }

    /// Why the state of the VMI does not allow it.
    fn refusal(self, vmi: &Vmi) -> Option<&'static str> {
        let conditions = vmi.status.as_ref().map(|s| s.conditions.as_slice());
        let paused = is_true(conditions.unwrap_or_default(), "Paused");
        match (self, paused) {
            (Self::Pause, true) => Some("VMI is already paused"),
            (Self::Unpause, false) => Some("VMI is not paused"),
            _ => None,
        }
    }
}

pub(super) struct Ask {
    pods_dir: PathBuf,
    action: Action,
}

impl Ask {
    pub(super) fn new(pods_dir: PathBuf, action: Action) -> Self {
        Self { pods_dir, action }
    }
}

#[async_trait]
impl Subresource for Ask {
    async fn call(&self, mut request: SubresourceRequest) -> Result<Response, ApiError> {
        let options = request.object().await?.unwrap_or_default();
        let (reader, info) = (request.reader, request.info);
        let name = info.name.clone();
        let vmi: Vmi = typed(object(&reader, &info, "kubevirt.io", RESOURCE).await?)?;
        let dir = launcher_dir(&self.pods_dir, &vmi)?;
        if let Some(why) = self.action.refusal(&vmi) {
            return Err(conflict(RESOURCE, &name, why));
        }
        let done = SubresourceRequest::text(StatusCode::OK, "");
        if is_dry_run(&options) {
            return Ok(done);
        }
        let ask = async {
            let mut launcher = Client::connect(&dir).await?;
            launcher.request(&self.action.request()).await
        };
        match ask.await {
            Ok(_) => Ok(done),
            Err(ClientError::Refused(r)) if r.reason == RefusalReason::NotAllowed => {
                Err(conflict(RESOURCE, &name, &r.message))
            }
            Err(error) => Err(ApiError::service_unavailable(format!(
                "asking the launcher: {error}"
            ))),
        }
    }
}

/// Whether the options ask for nothing to be done.
pub(super) fn is_dry_run(options: &serde_json::Value) -> bool {
    options
        .get("dryRun")
        .and_then(serde_json::Value::as_array)
        .is_some_and(|all| !all.is_empty())
}

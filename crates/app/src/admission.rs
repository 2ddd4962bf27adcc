//! The rules of the platform's kinds, given to the API server as strategies. The rules themselves
//! are in [`api::admission`].

use std::sync::Arc;

use api::admission::{self, Context as Rules, denied};
use api::fields::{Kind, refused};
use apimachinery::field::{FieldError, FieldPath};
use apimachinery::status::ApiError;
use apiserver::{Context, Strategy, StrategyRegistration};
use async_trait::async_trait;
use serde_json::Value;

use crate::preflight_gate;

/// Group of the platform's own components.
const INTERNAL: &str = "system:masters";

struct Platform(Kind);

/// One strategy per kind of the platform.
pub(crate) fn strategies() -> Vec<StrategyRegistration> {
    let register = |kind: &Kind| {
        let (group, resource) = kind.group_resource();
        StrategyRegistration::new(group, resource, Arc::new(Platform(*kind)))
    };
    Kind::ALL.iter().map(register).collect()
}

fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl Platform {
    fn rules(cx: &Context<'_>) -> Rules<'static> {
        Rules {
            now: cx.now,
            new_uuid: &uuid,
            internal: is_internal(cx),
        }
    }
}

/// Whether one of the platform's own components asks.
fn is_internal(cx: &Context<'_>) -> bool {
    cx.user.name == crate::platform::USER && cx.user.groups.iter().any(|g| g == INTERNAL)
}

#[async_trait]
impl Strategy for Platform {
    fn admit_raw(&self, cx: &Context<'_>, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        if !cx.subresource.is_empty() {
            return Vec::new();
        }
        refused(self.0, object)
            .into_iter()
            .map(|cause| FieldError {
                kind: cause.kind,
                path: FieldPath::new(cause.field),
                bad_value: None,
                detail: cause.message,
            })
            .collect()
    }

    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        admission::set_defaults(self.0, None, object, &Self::rules(cx));
        Ok(())
    }

    async fn prepare_update(
        &self,
        cx: &Context<'_>,
        object: &mut Value,
        old: &Value,
    ) -> Result<(), ApiError> {
        if cx.subresource.is_empty() {
            admission::set_defaults(self.0, Some(old), object, &Self::rules(cx));
        }
        Ok(())
    }

    async fn validate(
        &self,
        cx: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        if !cx.subresource.is_empty() {
            return Ok(Vec::new());
        }
        let causes = admission::validate(self.0, old, object, &Self::rules(cx));
        if causes.is_empty() {
            if !is_internal(cx) && preflight_gate::starts(self.0, object, old) {
                let (_, resource) = self.0.group_resource();
                preflight_gate::check(cx.reader, resource, cx.name).await?;
            }
            Ok(Vec::new())
        } else {
            Err(denied(self.0, cx.name, &causes))
        }
    }

    fn warnings(&self, cx: &Context<'_>, object: &Value, _old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_empty() {
            admission::warnings(self.0, object)
        } else {
            Vec::new()
        }
    }
}

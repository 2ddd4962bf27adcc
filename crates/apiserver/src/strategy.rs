//! What is special about a kind enters here.
//!
//! ```text
//! create/update: decode → admit_raw (sees every field the client sent) → prune, default → prepare_* → admission → derive
//!                → schema → validate → commit
//! delete:        validate_delete → finalizers, grace → commit
//! ```
//! Several strategies may be registered for one resource; they run in order of registration, the
//! server's own first.

use std::sync::Arc;

use ::authz::User;
use apimachinery::field::FieldError;
use apimachinery::status::ApiError;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::Kind;
use crate::registry::Reader;

/// What is being done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change, patches and applies included.
    Update,
    /// A deletion.
    Delete,
}

/// The circumstances of a call to a [`Strategy`].
pub struct Context<'a> {
    /// The kind, in the version of the request.
    pub kind: &'a Kind,
    /// What is being done.
    pub operation: Operation,
    /// `status`, `scale`, ..., or empty.
    pub subresource: &'a str,
    /// Namespace of the object; empty for cluster-wide kinds.
    pub namespace: &'a str,
    /// Name of the object; empty while a generated name is not chosen yet.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a User,
    /// Nothing will be stored: have no side effects.
    pub dry_run: bool,
    /// The time of the request.
    pub now: Timestamp,
    /// Reads other objects.
    pub reader: &'a Reader,
}

/// What is special about one resource. Every method has a default that does nothing.
#[async_trait]
pub trait Strategy: Send + Sync + 'static {
    /// Looks at the object as the client sent it (after a patch was applied), before unknown fields
    /// are dropped and defaults are set: the place to refuse fields that are not honoured.
    fn admit_raw(
        &self,
        _cx: &Context<'_>,
        _object: &Value,
        _old: Option<&Value>,
    ) -> Vec<FieldError> {
        Vec::new()
    }

    /// Completes a new object: defaults that depend on other objects, generated values.
    async fn prepare_create(&self, _cx: &Context<'_>, _object: &mut Value) -> Result<(), ApiError> {
        Ok(())
    }

    /// Completes a new object by what follows from the rest of it, once admission has changed it.
    fn derive(&self, _object: &mut Value) {}

    /// Completes a changed object; fields that clients may not change are set back here.
    async fn prepare_update(
        &self,
        _cx: &Context<'_>,
        _object: &mut Value,
        _old: &Value,
    ) -> Result<(), ApiError> {
        Ok(())
    }

    /// Sets the defaults that follow from the object alone. Runs on what admission changed, after
    /// [`Self::prepare_create`] or [`Self::prepare_update`] had set them on what the client sent.
    fn complete(&self, _cx: &Context<'_>, _object: &mut Value) {}

    /// Judges the completed object. Runs after the schema's own validation.
    async fn validate(
        &self,
        _cx: &Context<'_>,
        _object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<FieldError>, ApiError> {
        Ok(Vec::new())
    }

    /// May refuse a deletion.
    async fn validate_delete(&self, _cx: &Context<'_>, _object: &Value) -> Result<(), ApiError> {
        Ok(())
    }

    /// Advice for the client, sent as `Warning` headers.
    fn warnings(&self, _cx: &Context<'_>, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
}

/// A strategy and the resource it is for.
#[derive(Clone)]
pub struct StrategyRegistration {
    /// API group; empty for core.
    pub group: String,
    /// Plural resource name.
    pub resource: String,
    /// The strategy.
    pub strategy: Arc<dyn Strategy>,
}

impl StrategyRegistration {
    /// Registers `strategy` for a resource.
    #[must_use]
    pub fn new(group: &str, resource: &str, strategy: Arc<dyn Strategy>) -> Self {
        StrategyRegistration {
            group: group.to_owned(),
            resource: resource.to_owned(),
            strategy,
        }
    }
}

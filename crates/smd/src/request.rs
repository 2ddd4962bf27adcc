//! What an API server calls: [`apply`] for apply patches, [`update`] for every other write.
//!
//! ```text
//! PATCH apply:  apply ─► defaults ─► admission ─► reset of fields ─► validation ─► store
//! POST, PUT, PATCH:  defaults ─► update ─► admission ─► reset of fields ─► validation ─► store
//! ```
//!
//! Neither changes values on account of `reset`: the caller restores those fields (as `status` outside of its
//! subresource), here they are only kept out of ownership.

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::time::format_time;
use jiff::Timestamp;
use schema::Schema;
use serde_json::{Map, Value};

use crate::conflict::{Conflict, conflict_message};
use crate::last_applied;
use crate::managed::{Manager, Managers, Operation, asks_for_reset, cap, managers_of, put, take};
use crate::path::Path;
use crate::set::FieldSet;
use crate::skeleton::skeleton;
use crate::types::{Type, too_deep};
use crate::updater::{Act, Refused};
use crate::validate;
use crate::versions::Versions;

/// One apply patch.
#[derive(Clone, Copy)]
pub struct ApplyRequest<'a> {
    /// The stored object in the version of the request; `None` when the apply creates it.
    pub live: Option<&'a Value>,
    /// The body.
    pub applied: &'a Value,
    /// The schema of the kind.
    pub schema: &'a Schema,
    /// The field manager.
    pub manager: &'a str,
    /// The version of the request, such as `apps/v1`.
    pub api_version: &'a str,
    /// The subresource that is written, if any.
    pub subresource: Option<&'a str>,
    /// Take over conflicting fields.
    pub force: bool,
    /// The time of the request.
    pub now: Timestamp,
    /// Fields that this request cannot change, as paths of member names.
    pub reset: &'a [&'a [&'a str]],
    /// Other versions of the kind, where they differ in more than their name.
    pub versions: Option<&'a dyn Versions>,
}

/// Why an apply is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApplyError {
    /// Other managers own what it would change (409). Sorted by owner and field.
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// The object does not fit the schema (kube answers 500 here, a client is helped more by 422).
    #[error("failed to create typed patch object: {}", apimachinery::field::aggregate(.0))]
    Invalid(Vec<FieldError>),
}

/// The object after an apply, `metadata.managedFields` included. A no-op returns the live object as it is.
///
/// # Errors
/// Conflicts without `force`, or an object that cannot be applied.
pub fn apply(request: ApplyRequest<'_>) -> Result<Value, ApplyError> {
    let invalid = |message: &str| ApplyError::Invalid(vec![validate::error(&[], message)]);
    let metadata = request.applied.get("metadata");
    if metadata
        .and_then(|metadata| metadata.get("managedFields"))
        .is_some_and(|list| !list.is_null())
    {
        let path = FieldPath::new("metadata").child("managedFields");
        let error = FieldError::forbidden(&path, "must be nil");
        return Err(ApplyError::Invalid(vec![error]));
    }
    if !request.applied.is_object() {
        return Err(invalid("expected map, got something else"));
    }
    if too_deep(request.applied) || request.live.is_some_and(too_deep) {
        return Err(invalid("nested too deep"));
    }
    let ty = Type::Resource(request.schema);
    let errors = validate::validate(ty, request.applied);
    if !errors.is_empty() {
        return Err(ApplyError::Invalid(errors));
    }

    let subresource = request.subresource.unwrap_or_default();
    let act = |name: &str, operation: Operation| Act {
        ty,
        manager: Manager::new(name, operation, request.api_version, subresource),
        api_version: request.api_version,
        time: format_time(request.now),
        ignored: ignored(request.reset),
        versions: request.versions,
    };
    let mut managers = request.live.map(managers_of).unwrap_or_default();
    let mut live = request.live.cloned();
    if let Some(live) = &mut live {
        take(live);
        if managers.is_empty() {
            // Nobody was tracked so far: all there is belongs to one manager, else it would go unnoticed.
            let before = act("before-first-apply", Operation::Update);
            before.update(&skeleton(live, request.schema), live, &mut managers);
        }
    }
    let live = live.unwrap_or_else(|| Value::Object(Map::new()));
    let applier = act(request.manager, Operation::Apply);
    let mut new = match applier.apply(&live, request.applied, &mut managers, request.force) {
        Err(Refused::Conflicts(conflicts)) if request.manager == last_applied::MANAGER => {
            let allowed = last_applied::applied_before(ty, &live, request.api_version);
            let allowed: Vec<String> = allowed.paths().iter().map(Path::to_string).collect();
            let rest: Vec<Conflict> = conflicts
                .into_iter()
                .filter(|conflict| !allowed.contains(&conflict.field))
                .collect();
            if rest.is_empty() {
                applier.apply(&live, request.applied, &mut managers, true)
            } else {
                Err(Refused::Conflicts(rest))
            }
        }
        other => other,
    }
    .map_err(|refused| match refused {
        Refused::Conflicts(conflicts) => ApplyError::Conflicts(conflicts),
        Refused::Merge(error) => {
            ApplyError::Invalid(vec![validate::error(&error.path.0, error.message)])
        }
    })?;
    put(&mut new, &managers);
    if request.manager == last_applied::MANAGER {
        last_applied::refresh(&mut new, request.applied);
    }
    Ok(new)
}

/// One create, update or patch (other than apply).
pub struct UpdateRequest<'a> {
    /// The stored object; `None` for a create.
    pub old: Option<&'a Value>,
    /// What will be stored, defaults included. Its `managedFields` are taken as the client's wish: none means the
    /// stored ones, one empty entry means to forget all.
    pub new: &'a mut Value,
    /// The schema of the kind.
    pub schema: &'a Schema,
    /// The field manager: the parameter, else the first part of the user agent.
    pub manager: &'a str,
    /// The version of the request.
    pub api_version: &'a str,
    /// The subresource that is written, if any.
    pub subresource: Option<&'a str>,
    /// The time of the request.
    pub now: Timestamp,
    /// Fields that this request cannot change, as paths of member names.
    pub reset: &'a [&'a [&'a str]],
    /// Other versions of the kind, where they differ in more than their name.
    pub versions: Option<&'a dyn Versions>,
}

/// Sets `metadata.managedFields` of the new object. Never fails: an object that cannot be tracked keeps its managers.
pub fn update(request: UpdateRequest<'_>) {
    let UpdateRequest { old, new, .. } = request;
    let stored = || old.map(managers_of).unwrap_or_default();
    let mut managers: Managers = if request.subresource.is_some() {
        stored()
    } else if asks_for_reset(new) {
        Managers::new()
    } else {
        let given = managers_of(new);
        if given.is_empty() { stored() } else { given }
    };
    take(new);
    // An object whose managers were never tracked or were forgotten stays so until somebody applies.
    let tracked = old.is_none() || !managers.is_empty();
    if tracked && new.is_object() && !too_deep(new) && !old.is_some_and(too_deep) {
        let act = Act {
            ty: Type::Resource(request.schema),
            manager: Manager::new(
                request.manager,
                Operation::Update,
                request.api_version,
                request.subresource.unwrap_or_default(),
            ),
            api_version: request.api_version,
            time: format_time(request.now),
            ignored: ignored(request.reset),
            // What a new object is compared with is no object, which could be converted.
            versions: request.versions.filter(|_| old.is_some()),
        };
        let mut before = match old {
            Some(old) => old.clone(),
            None => skeleton(new, request.schema),
        };
        take(&mut before);
        act.update(&before, new, &mut managers);
        cap(&mut managers);
    }
    put(new, &managers);
}

fn ignored(reset: &[&[&str]]) -> FieldSet {
    FieldSet::from_paths(reset.iter().map(|path| Path::of_fields(path)))
}

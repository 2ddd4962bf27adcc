//! The steps that every written object goes through, see [`super`].

use apimachinery::field::{FieldError, FieldErrorKind, FieldPath};
use apimachinery::meta;
use apimachinery::status::ApiError;
use serde_json::Value;
use store::{Committed, Op, Precondition, Space, StoreError, Write};

use super::{Call, FieldValidation, checks, codec, store_error, typed, versions};
use crate::conversion::with_versions;
use crate::limits;
use crate::strategy::Operation;

/// Raw admission, pruning, defaults. Gives the errors that remain to be reported with the others.
pub(super) fn conform(
    call: &Call<'_>,
    object: &mut Value,
    old: Option<&Value>,
    duplicates: &[String],
    patched: bool,
) -> Result<Vec<FieldError>, ApiError> {
    let operation = if old.is_some() {
        Operation::Update
    } else {
        Operation::Create
    };
    let name = meta::name(object).unwrap_or_default().to_owned();
    let cx = call.context(operation, &name);
    let strategies = call.registry.strategies(call.kind);
    let refused: Vec<FieldError> = strategies
        .iter()
        .flat_map(|s| s.admit_raw(&cx, object, old))
        .collect();
    if !refused.is_empty() {
        return Err(ApiError::invalid(&call.kind.group_kind(), &name, refused));
    }
    let Some(schema) = call.kind.schema() else {
        return Ok(Vec::new());
    };
    let builtin = !call.kind.is_crd();
    if !builtin && let Some(fault) = schema::malformed_metadata(&schema, object) {
        return Err(undecodable(call, object, &fault, patched));
    }
    if builtin
        && !call
            .kind
            .is("apiextensions.k8s.io", "customresourcedefinitions")
        && !call.kind.is("apps", "controllerrevisions")
    {
        normalize(call, object, patched)?;
    }
    let unknown = schema::prune(&schema, object);
    unknown_fields(call, duplicates, &unknown, patched)?;
    schema::default(&schema, object).map_err(|_| {
        ApiError::bad_request("the defaults of this kind make the object too large")
    })?;
    if !builtin {
        return Ok(Vec::new());
    }
    let errors = schema::validate(&schema, object, old, &FieldPath::root());
    // Where Kubernetes decodes into typed structs, a value of the wrong type is no object of the kind at all.
    if let Some(first) = errors
        .iter()
        .find(|e| e.kind == FieldErrorKind::TypeInvalid)
    {
        return Err(undecodable(call, object, &first.to_string(), patched));
    }
    if has_own_rules(call) {
        return Ok(Vec::new());
    }
    // Where elements of a list must differ, the strategies say so in their own words. What typed structs lack
    // is zero, which only a strategy can call wrong; and the status is not the client's on the main endpoint.
    Ok(errors
        .into_iter()
        .filter(|e| e.kind != FieldErrorKind::Duplicate)
        .filter(|e| e.kind != FieldErrorKind::Required || !may_lack(e.path.as_str()))
        .collect())
}

/// What cannot be decoded is no object of the kind; of a patch, it is the patch that is at fault.
pub(super) fn undecodable(call: &Call<'_>, object: &Value, fault: &str, patched: bool) -> ApiError {
    let kind = &call.kind.kind;
    if patched {
        // Enough of the object to recognise it.
        let shown: String = object.to_string().chars().take(1024).collect();
        let error = FieldError::invalid(&FieldPath::new("patch"), shown, fault);
        // Upstream names no object here.
        let nothing = apimachinery::gvk::GroupKind::new("", "");
        return ApiError::invalid(&nothing, "", vec![error]);
    }
    ApiError::bad_request(format!(
        "{kind} in version {:?} cannot be handled as a {kind}: {fault}",
        call.kind.version
    ))
}

/// Brings a built-in kind into canonical form; what cannot be read is no object of the kind.
fn normalize(call: &Call<'_>, object: &mut Value, patched: bool) -> Result<(), ApiError> {
    let Some(definition) = schema::builtin::definition_of(&call.kind.gvk()) else {
        return Ok(());
    };
    typed::normalize(&definition.reference(), object)
        .map_err(|why| undecodable(call, object, &why, patched))
}

/// Adds the fields that a built-in kind always has, see [`typed`].
pub(super) fn fill(call: &Call<'_>, object: &mut Value) {
    if call.kind.is_crd() {
        return;
    }
    if let Some(definition) = schema::builtin::definition_of(&call.kind.gvk()) {
        typed::complete(&definition.reference(), object);
    }
}

/// Prunes and defaults an object that admission changed. `typed` is the definition of a built-in kind. Gives the
/// fields that were pruned.
pub(crate) fn conform_to(
    schema: &schema::Schema,
    typed: Option<&schema::SchemaRef>,
    object: &mut Value,
) -> Result<Vec<String>, ApiError> {
    if let Some(root) = typed {
        typed::normalize(root, object).map_err(ApiError::bad_request)?;
    }
    let unknown = schema::prune(schema, object);
    schema::default(schema, object).map_err(|_| {
        ApiError::bad_request("the defaults of this kind make the object too large")
    })?;
    if let Some(root) = typed {
        typed::complete(root, object);
    }
    Ok(unknown)
}

fn unknown_fields(
    call: &Call<'_>,
    duplicates: &[String],
    unknown: &[String],
    patched: bool,
) -> Result<(), ApiError> {
    let texts = || {
        let duplicates = duplicates
            .iter()
            .map(|path| format!("duplicate field {path:?}"));
        duplicates.chain(unknown.iter().map(|path| format!("unknown field {path:?}")))
    };
    match call.options.field_validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            texts().for_each(|text| call.warn(text));
            Ok(())
        }
        FieldValidation::Strict => {
            let all: Vec<String> = texts().collect();
            if all.is_empty() {
                return Ok(());
            }
            if patched {
                let error = FieldError::invalid(
                    &FieldPath::new("patch"),
                    all.join(", "),
                    "strict decoding error",
                );
                let nothing = apimachinery::gvk::GroupKind::new("", "");
                return Err(ApiError::invalid(&nothing, "", vec![error]));
            }
            Err(ApiError::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                call.kind.kind,
                call.kind.version,
                call.kind.kind,
                all.join(", ")
            )))
        }
    }
}

/// Kinds whose strategies judge every field, in upstream's words and places: what their schemas call required is often
/// no fault, or one that is told elsewhere.
fn has_own_rules(call: &Call<'_>) -> bool {
    const GROUPS: [&str; 11] = [
        "",
        "apps",
        "batch",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    ];
    GROUPS.contains(&call.kind.group.as_str())
        && !call.kind.behaviour.is_virtual
        && matches!(call.subresource, "" | "status" | "finalize")
        && !call.kind.is("apps", "controllerrevisions")
}

/// Fields that OpenAPI calls required and kube-apiserver does not miss.
fn may_lack(path: &str) -> bool {
    // Of CRDs the strategy says so itself, where upstream's internal form has the field.
    let told = ["status.", "spec.versions[", "spec.conversion."];
    told.iter().any(|start| path.starts_with(start)) || ["status", "spec.drivers"].contains(&path)
}

/// Judges the completed object; `errors` are those found before.
pub(super) async fn judge(
    call: &Call<'_>,
    object: &Value,
    old: Option<&Value>,
    mut errors: Vec<FieldError>,
) -> Result<(), ApiError> {
    let operation = if old.is_some() {
        Operation::Update
    } else {
        Operation::Create
    };
    let name = meta::name(object).unwrap_or_default();
    errors.extend(checks::metadata(call, object, old));
    if call.kind.is_crd()
        && let Some(schema) = call.kind.schema()
    {
        let mut wrong = schema::validate(&schema, object, old, &FieldPath::root());
        let is_misshapen = !wrong.is_empty();
        rules(call, object, old, &mut wrong);
        errors.extend(wrong);
        if is_misshapen {
            // Rules of a kind read an object of its shape; of another one they could not say more.
            return Err(ApiError::invalid(&call.kind.group_kind(), name, errors));
        }
    }
    let cx = call.context(operation, name);
    let mut judged = Vec::new();
    for strategy in call.registry.strategies(call.kind) {
        judged.extend(strategy.validate(&cx, object, old).await?);
    }
    // Of what the schema and a strategy both find, the strategy's words count.
    errors.retain(|e| !judged.iter().any(|j| j.path == e.path));
    errors.extend(judged);
    errors.truncate(limits::MAX_CAUSES);
    if !errors.is_empty() {
        return Err(ApiError::invalid(&call.kind.group_kind(), name, errors));
    }
    for strategy in call.registry.strategies(call.kind) {
        strategy
            .warnings(&cx, object, old)
            .into_iter()
            .for_each(|w| call.warn(w));
    }
    if call.kind.body_of(call.subresource).is_some() {
        // Policies saw the body that was sent, which is no object of the kind.
        return Ok(());
    }
    crate::policies::admit(call, operation, Some(object), old).await
}

/// The rules of a custom resource's schema; they see only objects of the right shape.
fn rules(call: &Call<'_>, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let Some(rules) = call.kind.rules().filter(|rules| !rules.is_empty()) else {
        return;
    };
    let shapeless = |error: &FieldError| {
        matches!(
            error.kind,
            FieldErrorKind::Required
                | FieldErrorKind::TooLong
                | FieldErrorKind::TooMany
                | FieldErrorKind::TypeInvalid
        )
    };
    if errors.iter().any(shapeless) {
        errors.push(FieldError::new(
            FieldErrorKind::Invalid,
            &FieldPath::root(),
            Some(Value::Null),
            "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ));
        return;
    }
    let mut budget = cel::Budget::of_object();
    errors.extend(rules.evaluate(object, old, &FieldPath::root(), &mut budget));
}

/// Records who set which fields.
pub(super) async fn manage(
    call: &Call<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let Some(schema) = call.kind.schema() else {
        return Ok(());
    };
    let api_version = call.kind.api_version();
    let track = |new: &mut Value, versions: Option<&dyn smd::Versions>| {
        smd::update(smd::UpdateRequest {
            old,
            new,
            schema: &schema,
            manager: &call.options.manager,
            api_version: &api_version,
            subresource: Some(call.subresource).filter(|s| !s.is_empty()),
            now: call.now,
            reset: reset_fields(call),
            versions,
        });
    };
    if call
        .kind
        .crd
        .as_ref()
        .is_none_or(|crd| crd.conversion.is_none())
    {
        track(object, None);
        return Ok(());
    }
    let before = &*object;
    let tracked = with_versions(call.registry, call.kind, |versions| {
        let mut new = before.clone();
        track(&mut new, versions);
        new
    });
    let tracked = tracked.await?;
    *object = tracked;
    Ok(())
}

/// Fields that this endpoint resets, so nobody comes to own them through it.
pub(super) fn reset_fields(call: &Call<'_>) -> &'static [&'static [&'static str]] {
    match (call.kind.behaviour.status, call.subresource) {
        (true, "") => &[&["status"]],
        (true, "status") if call.kind.is_crd() => &[
            &["spec"],
            &["metadata", "labels"],
            &["metadata", "annotations"],
        ],
        (true, "status") => &[&["spec"]],
        _ => &[],
    }
}

/// A write that lost against another.
pub(super) enum CommitError {
    /// The entry is not as it was read.
    Lost,
    Failed(ApiError),
}

/// Stores the object (or removes it) if the precondition holds; gives it its new resourceVersion.
pub(super) async fn commit(
    call: &Call<'_>,
    name: &str,
    precondition: Precondition,
    object: Option<&mut Value>,
) -> Result<Committed, CommitError> {
    let key = call.kind.key(call.namespace, name);
    let mut shown = None;
    let op = match &object {
        Some(object) => {
            let sealing = &call.registry.sealing;
            let forms = versions::stored(call, object).await;
            let value = match forms.map_err(CommitError::Failed)? {
                None => codec::encode(sealing, call.kind, &key, object),
                Some(forms) => {
                    shown = Some(forms.shown);
                    codec::encode(sealing, call.kind, &key, &forms.stored)
                }
            };
            let bytes = value.map_err(CommitError::Failed)?;
            if bytes.len() > limits::MAX_OBJECT {
                return Err(CommitError::Failed(ApiError::too_large(format!(
                    "the object takes {} bytes with its managed fields, the limit is {}",
                    bytes.len(),
                    limits::MAX_OBJECT
                ))));
            }
            Op::Put(bytes)
        }
        None => Op::Delete,
    };
    // What is being deleted frees space: it must go on where there is none left.
    let space = match &object {
        Some(object) if !meta::is_deleting(object) => Space::Ordinary,
        _ => Space::Reserve,
    };
    let committed = match call
        .registry
        .store
        .commit(Write {
            key: key.into(),
            precondition,
            op,
            space,
        })
        .await
    {
        Ok(committed) => committed,
        Err(StoreError::Conflict { .. }) => return Err(CommitError::Lost),
        Err(e) => return Err(CommitError::Failed(store_error(e))),
    };
    if let Some(object) = object {
        if let Some(shown) = shown {
            *object = shown;
        }
        meta::set_resource_version(object, Some(&committed.revision.0.to_string()));
    }
    if call.settles {
        call.registry.settle(call.kind, committed.revision).await;
    }
    Ok(committed)
}

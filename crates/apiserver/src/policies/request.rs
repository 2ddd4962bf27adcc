//! What policies of both kinds are told of a request, and the parameters of their bindings.

use apimachinery::gvk::GroupVersion;
use apimachinery::meta;
use apimachinery::selector::LabelSelector;
use apimachinery::status::ApiError;
use cel::policy::matching::Request;
use cel::policy::{Binding, ParamRef};
use serde_json::{Value, json};

use crate::registry::Call;
use crate::strategy::Operation;

/// Whether policies have no say. One could make itself irremovable; what the server does on its own behalf is no
/// request.
pub(super) fn is_exempt(call: &Call<'_>) -> bool {
    !call.settles || call.kind.group() == "admissionregistration.k8s.io"
}

/// The namespace that the object lies in; a namespace itself is its own.
pub(super) async fn namespace(
    call: &Call<'_>,
    shown: Option<&Value>,
) -> Result<Option<Value>, ApiError> {
    if call.kind.is("", "namespaces") {
        return Ok(shown.cloned());
    }
    if !call.kind.is_namespaced() {
        return Ok(None);
    }
    let name = call.namespace;
    call.reader.get("", "namespaces", "", name).await
}

/// What rules and selectors look at.
pub(super) fn request<'a>(
    call: &'a Call<'_>,
    operation: Operation,
    object: Option<&'a Value>,
    old: Option<&'a Value>,
    namespace: Option<&'a Value>,
) -> Request<'a> {
    Request {
        operation: verb(operation),
        group: call.kind.group(),
        version: call.kind.version(),
        resource: call.kind.plural(),
        subresource: call.subresource,
        name: object.or(old).and_then(meta::name).unwrap_or(call.name),
        namespaced: call.kind.is_namespaced() || call.kind.is("", "namespaces"),
        object,
        old_object: old,
        namespace,
    }
}

fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
    }
}

/// The request as expressions see it (`AdmissionRequest`).
pub(super) fn describe(call: &Call<'_>, request: &Request<'_>) -> Value {
    let (group, version, kind) = call.kind.body_of(request.subresource).unwrap_or((
        request.group,
        request.version,
        call.kind.kind(),
    ));
    let kind = json!({"group": group, "version": version, "kind": kind});
    let resource =
        json!({"group": request.group, "version": request.version, "resource": request.resource});
    let user = call.user;
    // The namespace of a namespace is itself.
    let namespace = if call.kind.is("", "namespaces") {
        request.name
    } else {
        call.namespace
    };
    json!({
        "kind": kind, "requestKind": kind,
        "resource": resource, "requestResource": resource,
        "subResource": request.subresource, "requestSubResource": request.subresource,
        "name": request.name, "namespace": namespace,
        "operation": request.operation,
        "userInfo": {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra},
        "dryRun": call.options.dry_run,
        "options": {},
    })
}

/// The sets of parameters that a policy is asked with; one that takes none is asked once. The inner error says why
/// there are none.
pub(super) async fn all_parameters(
    call: &Call<'_>,
    param_kind: Option<&(String, String)>,
    binding: &Binding,
) -> Result<Result<Vec<Option<Value>>, String>, ApiError> {
    match (param_kind, &binding.param_ref) {
        (Some((version, kind)), Some(reference)) => {
            let found = parameters(call, version, kind, reference).await?;
            Ok(found.map(|found| found.into_iter().map(Some).collect()))
        }
        _ => Ok(Ok(vec![None])),
    }
}

/// The parameters that a binding names, or why there are none.
async fn parameters(
    call: &Call<'_>,
    api_version: &str,
    kind: &str,
    reference: &ParamRef,
) -> Result<Result<Vec<Value>, String>, ApiError> {
    let found = api_version.parse::<GroupVersion>().ok().and_then(|gv| {
        let kinds = call.registry.kinds.load();
        let versions = kinds.versions(&gv.group)?;
        let (_, kinds) = versions
            .iter()
            .find(|(version, _)| *version == gv.version)?;
        kinds.iter().find(|one| one.kind() == kind).cloned()
    });
    let Some(found) = found else {
        return Ok(Err(format!(
            "failed to configure policy: failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'"
        )));
    };
    let namespace = match (&reference.namespace, found.is_namespaced()) {
        (Some(namespace), true) => namespace.as_str(),
        (None, true) if !call.namespace.is_empty() => call.namespace,
        (None, true) => {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Ok(Err(format!("failed to configure binding: {why}")));
        }
        (_, false) => "",
    };
    let (group, plural) = (found.group(), found.plural());
    let objects: Vec<Value> = match (&reference.name, &reference.selector) {
        (Some(name), _) => {
            let object = call.reader.get(group, plural, namespace, name).await?;
            object.into_iter().collect()
        }
        (None, Some(selector)) => {
            let selector =
                LabelSelector::from_json(selector).unwrap_or_else(|_| LabelSelector::nothing());
            let mut objects = call.reader.list(group, plural, namespace).await?;
            objects.retain(|object| match meta::labels(object) {
                Some(labels) => selector.matches(labels),
                None => selector.matches(&serde_json::Map::new()),
            });
            objects
        }
        (None, None) => Vec::new(),
    };
    if objects.is_empty() && !reference.allow_not_found {
        return Ok(Err("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction".to_owned()));
    }
    Ok(Ok(objects))
}

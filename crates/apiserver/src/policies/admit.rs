//! One request before the policies.

use apimachinery::gvk::GroupVersion;
use apimachinery::meta;
use apimachinery::selector::LabelSelector;
use apimachinery::status::{ApiError, Reason, StatusCause};
use cel::Budget;
use cel::policy::matching::Request;
use cel::policy::{Action, Binding, FailurePolicy, Inputs, ParamRef, Policy, Refusal};
use serde_json::{Value, json};

use crate::audit;
use crate::registry::Call;
use crate::strategy::Operation;

/// Refuses the request if a policy does; adds the warnings of those that only warn.
pub(crate) async fn admit(
    call: &Call<'_>,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let index = call.registry.policies.index.load_full();
    // A policy could make itself irremovable. What the server does on its own behalf is no request.
    if index.bound.is_empty()
        || !call.settles
        || call.kind.group() == "admissionregistration.k8s.io"
    {
        return Ok(());
    }
    let shown = object.or(old);
    let name = shown.and_then(meta::name).unwrap_or(call.name);
    let is_namespace = call.kind.is("", "namespaces");
    let namespace = if is_namespace {
        shown.cloned()
    } else if call.kind.is_namespaced() {
        call.reader
            .get("", "namespaces", "", call.namespace)
            .await?
    } else {
        None
    };
    let request = Request {
        operation: verb(operation),
        group: call.kind.group(),
        version: call.kind.version(),
        resource: call.kind.plural(),
        subresource: call.subresource,
        name,
        namespaced: call.kind.is_namespaced() || is_namespace,
        object,
        old_object: old,
        namespace: namespace.as_ref(),
    };
    let mut described = None;
    for (policy, bindings) in &index.bound {
        if !policy.constraints.matches(&request) {
            continue;
        }
        for binding in bindings {
            if !binding
                .resources
                .as_ref()
                .is_none_or(|resources| resources.admits(&request))
            {
                continue;
            }
            let inputs = Inputs {
                object,
                old_object: old,
                request: described.get_or_insert_with(|| describe(call, &request)),
                params: None,
                namespace_object: namespace.as_ref().filter(|_| !is_namespace),
            };
            let refusals = ask(call, policy, binding, &inputs).await?;
            enforce(call, policy, binding, name, refusals)?;
        }
    }
    Ok(())
}

fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
    }
}

/// The request as expressions see it (`AdmissionRequest`).
fn describe(call: &Call<'_>, request: &Request<'_>) -> Value {
    let (group, version, kind) = call.kind.body_of(request.subresource).unwrap_or((
        request.group,
        request.version,
        call.kind.kind(),
    ));
    let kind = json!({"group": group, "version": version, "kind": kind});
    let resource =
        json!({"group": request.group, "version": request.version, "resource": request.resource});
    let user = call.user;
    json!({
        "kind": kind, "requestKind": kind,
        "resource": resource, "requestResource": resource,
        "subResource": request.subresource, "requestSubResource": request.subresource,
        "name": request.name, "namespace": call.namespace,
        "operation": request.operation,
        "userInfo": {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra},
        "dryRun": call.options.dry_run,
        "options": {},
    })
}

/// What a policy says, with every set of parameters that the binding names.
async fn ask(
    call: &Call<'_>,
    policy: &Policy,
    binding: &Binding,
    inputs: &Inputs<'_>,
) -> Result<Vec<Refusal>, ApiError> {
    let mut budget = Budget::of_object();
    let mut refusals = Vec::new();
    let parameters = match (&policy.param_kind, &binding.param_ref) {
        (Some((version, kind)), Some(reference)) => {
            match parameters(call, version, kind, reference).await? {
                Ok(found) => found.into_iter().map(Some).collect(),
                Err(why) => {
                    return Ok(match policy.failure_policy {
                        FailurePolicy::Ignore => Vec::new(),
                        FailurePolicy::Fail => vec![Refusal {
                            message: why,
                            reason: "Invalid".to_owned(),
                        }],
                    });
                }
            }
        }
        _ => vec![None],
    };
    for params in &parameters {
        let inputs = Inputs {
            params: params.as_ref(),
            ..*inputs
        };
        let verdict = policy.evaluate(&inputs, &mut budget);
        for (key, value) in &verdict.annotations {
            audit::annotate(format!("{}/{key}", policy.name), value);
        }
        refusals.extend(verdict.refusals);
    }
    Ok(refusals)
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

fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Deny => "Deny",
        Action::Warn => "Warn",
        Action::Audit => "Audit",
    }
}

/// Does with refusals what the binding says.
fn enforce(
    call: &Call<'_>,
    policy: &Policy,
    binding: &Binding,
    name: &str,
    refusals: Vec<Refusal>,
) -> Result<(), ApiError> {
    let (policy, bound) = (&policy.name, &binding.name);
    for refusal in refusals {
        let message = &refusal.message;
        if binding.actions.contains(&Action::Audit) {
            let failure = json!([{
                "message": message, "policy": policy, "binding": bound,
                "validationActions": binding.actions.iter().map(action_name).collect::<Vec<_>>(),
            }]);
            audit::annotate(
                "validation.policy.admission.k8s.io/validation_failure",
                failure.to_string(),
            );
        }
        if binding.actions.contains(&Action::Warn) {
            call.warn(format!(
                "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{bound}': {message}"
            ));
        }
        if binding.actions.contains(&Action::Deny) {
            let why = format!(
                "ValidatingAdmissionPolicy '{policy}' with binding '{bound}' denied request: {message}"
            );
            let mut error = ApiError::forbidden(&call.kind.group_resource(), name, why.clone())
                .with_cause(StatusCause {
                    message: why,
                    ..StatusCause::default()
                });
            error.0.reason = match refusal.reason.as_str() {
                "Forbidden" => Reason::Forbidden,
                "Unauthorized" => Reason::Unauthorized,
                "RequestEntityTooLarge" => Reason::RequestEntityTooLarge,
                _ => Reason::Invalid,
            };
            error.0.code = error.0.reason.code();
            return Err(error);
        }
    }
    Ok(())
}

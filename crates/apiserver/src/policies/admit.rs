//! One request before the validating policies.

use apimachinery::status::{ApiError, Reason, StatusCause};
use cel::Budget;
use cel::policy::{Action, Binding, FailurePolicy, Inputs, Policy, Refusal};
use serde_json::{Value, json};

use super::authorizer::authorizer;
use super::request::{all_parameters, describe, is_exempt, namespace, request};
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
    if index.bound.is_empty() || is_exempt(call) {
        return Ok(());
    }
    let namespace = namespace(call, object.or(old)).await?;
    let request = request(call, operation, object, old, namespace.as_ref());
    let is_namespace = call.kind.is("", "namespaces");
    let authorizer = authorizer(call);
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
                authorizer: &authorizer,
                namespace_object: namespace.as_ref().filter(|_| !is_namespace),
            };
            let refusals = ask(call, policy, binding, &inputs).await?;
            enforce(call, policy, binding, request.name, refusals)?;
        }
    }
    Ok(())
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
    let found = all_parameters(call, policy.param_kind.as_ref(), binding).await?;
    let parameters = match found {
        Ok(parameters) => parameters,
        Err(why) => {
            return Ok(match policy.failure_policy {
                FailurePolicy::Ignore => Vec::new(),
                FailurePolicy::Fail => vec![Refusal {
                    message: why,
                    reason: "Invalid".to_owned(),
                }],
            });
        }
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

//! One request before the mutating policies.
//!
//! ```text
//! policies × bindings × parameters that match ─► each, in order: match conditions ─► mutations, one after another:
//!     expression ─► JSON patch, or apply configuration merged by the schema ─► pruned and defaulted
//! ```
//! A failure leaves the object as it was before that mutation and counts by the policy's `failurePolicy`, after all
//! have run, as in kube-apiserver.

use std::sync::Arc;

use apimachinery::meta;
use apimachinery::patch::{PatchError, json_patch};
use apimachinery::status::{ApiError, Reason, StatusCause};
use cel::policy::{Binding, FailurePolicy, Inputs, MutatingPolicy, Patch};
use cel::{Authorizer, Budget};
use serde_json::Value;

use super::authorizer::authorizer;
use super::request::{all_parameters, describe, is_exempt, namespace, request};
use crate::admission::{Form, Reinvocation};
use crate::registry::Call;
use crate::strategy::Operation;

/// Policy, binding, and namespace and name of the parameters.
pub(crate) type Key = (String, String, Option<(String, String)>);

/// A policy that is asked, with one set of parameters.
struct Invocation {
    policy: Arc<MutatingPolicy>,
    binding: Arc<Binding>,
    params: Option<Value>,
}

impl Invocation {
    fn key(&self) -> Key {
        let text = |params: &Value, pointer: &str| {
            let found = params.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let params = self.params.as_ref().map(|params| {
            let namespace = text(params, "/metadata/namespace");
            (namespace, text(params, "/metadata/name"))
        });
        (self.policy.name.clone(), self.binding.name.clone(), params)
    }
}

/// Failures that count, in their order.
#[derive(Default)]
struct Failures(Vec<(String, Option<Reason>)>);

impl Failures {
    /// `reason` is the status's, when it is another than that it is forbidden.
    fn note(
        &mut self,
        policy: &MutatingPolicy,
        binding: &Binding,
        why: &str,
        reason: Option<Reason>,
    ) {
        let (policy_name, bound) = (&policy.name, &binding.name);
        if policy.failure_policy == FailurePolicy::Ignore {
            tracing::warn!(
                policy = policy_name,
                binding = bound,
                error = why,
                "a mutating policy failed and is ignored, as its failurePolicy says"
            );
            return;
        }
        let message =
            format!("policy '{policy_name}' with binding '{bound}' denied request: {why}");
        self.0.push((message, reason));
    }

    fn answer(self, call: &Call<'_>, name: &str) -> Result<(), ApiError> {
        let mut all = self.0.into_iter();
        let Some((first, reason)) = all.next() else {
            return Ok(());
        };
        let cause = |message: String| StatusCause {
            message,
            ..StatusCause::default()
        };
        let mut error = ApiError::forbidden(&call.kind.group_resource(), name, "")
            .with_cause(cause(first.clone()));
        for (message, _) in all {
            error = error.with_cause(cause(message));
        }
        // The code stays that of what is forbidden.
        error.0.message = first;
        if let Some(reason) = reason {
            error.0.reason = reason;
        }
        Err(error)
    }
}

/// One pass of the mutating policies over the object. True when one changed it.
pub(crate) async fn mutate(
    call: &Call<'_>,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
    state: &mut Reinvocation<Key>,
) -> Result<bool, ApiError> {
    let index = call.registry.policies.index.load_full();
    if index.mutating.is_empty() || is_exempt(call) {
        return Ok(false);
    }
    let namespace = namespace(call, Some(object)).await?;
    let name = meta::name(object).unwrap_or(call.name).to_owned();
    let mut failures = Failures::default();
    let mut invocations = Vec::new();
    {
        let request = request(call, operation, Some(object), old, namespace.as_ref());
        for (policy, bindings) in &index.mutating {
            if !policy.constraints.matches(&request) {
                continue;
            }
            for binding in bindings {
                let resources = binding.resources.as_ref();
                if !resources.is_none_or(|resources| resources.admits(&request)) {
                    continue;
                }
                match all_parameters(call, policy.param_kind.as_ref(), binding).await? {
                    Err(why) => failures.note(policy, binding, &why, None),
                    Ok(found) => invocations.extend(found.into_iter().map(|params| Invocation {
                        policy: Arc::clone(policy),
                        binding: Arc::clone(binding),
                        params,
                    })),
                }
            }
        }
    }
    let authorizer = authorizer(call);
    let form = Form::of(call);
    let mut changed = false;
    for invocation in &invocations {
        let key = invocation.key();
        if !state.runs(&key) {
            continue;
        }
        let pass = Pass {
            call,
            operation,
            old,
            namespace: namespace.as_ref(),
            authorizer: &authorizer,
            form: &form,
        };
        let Some(made) = pass.run(invocation, object, &mut failures)? else {
            continue;
        };
        if made != *object {
            *object = made;
            changed = true;
            state.changed();
        }
        if invocation.policy.reinvoke {
            state.wants_to_know(key);
        }
    }
    failures.answer(call, &name)?;
    Ok(changed)
}

/// What invocations of one pass have in common.
struct Pass<'a> {
    call: &'a Call<'a>,
    operation: Operation,
    old: Option<&'a Value>,
    namespace: Option<&'a Value>,
    authorizer: &'a Arc<dyn Authorizer>,
    form: &'a Form,
}

impl Pass<'_> {
    /// What a policy makes of the object; `None` when its match conditions keep it out.
    fn run(
        &self,
        invocation: &Invocation,
        object: &Value,
        failures: &mut Failures,
    ) -> Result<Option<Value>, ApiError> {
        let Invocation {
            policy,
            binding,
            params,
        } = invocation;
        let is_namespace = self.call.kind.is("", "namespaces");
        let mut made = object.clone();
        // The object is another one for each mutation, the rest stays.
        let described = {
            let of = request(
                self.call,
                self.operation,
                Some(object),
                self.old,
                self.namespace,
            );
            describe(self.call, &of)
        };
        let base = Inputs {
            object: None,
            old_object: self.old,
            request: &described,
            params: params.as_ref(),
            namespace_object: self.namespace.filter(|_| !is_namespace),
            authorizer: self.authorizer,
        };
        let mut fail = |why: &str| failures.note(policy, binding, why, Some(Reason::Invalid));
        let first = Inputs {
            object: Some(object),
            ..base
        };
        match policy.matches(&first, &mut Budget::of_object()) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(why) => {
                fail(&why);
                return Ok(None);
            }
        }
        for index in 0..policy.mutations() {
            let inputs = Inputs {
                object: Some(&made),
                ..base
            };
            let patch = policy.patch(index, &inputs, &mut Budget::of_object());
            match patch.map(|patch| self.apply(&made, patch)) {
                Ok(Ok(next)) => made = next,
                Ok(Err(Refused::Status(error))) => return Err(error),
                Ok(Err(Refused::Failed(why))) | Err(why) => fail(&why),
            }
        }
        Ok(Some(made))
    }

    fn apply(&self, object: &Value, patch: Patch) -> Result<Value, Refused> {
        let changed = match patch {
            Patch::Json(patch) => {
                let mut changed = object.clone();
                match json_patch(&mut changed, &patch) {
                    Ok(()) => changed,
                    // A test that fails leaves all as it is.
                    Err(PatchError::TestFailed(_)) => return Ok(object.clone()),
                    Err(e) => return Err(Refused::Failed(format!("JSONPath: {e}"))),
                }
            }
            Patch::Configuration(mut configuration) => {
                let Some(schema) = &self.form.schema else {
                    let kind = &self.call.kind.kind;
                    return Err(Refused::Status(ApiError::service_unavailable(format!(
                        "Resource kind {kind} not found. There can be a delay between when CustomResourceDefinitions are created and when they are available."
                    ))));
                };
                self.form.name(&mut configuration);
                smd::overlay(schema, object, &configuration)
                    .map_err(|e| Refused::Failed(format!("error applying patch: {e}")))?
            }
        };
        let settled = self.form.settle(self.call, self.operation, object, changed);
        let (settled, unknown) = settled.map_err(|e| Refused::Status(ApiError::internal(e)))?;
        match unknown.first() {
            // As upstream decodes strictly what a policy made of a built-in kind.
            Some(field) if !self.call.kind.is_crd() => Err(Refused::Status(ApiError::internal(
                format!("strict decoding error: unknown field {field:?}"),
            ))),
            _ => Ok(settled),
        }
    }
}

/// Why a patch was not applied.
enum Refused {
    /// It counts by the failure policy.
    Failed(String),
    /// The request fails.
    Status(ApiError),
}

//! The variable `authorizer` of policies and match conditions: RBAC as it is now, for the caller of a request.

use std::sync::Arc;

use ::authz::{Attributes, Decision, RbacIndex, User};
use cel::{Authorizer, Question, Target};

use crate::registry::Call;

struct Rbac {
    index: Arc<RbacIndex>,
    caller: User,
}

/// Answers for the caller of `call`.
pub(crate) fn authorizer(call: &Call<'_>) -> Arc<dyn Authorizer> {
    Arc::new(Rbac {
        index: call.registry.authorizer.index(),
        caller: call.user.clone(),
    })
}

impl Authorizer for Rbac {
    fn decide(&self, question: &Question<'_>) -> cel::Decision {
        let account = question.service_account.map(|(namespace, name)| {
            // Not `system:authenticated`: nobody has logged in.
            let group = format!("system:serviceaccounts:{namespace}");
            let groups = ["system:serviceaccounts", &group];
            User::new(format!("system:serviceaccount:{namespace}:{name}"), &groups)
        });
        let user = account.as_ref().unwrap_or(&self.caller);
        let attributes = match question.on {
            Target::Path(path) => Attributes::path(user, question.verb, path),
            Target::Resource {
                group,
                resource,
                subresource,
                namespace,
                name,
            } => Attributes {
                subresource,
                namespace,
                name,
                ..Attributes::resource(user, question.verb, group, resource)
            },
        };
        match self.index.authorize(&attributes) {
            Decision::Allow { reason } => cel::Decision {
                allowed: true,
                reason,
                error: None,
            },
            Decision::NoOpinion { reason } => cel::Decision {
                reason,
                ..cel::Decision::default()
            },
            Decision::Deny => cel::Decision::default(),
        }
    }
}

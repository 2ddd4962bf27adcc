//! The variable `authorizer` (Kubernetes' `authz` library): checks that an expression builds and asks.
//!
//! ```text
//! authorizer ─┬─ serviceAccount(ns, name) ─► authorizer of that account
//!             ├─ path(p) ───────────────────────────────────────────────────────────┐
//!             ├─ group(g).resource(r)[.subresource|.namespace|.name ..] ─ check(verb) ┴─► allowed(), reason(), ..
//!             └─ requestResource: what the request itself is about ─┘
//! ```
//! What the server knows of permissions is behind [`Authorizer`]; a question costs [`limits::CHECK_COST`].

use std::fmt;
use std::sync::Arc;

use apimachinery::name;
use kube_cel::cel::Value;
use kube_cel::cel::objects::Opaque;
use serde_json::Value as Json;

use crate::budget::{Budget, Fault};
use crate::limits;
use crate::text::string;
use crate::types::Type;

pub(crate) const AUTHORIZER: Type = Type::Opaque("kubernetes.authorization.Authorizer");
const PATH: Type = Type::Opaque("kubernetes.authorization.PathCheck");
const GROUP: Type = Type::Opaque("kubernetes.authorization.GroupCheck");
pub(crate) const RESOURCE: Type = Type::Opaque("kubernetes.authorization.ResourceCheck");
const DECISION: Type = Type::Opaque("kubernetes.authorization.Decision");

/// Who is allowed what.
pub trait Authorizer: Send + Sync {
    /// Decides one question.
    fn decide(&self, question: &Question<'_>) -> Decision;
}

/// One question of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// Namespace and name of a service account; the caller of the request when `None`.
    pub service_account: Option<(&'a str, &'a str)>,
    /// The verb: of the API, or of HTTP in lower case.
    pub verb: &'a str,
    /// What is to be done to what.
    pub on: Target<'a>,
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A path such as `/healthz`.
    Path(&'a str),
    /// A resource; empty texts stand for "none".
    Resource {
        /// API group.
        group: &'a str,
        /// Plural name.
        resource: &'a str,
        /// Subresource.
        subresource: &'a str,
        /// Namespace.
        namespace: &'a str,
        /// Name of the object.
        name: &'a str,
    },
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why; may be empty.
    pub reason: String,
    /// Why nothing could be said.
    pub error: Option<String>,
}

/// Who asks whom.
#[derive(Clone)]
struct Asker {
    authorizer: Arc<dyn Authorizer>,
    service_account: Option<(String, String)>,
}

impl PartialEq for Asker {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.authorizer, &other.authorizer)
            && self.service_account == other.service_account
    }
}

#[derive(Clone, Default, PartialEq)]
struct Resource {
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

/// The values of the library.
#[derive(Clone, PartialEq)]
enum Check {
    /// With what the request is about, at the root.
    Authorizer(Asker, Option<Resource>),
    Path(Asker, String),
    Group(Asker, String),
    Resource(Asker, Resource),
    Decision(Decision),
}

impl Eq for Check {}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.runtime_type_name())
    }
}

impl Opaque for Check {
    fn runtime_type_name(&self) -> &str {
        let ty = match self {
            Check::Authorizer(..) => AUTHORIZER,
            Check::Path(..) => PATH,
            Check::Group(..) => GROUP,
            Check::Resource(..) => RESOURCE,
            Check::Decision(_) => DECISION,
        };
        match ty {
            Type::Opaque(name) => name,
            _ => "",
        }
    }
}

fn wrap(check: Check) -> Value {
    Value::Opaque(Arc::new(check))
}

/// The value of `authorizer`; the request is an `AdmissionRequest`.
pub(crate) fn value(authorizer: &Arc<dyn Authorizer>, request: &Json) -> Value {
    let text = |pointer: &str| {
        let found = request.pointer(pointer).and_then(Json::as_str);
        found.unwrap_or_default().to_owned()
    };
    let asker = Asker {
        authorizer: Arc::clone(authorizer),
        service_account: None,
    };
    let resource = Resource {
        group: text("/requestResource/group"),
        resource: text("/requestResource/resource"),
        subresource: text("/requestSubResource"),
        namespace: text("/namespace"),
        name: text("/name"),
    };
    wrap(Check::Authorizer(asker, Some(resource)))
}

fn of(value: &Value) -> Option<&Check> {
    match value {
        Value::Opaque(opaque) => opaque.downcast_ref::<Check>(),
        _ => None,
    }
}

/// `authorizer.requestResource`; `None` when it is something else.
pub(crate) fn field(of_value: &Value, field: &str) -> Option<Value> {
    match of(of_value)? {
        Check::Authorizer(asker, Some(resource)) if field == "requestResource" => {
            Some(wrap(Check::Resource(asker.clone(), resource.clone())))
        }
        _ => None,
    }
}

/// What a method gives; `None` when it is none of the library, or does not take these arguments.
pub(crate) fn result(name: &str, target: &Type, args: &[Type]) -> Option<Type> {
    let on = |want: &Type| target.fits(want);
    if !args
        .iter()
        .all(|arg| matches!(arg, Type::String(_) | Type::Dyn))
    {
        return None;
    }
    Some(match (name, args.len()) {
        ("path", 1) if on(&AUTHORIZER) => PATH,
        ("group", 1) if on(&AUTHORIZER) => GROUP,
        ("serviceAccount", 2) if on(&AUTHORIZER) => AUTHORIZER,
        ("resource", 1) if on(&GROUP) => RESOURCE,
        ("subresource" | "namespace" | "name" | "fieldSelector" | "labelSelector", 1)
            if on(&RESOURCE) =>
        {
            RESOURCE
        }
        ("check", 1) if on(&PATH) || on(&RESOURCE) => DECISION,
        ("allowed" | "errored", 0) if on(&DECISION) => Type::Bool,
        ("reason" | "error", 0) if on(&DECISION) => Type::String(1024),
        _ => return None,
    })
}

/// Calls a method of the library; `None` when the target is none of its values.
pub(crate) fn call(
    target: &Value,
    name: &str,
    args: &[Value],
    budget: &mut Budget,
) -> Option<Result<Value, Fault>> {
    Some(method(of(target)?, name, args, budget))
}

fn fault(message: &str) -> Fault {
    Fault::Function(message.to_owned())
}

fn method(check: &Check, name: &str, args: &[Value], budget: &mut Budget) -> Result<Value, Fault> {
    let mut texts = Vec::with_capacity(args.len());
    for arg in args {
        let Value::String(text) = arg else {
            return Err(Fault::Overload);
        };
        texts.push(text.as_str());
    }
    budget.charge(if name == "check" {
        limits::CHECK_COST
    } else {
        1
    })?;
    Ok(match (check, name, texts.as_slice()) {
        (Check::Authorizer(asker, _), "path", [path]) => {
            if path.trim().is_empty() {
                return Err(fault("path must not be empty"));
            }
            wrap(Check::Path(asker.clone(), (*path).to_owned()))
        }
        (Check::Authorizer(asker, _), "group", [group]) => {
            wrap(Check::Group(asker.clone(), (*group).to_owned()))
        }
        (Check::Authorizer(asker, _), "serviceAccount", [namespace, account]) => {
            if !name::dns1123_subdomain(account).is_empty() {
                return Err(fault("Invalid service account name"));
            }
            if !name::dns1123_label(namespace).is_empty() {
                return Err(fault("Invalid service account namespace"));
            }
            let asker = Asker {
                service_account: Some(((*namespace).to_owned(), (*account).to_owned())),
                ..asker.clone()
            };
            wrap(Check::Authorizer(asker, None))
        }
        (Check::Group(asker, group), "resource", [resource]) => {
            if resource.trim().is_empty() {
                return Err(fault("resource must not be empty"));
            }
            let resource = Resource {
                group: group.clone(),
                resource: (*resource).to_owned(),
                ..Resource::default()
            };
            wrap(Check::Resource(asker.clone(), resource))
        }
        // RBAC, the one authorizer, takes no notice of selectors: a rule allows with and without.
        (Check::Resource(..), "fieldSelector" | "labelSelector", [_]) => wrap(check.clone()),
        (Check::Resource(asker, resource), "subresource" | "namespace" | "name", [given]) => {
            let mut resource = resource.clone();
            let place = match name {
                "subresource" => &mut resource.subresource,
                "namespace" => &mut resource.namespace,
                _ => &mut resource.name,
            };
            (*given).clone_into(place);
            wrap(Check::Resource(asker.clone(), resource))
        }
        (Check::Path(asker, path), "check", [verb]) => ask(asker, verb, Target::Path(path)),
        (Check::Resource(asker, resource), "check", [verb]) => {
            let Resource {
                group,
                resource,
                subresource,
                namespace,
                name,
            } = resource;
            let target = Target::Resource {
                group,
                resource,
                subresource,
                namespace,
                name,
            };
            ask(asker, verb, target)
        }
        (Check::Decision(decision), "allowed", []) => Value::Bool(decision.allowed),
        (Check::Decision(decision), "errored", []) => Value::Bool(decision.error.is_some()),
        (Check::Decision(decision), "reason", []) => string(&decision.reason),
        (Check::Decision(decision), "error", []) => {
            string(decision.error.as_deref().unwrap_or_default())
        }
        _ => return Err(Fault::Overload),
    })
}

fn ask(asker: &Asker, verb: &str, on: Target<'_>) -> Value {
    let account = asker.service_account.as_ref();
    let question = Question {
        service_account: account.map(|(namespace, name)| (namespace.as_str(), name.as_str())),
        verb,
        on,
    };
    wrap(Check::Decision(asker.authorizer.decide(&question)))
}

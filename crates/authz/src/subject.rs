//! Subjects of bindings: users, groups and service accounts.

use apimachinery::quote::quoted;
use serde_json::Value;

use crate::attributes::User;

/// Whom a binding names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user by name.
    User(String),
    /// Everybody in a group.
    Group(String),
    /// A service account.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Subject {
    /// Reads one entry of `subjects`; `None` when it can name nobody. A service account without a namespace is
    /// looked for in the namespace of the binding.
    pub fn from_value(value: &Value, binding_namespace: &str) -> Option<Subject> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let name = text("name").filter(|n| !n.is_empty())?.to_owned();
        match text("kind")? {
            "User" => Some(Subject::User(name)),
            "Group" => Some(Subject::Group(name)),
            "ServiceAccount" => {
                let namespace = text("namespace")
                    .filter(|n| !n.is_empty())
                    .unwrap_or(binding_namespace)
                    .to_owned();
                (!namespace.is_empty()).then_some(Subject::ServiceAccount { namespace, name })
            }
            _ => None,
        }
    }

    /// Whether the subject names `user`.
    pub fn matches(&self, user: &User) -> bool {
        match self {
            Subject::User(name) => *name == user.name,
            Subject::Group(name) => user.in_group(name),
            Subject::ServiceAccount { .. } => self.user_name() == user.name,
        }
    }

    /// The user name that the subject stands for; for groups the group.
    pub(crate) fn user_name(&self) -> String {
        match self {
            Subject::User(name) | Subject::Group(name) => name.clone(),
            Subject::ServiceAccount { namespace, name } => {
                format!("system:serviceaccount:{namespace}:{name}")
            }
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::User(name) => write!(f, "User {}", quoted(name)),
            Subject::Group(name) => write!(f, "Group {}", quoted(name)),
            Subject::ServiceAccount { namespace, name } => {
                write!(
                    f,
                    "ServiceAccount {}",
                    quoted(&format!("{name}/{namespace}"))
                )
            }
        }
    }
}

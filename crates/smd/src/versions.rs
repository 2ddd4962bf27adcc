//! An object in the other versions of its kind, in which managers recorded what they own.

use std::sync::Arc;

use schema::Schema;
use serde_json::Value;

use crate::types::Type;

/// Shows objects in other versions. Without it, versions of a kind differ in nothing but their name.
pub trait Versions {
    /// The object as it is in `api_version`, with the schema of that version; `None` when there is no such version
    /// (any more), so nobody owns anything in it.
    fn in_version(&self, object: &Value, api_version: &str) -> Option<Versioned>;
}

/// An object in a version.
#[derive(Clone, Debug)]
pub struct Versioned {
    /// The object.
    pub object: Arc<Value>,
    /// The schema of the version.
    pub schema: Arc<Schema>,
}

/// An object in some version, with its type.
pub(crate) enum View<'a> {
    Own(&'a Value, Type<'a>),
    Other(Versioned),
}

impl View<'_> {
    pub(crate) fn object(&self) -> &Value {
        match self {
            View::Own(object, _) => object,
            View::Other(versioned) => &versioned.object,
        }
    }

    pub(crate) fn ty(&self) -> Type<'_> {
        match self {
            View::Own(_, ty) => *ty,
            View::Other(versioned) => Type::Resource(&versioned.schema),
        }
    }
}

//! One call of an operation: the kind, the object's place, the caller, and what was said on the way.

use std::sync::{Arc, Mutex, PoisonError};

use ::authz::User;
use jiff::Timestamp;

use super::{Reader, Registry, WriteOptions};
use crate::kinds::Kind;
use crate::strategy::{Context, Operation};

/// See the module.
pub(crate) struct Call<'a> {
    pub registry: &'a Arc<Registry>,
    pub reader: Reader,
    pub kind: &'a Kind,
    pub namespace: &'a str,
    /// Name from the path; empty when creating.
    pub name: &'a str,
    pub subresource: &'a str,
    pub user: &'a User,
    pub options: WriteOptions,
    pub now: Timestamp,
    /// Whether the answer waits until this server took up what was written; background tasks must not
    /// wait for themselves.
    pub settles: bool,
    warnings: Mutex<Vec<String>>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        registry: &'a Arc<Registry>,
        kind: &'a Kind,
        (namespace, name): (&'a str, &'a str),
        subresource: &'a str,
        user: &'a User,
        options: WriteOptions,
    ) -> Self {
        Call {
            registry,
            reader: Reader::of_a_request(Arc::clone(registry)),
            kind,
            // A namespace lies in itself for authorization, but its key does not.
            namespace: if kind.namespaced { namespace } else { "" },
            name,
            subresource,
            user,
            options,
            now: Timestamp::now(),
            settles: true,
            warnings: Mutex::new(Vec::new()),
        }
    }

    /// The call of a background task.
    pub(crate) fn in_background(mut self) -> Self {
        self.settles = false;
        self
    }

    /// The same call for another object of the kind.
    pub(crate) fn at<'b>(&'b self, namespace: &'b str, name: &'b str) -> Call<'b> {
        Call {
            registry: self.registry,
            reader: self.reader.clone(),
            kind: self.kind,
            namespace,
            name,
            subresource: self.subresource,
            user: self.user,
            options: self.options.clone(),
            now: self.now,
            settles: self.settles,
            warnings: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn context<'b>(&'b self, operation: Operation, name: &'b str) -> Context<'b> {
        Context {
            kind: self.kind,
            operation,
            subresource: self.subresource,
            namespace: self.namespace,
            name,
            user: self.user,
            dry_run: self.options.dry_run,
            now: self.now,
            reader: &self.reader,
        }
    }

    /// Adds a `Warning` header; the same text once.
    pub(crate) fn warn(&self, text: String) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    pub(crate) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

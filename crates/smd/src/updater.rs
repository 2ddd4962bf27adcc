//! The algorithm of structured-merge-diff over objects and managers.
//!
//! Both ways change the managers in place and know nothing of JSON's `managedFields`.

use serde_json::Value;

use crate::collect::{fields_of, with_atomics_whole, with_named_fields};
use crate::compare::{Comparison, compare};
use crate::conflict::Conflict;
use crate::managed::{Manager, Managers, NEVER_OWNED, Owned};
use crate::merge::{MergeError, merge};
use crate::path::Literal;
use crate::remove::remove;
use crate::set::FieldSet;
use crate::types::Type;

/// Why an apply is refused.
#[derive(Debug)]
pub(crate) enum Refused {
    Conflicts(Vec<Conflict>),
    Merge(MergeError),
}

/// Who acts, when, and on which fields it has no say.
pub(crate) struct Act<'a> {
    pub(crate) ty: Type<'a>,
    pub(crate) manager: Manager,
    pub(crate) api_version: &'a str,
    /// RFC 3339.
    pub(crate) time: String,
    /// Fields that the request cannot change, such as `status` outside of its subresource.
    pub(crate) ignored: FieldSet,
}

impl Act<'_> {
    /// Gives what changed from `old` to `new` to the acting manager and takes it from all others.
    pub(crate) fn update(&self, old: &Value, new: &Value, managers: &mut Managers) {
        self.adapt(old, managers);
        let changes = compare(self.ty, old, new).without(&self.ignored);
        take_from_all(managers, &changes);
        let own = changes.written().difference(&NEVER_OWNED);
        if own.is_empty() {
            return;
        }
        let fields = match managers.get(&self.manager) {
            Some(previous) => previous.fields.union(&own),
            None => own,
        };
        managers.insert(self.manager.clone(), self.owned(fields));
    }

    /// The object after an apply, and its managers.
    pub(crate) fn apply(
        &self,
        live: &Value,
        applied: &Value,
        managers: &mut Managers,
        force: bool,
    ) -> Result<Value, Refused> {
        let mut after = managers.clone();
        self.adapt(live, &mut after);
        let merged = merge(self.ty, live, applied).map_err(Refused::Merge)?;
        let last = after.remove(&self.manager);
        let claimed = fields_of(self.ty, applied).recursive_difference(&self.ignored);

        let mut owned = claimed.clone();
        for other in after.values() {
            owned = owned.union(&other.fields);
        }
        let new = match &last {
            Some(last) if !last.fields.is_empty() => self.prune(merged, &last.fields, &owned),
            _ => merged,
        };

        let changes = compare(self.ty, live, &new).without(&self.ignored);
        let written = changes.written();
        let mut conflicts = Vec::new();
        for (manager, other) in &after {
            let both = other.fields.intersection(&written);
            conflicts.extend(Conflict::of(manager, other, &both));
        }
        if !force && !conflicts.is_empty() {
            return Err(Refused::Conflicts(conflicts));
        }
        take_from_all(&mut after, &changes);

        let fields = claimed.difference(&NEVER_OWNED);
        if !fields.is_empty() {
            let mut own = self.owned(fields);
            if let Some(last) = last
                && last.fields == own.fields
                && last.api_version == own.api_version
                && Literal::same(live, &new)
            {
                own.time = last.time;
            }
            after.insert(self.manager.clone(), own);
        }
        *managers = after;
        Ok(new)
    }

    /// Removes from the merged object what the manager applied last and neither it nor anybody else owns now.
    fn prune(&self, merged: Value, last: &FieldSet, owned: &FieldSet) -> Value {
        let named = |set: &FieldSet| with_named_fields(self.ty, set);
        let present = |object: &Value| named(&fields_of(self.ty, object));
        let last = named(last);
        let all = present(&merged);
        let without_last = remove(self.ty, &merged, &last);
        // Back comes what has an owner ...
        let kept = present(&without_last).union(&named(owned));
        let with_owned = remove(self.ty, &merged, &all.difference(&kept));
        // ... and what went along although the manager never applied it.
        let gone = all.difference(&present(&with_owned)).intersection(&last);
        if gone.is_empty() {
            return merged;
        }
        remove(self.ty, &merged, &gone)
    }

    fn owned(&self, fields: FieldSet) -> Owned {
        Owned {
            api_version: self.api_version.to_owned(),
            time: Some(self.time.clone()),
            fields,
        }
    }

    /// Brings the sets in line with a schema that has changed since they were written.
    fn adapt(&self, object: &Value, managers: &mut Managers) {
        for owned in managers.values_mut() {
            owned.fields = with_atomics_whole(self.ty, &owned.fields, object);
        }
    }
}

fn take_from_all(managers: &mut Managers, changes: &Comparison) {
    let taken = changes.written().union(&changes.removed);
    if taken.is_empty() {
        return;
    }
    managers.retain(|_, owned| {
        owned.fields = owned.fields.difference(&taken);
        !owned.fields.is_empty()
    });
}

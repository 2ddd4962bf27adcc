//! The algorithm of structured-merge-diff over objects and managers.
//!
//! Both ways change the managers in place and know nothing of JSON's `managedFields`.

use std::collections::BTreeMap;

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
use crate::versions::{Versions, View};

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
    /// Other versions, where they differ in more than their name.
    pub(crate) versions: Option<&'a dyn Versions>,
}

impl Act<'_> {
    /// Gives what changed from `old` to `new` to the acting manager and takes it from all others.
    pub(crate) fn update(&self, old: &Value, new: &Value, managers: &mut Managers) {
        self.adapt(old, managers);
        let changes = compare(self.ty, old, new).without(&self.ignored);
        let changes = Changes::new(self, &changes, old, new);
        let own = changes.own.written.difference(&NEVER_OWNED);
        changes.take_from_all(managers);
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

        let new = match &last {
            Some(last) if !last.fields.is_empty() => self.prune(merged, last, &claimed, &after),
            _ => merged,
        };

        let changes = compare(self.ty, live, &new).without(&self.ignored);
        let mut changes = Changes::new(self, &changes, live, &new);
        let mut conflicts = Vec::new();
        for (manager, other) in &after {
            let Some(changes) = changes.in_version(&other.api_version) else {
                continue;
            };
            let both = other.fields.intersection(&changes.written);
            conflicts.extend(Conflict::of(manager, other, &both));
        }
        if !force && !conflicts.is_empty() {
            return Err(Refused::Conflicts(conflicts));
        }
        changes.take_from_all(&mut after);

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

    /// The object in a version; `None` when there is no such version any more.
    fn view<'v>(&'v self, object: &'v Value, api_version: &str) -> Option<View<'v>> {
        let is_own = |version: &str| version == self.api_version;
        let given = object.get("apiVersion").and_then(Value::as_str);
        match self.versions {
            Some(versions) if !is_own(api_version) || !given.is_none_or(is_own) => {
                versions.in_version(object, api_version).map(View::Other)
            }
            _ => Some(View::Own(object, self.ty)),
        }
    }

    /// Removes from the merged object what the manager applied last and neither it nor anybody else owns now.
    fn prune(&self, merged: Value, last: &Owned, claimed: &FieldSet, others: &Managers) -> Value {
        self.pruned(&merged, last, claimed, others)
            .unwrap_or(merged)
    }

    /// `None` when nothing is removed, or nothing can be said as there is no such version any more.
    fn pruned(
        &self,
        merged: &Value,
        last: &Owned,
        claimed: &FieldSet,
        others: &Managers,
    ) -> Option<Value> {
        let all_in_one = self.versions.is_none();
        let of = |version: &'_ str| if all_in_one { "" } else { version }.to_owned();
        let mut owned = BTreeMap::from([(of(self.api_version), claimed.clone())]);
        for other in others.values() {
            let set = owned.entry(of(&other.api_version)).or_default();
            *set = set.union(&other.fields);
        }

        let home = self.view(merged, &last.api_version)?;
        let gone_last = with_named_fields(home.ty(), &last.fields);
        let mut kept = remove(home.ty(), home.object(), &gone_last);
        // Back comes what has an owner, in the version of the last apply first: another may not be able to say
        // anything without it.
        let first = owned.remove_entry(&of(&last.api_version));
        for (version, set) in first.into_iter().chain(owned) {
            let version = if all_in_one {
                self.api_version
            } else {
                &version
            };
            let Some(all) = self.view(merged, version) else {
                continue;
            };
            let now = self.view(&kept, version)?;
            let ty = all.ty();
            let named = |set: &FieldSet| with_named_fields(ty, set);
            let present = |object: &Value| named(&fields_of(ty, object));
            let stays = present(now.object()).union(&named(&set));
            let gone = present(all.object()).difference(&stays);
            kept = remove(ty, all.object(), &gone);
        }
        // ... and what went along although the manager never applied it.
        let kept = self.view(&kept, &last.api_version)?;
        let present = |object: &Value| with_named_fields(home.ty(), &fields_of(home.ty(), object));
        let gone = present(home.object())
            .difference(&present(kept.object()))
            .intersection(&gone_last);
        if gone.is_empty() {
            return None;
        }
        let pruned = remove(home.ty(), home.object(), &gone);
        self.view(&pruned, self.api_version)
            .map(|view| view.object().clone())
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
        let mut views: BTreeMap<String, Option<View<'_>>> = BTreeMap::new();
        for owned in managers.values_mut() {
            if self.versions.is_none() || owned.api_version == self.api_version {
                owned.fields = with_atomics_whole(self.ty, &owned.fields, object);
                continue;
            }
            let view = views
                .entry(owned.api_version.clone())
                .or_insert_with(|| self.view(object, &owned.api_version));
            if let Some(view) = view {
                owned.fields = with_atomics_whole(view.ty(), &owned.fields, view.object());
            }
        }
    }
}

/// What changed.
struct Change {
    /// Fields that have a new value.
    written: FieldSet,
    /// Those and what is gone: nobody keeps them.
    taken: FieldSet,
}

impl Change {
    fn of(comparison: &Comparison) -> Self {
        let written = comparison.written();
        Change {
            taken: written.union(&comparison.removed),
            written,
        }
    }
}

/// What changed, as each version sees it.
struct Changes<'a> {
    act: &'a Act<'a>,
    own: Change,
    old: &'a Value,
    new: &'a Value,
    elsewhere: BTreeMap<String, Option<Change>>,
}

impl<'a> Changes<'a> {
    fn new(act: &'a Act<'a>, own: &Comparison, old: &'a Value, new: &'a Value) -> Self {
        Changes {
            act,
            own: Change::of(own),
            old,
            new,
            elsewhere: BTreeMap::new(),
        }
    }

    /// `None` when there is no such version any more.
    fn in_version(&mut self, api_version: &str) -> Option<&Change> {
        if self.act.versions.is_none() || api_version == self.act.api_version {
            return Some(&self.own);
        }
        let (act, old, new) = (self.act, self.old, self.new);
        let make = || {
            let (old, new) = (act.view(old, api_version)?, act.view(new, api_version)?);
            let changes = compare(new.ty(), old.object(), new.object());
            Some(Change::of(&changes.without(&act.ignored)))
        };
        self.elsewhere
            .entry(api_version.to_owned())
            .or_insert_with(make)
            .as_ref()
    }

    /// Takes what changed, or is gone, from all managers; those that own nothing then are dropped.
    fn take_from_all(mut self, managers: &mut Managers) {
        managers.retain(|_, owned| {
            let Some(change) = self.in_version(&owned.api_version) else {
                return false;
            };
            if change.taken.is_empty() {
                return true;
            }
            owned.fields = owned.fields.difference(&change.taken);
            !owned.fields.is_empty()
        });
    }
}

//! Who among mutating policies or webhooks runs again, because the object changed after it ran.
//!
//! ```text
//! first pass:   begin ─► each: run; changed? ─► whoever ran before and wants to know is due
//! second pass:  begin ─► was the object changed since our last one ran? ─► all who want to know are due
//!                     ─► each that is due: run; ..
//! ```
//! There are two passes at most, over all plugins; policies and webhooks each have a state of their own. As in
//! kube-apiserver, nobody is called again for its own change.

use std::collections::BTreeSet;

use serde_json::Value;

/// See the module. `K` names a policy with its binding and parameters, or a webhook.
pub(crate) struct Reinvocation<K> {
    again: bool,
    /// Those that ran and want to know of later changes.
    ran: BTreeSet<K>,
    due: BTreeSet<K>,
    /// The object as the last one left it, while anybody wants to know.
    left: Option<Value>,
}

impl<K: Ord> Default for Reinvocation<K> {
    fn default() -> Self {
        Reinvocation {
            again: false,
            ran: BTreeSet::new(),
            due: BTreeSet::new(),
            left: None,
        }
    }
}

impl<K: Ord> Reinvocation<K> {
    /// A pass begins.
    pub(crate) fn begin(&mut self, again: bool, object: &Value) {
        self.again = again;
        if again && self.left.as_ref().is_some_and(|left| left != object) {
            self.changed();
        }
    }

    /// Whether this one runs in this pass.
    pub(crate) fn runs(&self, key: &K) -> bool {
        !self.again || self.due.contains(key)
    }

    /// The object was changed by the one that runs.
    pub(crate) fn changed(&mut self) {
        self.due.append(&mut self.ran);
    }

    /// This one ran and wants to know of later changes.
    pub(crate) fn wants_to_know(&mut self, key: K) {
        self.ran.insert(key);
    }

    /// A pass ends.
    pub(crate) fn end(&mut self, object: &Value) {
        self.left = (!self.again && !self.ran.is_empty()).then(|| object.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Runs `a`, `b` and `c`, of which those in `changing` change the object; gives who ran.
    fn pass(
        state: &mut Reinvocation<&'static str>,
        again: bool,
        object: &Value,
        changing: &[&str],
        wanting: &[&str],
    ) -> Vec<&'static str> {
        state.begin(again, object);
        let mut ran = Vec::new();
        for one in ["a", "b", "c"] {
            if !state.runs(&one) {
                continue;
            }
            ran.push(one);
            if changing.contains(&one) {
                state.changed();
            }
            if wanting.contains(&one) {
                state.wants_to_know(one);
            }
        }
        state.end(object);
        ran
    }

    #[test]
    fn those_before_a_change_run_again_if_they_want_to() {
        let object = json!({});
        let mut state = Reinvocation::default();
        let first = pass(&mut state, false, &object, &["b"], &["a", "b", "c"]);
        assert_eq!(first, ["a", "b", "c"]);
        // Neither `b`, whose own change it was, nor `c`, which saw it.
        assert_eq!(
            pass(&mut state, true, &object, &[], &["a", "b", "c"]),
            ["a"]
        );
    }

    #[test]
    fn a_change_by_others_concerns_all_who_want_to_know() {
        let mut state = Reinvocation::default();
        pass(&mut state, false, &json!({}), &[], &["a", "c"]);
        let again = pass(&mut state, true, &json!({"x": 1}), &[], &["a", "c"]);
        assert_eq!(again, ["a", "c"]);
        let mut nobody = Reinvocation::default();
        pass(&mut nobody, false, &json!({}), &["c"], &[]);
        assert!(pass(&mut nobody, true, &json!({"x": 1}), &[], &[]).is_empty());
    }
}

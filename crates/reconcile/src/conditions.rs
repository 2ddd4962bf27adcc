//! Conditions: merged by type, so that a transition time moves only when the status does.

use jiff::Timestamp;

/// What a kind's condition type offers, so that one merge serves all kinds.
pub trait ConditionExt {
    /// The condition's type, unique within a list.
    fn type_(&self) -> &str;
    /// `True`, `False` or `Unknown`.
    fn status(&self) -> &str;
    /// When the status last changed.
    fn transition(&self) -> Option<Timestamp>;
    /// Sets when the status last changed.
    fn set_transition(&mut self, at: Timestamp);
}

impl ConditionExt for k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition {
    fn type_(&self) -> &str {
        &self.type_
    }
    fn status(&self) -> &str {
        &self.status
    }
    fn transition(&self) -> Option<Timestamp> {
        Some(self.last_transition_time.0)
    }
    fn set_transition(&mut self, at: Timestamp) {
        self.last_transition_time.0 = at;
    }
}

/// The core kinds keep their own condition types, all of one shape.
macro_rules! core_condition {
    ($($kind:path),+) => {$(
        impl ConditionExt for $kind {
            fn type_(&self) -> &str {
                &self.type_
            }
            fn status(&self) -> &str {
                &self.status
            }
            fn transition(&self) -> Option<Timestamp> {
                self.last_transition_time.as_ref().map(|t| t.0)
            }
            fn set_transition(&mut self, at: Timestamp) {
                self.last_transition_time =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
            }
        }
    )+};
}
core_condition!(
    k8s_openapi::api::core::v1::NamespaceCondition,
    k8s_openapi::api::core::v1::NodeCondition,
    k8s_openapi::api::core::v1::PodCondition
);

/// Puts `new` into `conditions`: replaces the one of its type, or is added at the end.
///
/// # Guarantees
/// The transition time is the old one's while the status stays the same, else `now`.
pub fn set_condition<C: ConditionExt>(conditions: &mut Vec<C>, mut new: C, now: Timestamp) {
    let found = conditions.iter().position(|c| c.type_() == new.type_());
    let same = found
        .and_then(|i| conditions.get(i))
        .filter(|old| old.status() == new.status());
    let at = same.and_then(ConditionExt::transition).unwrap_or(now);
    new.set_transition(at);
    match found.and_then(|i| conditions.get_mut(i)) {
        Some(slot) => *slot = new,
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    fn condition(status: &str, reason: &str) -> Condition {
        Condition {
            type_: "Ready".into(),
            status: status.into(),
            reason: reason.into(),
            message: String::new(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }
    }

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut all = Vec::new();
        set_condition(&mut all, condition("False", "Starting"), at(10));
        set_condition(&mut all, condition("False", "Pulling"), at(20));
        assert_eq!(all[0].reason, "Pulling");
        assert_eq!(all[0].last_transition_time.0, at(10));
        set_condition(&mut all, condition("True", "Up"), at(30));
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].last_transition_time.0, at(30));
    }
}

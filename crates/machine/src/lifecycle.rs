//! When an instance is created and deleted: run strategies, requests by hand, failed starts (B-23 to B-25).
//!
//! ```text
//!                 no instance                 instance lives            instance ended
//! Always          create (after back-off)     nothing                   delete
//! RerunOnFailure  create (after back-off)     nothing                   delete if Failed, keep if Succeeded
//! Once            create                      nothing                   keep
//! Manual          create on Start             delete on Stop            delete
//! Halted          nothing                     delete                    delete
//! ```
//!
//! A `Stop` request deletes the instance it names under every strategy; a `Start` request makes an ended
//! instance give way to a new one. An instance on its way out is always waited for, so there is never more than
//! one. A start has failed when the instance fails without having run for a minute; then the next one waits
//! 10, 20, 40 ... 300 seconds.

use api::kubevirt::{
    RunStrategy, StartFailure, StateChangeAction, StateChangeRequest, VirtualMachine,
    VirtualMachineInstance, VmiPhase,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Wait after the first failed start.
pub const FIRST_BACK_OFF: SignedDuration = SignedDuration::from_secs(10);
/// Longest wait.
pub const MAX_BACK_OFF: SignedDuration = SignedDuration::from_secs(300);
/// An instance that ran this long has started, whatever happens later.
pub const STARTED_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// What is seen of the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceView {
    /// Its UID.
    pub uid: String,
    /// Where it is in its life.
    pub phase: VmiPhase,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Since when it runs, or ran.
    pub running_since: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl InstanceView {
    /// What is seen of an object.
    pub fn of(vmi: &VirtualMachineInstance) -> Self {
        let status = vmi.status.as_ref();
        let when = |wanted: &dyn Fn(VmiPhase) -> bool| {
            let transitions = &status?.phase_transition_timestamps;
            Some(
                transitions
                    .iter()
                    .find(|t| wanted(t.phase))?
                    .phase_transition_timestamp
                    .0,
            )
        };
        Self {
            uid: vmi.metadata.uid.clone().unwrap_or_default(),
            phase: status.and_then(|s| s.phase).unwrap_or(VmiPhase::Pending),
            deleting: vmi.metadata.deletion_timestamp.is_some(),
            running_since: when(&|p| p == VmiPhase::Running),
            ended_at: when(&VmiPhase::is_final),
        }
    }

    fn ran_long_enough(&self, now: Timestamp) -> bool {
        self.running_since.is_some_and(|since| {
            self.ended_at.unwrap_or(now).duration_since(since) >= STARTED_AFTER
        })
    }
}

/// All that a decision depends on.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The run strategy in effect.
    pub strategy: RunStrategy,
    /// Whether the VM is being deleted.
    pub deleting: bool,
    /// The instance, if there is one.
    pub instance: Option<InstanceView>,
    /// Requests by hand, oldest first.
    pub requests: &'a [StateChangeRequest],
    /// Failed starts in a row.
    pub failure: Option<&'a StartFailure>,
    /// The present time.
    pub now: Timestamp,
}

impl<'a> Situation<'a> {
    /// The situation of a VM and its instance.
    pub fn of(
        vm: &'a VirtualMachine,
        vmi: Option<&VirtualMachineInstance>,
        now: Timestamp,
    ) -> Self {
        let status = vm.status.as_ref();
        Self {
            strategy: vm.spec.effective_run_strategy(),
            deleting: vm.metadata.deletion_timestamp.is_some(),
            instance: vmi.map(InstanceView::of),
            requests: status
                .map(|s| s.state_change_requests.as_slice())
                .unwrap_or_default(),
            failure: status.and_then(|s| s.start_failure.as_ref()),
            now,
        }
    }
}

/// What to do with the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create one.
    Create,
    /// Delete it.
    Delete,
    /// Nothing.
    Nothing,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The VM is being deleted.
    VmDeleted,
    /// The instance is on its way out; wait.
    InstanceGoes,
    /// The run strategy wants it so.
    Strategy,
    /// It was asked for by hand.
    Request,
    /// The instance ended, and the strategy keeps it that way.
    Done,
    /// A start failed; the next one waits.
    BackOff,
}

/// What to do, and what to write into the VM's status first.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What to do with the instance.
    pub action: Action,
    /// Why.
    pub why: Why,
    /// `status.stateChangeRequests` from now on.
    pub requests: Vec<StateChangeRequest>,
    /// `status.startFailure` from now on.
    pub failure: Option<StartFailure>,
    /// When to look again, if nothing happens before.
    pub again_at: Option<Timestamp>,
}

/// Wait after this many failed starts in a row.
pub fn back_off(failures: i64) -> SignedDuration {
    let doublings = u32::try_from(failures.saturating_sub(1).clamp(0, 30)).unwrap_or(0);
    (FIRST_BACK_OFF * 2_i32.pow(doublings)).min(MAX_BACK_OFF)
}

/// Decides.
pub fn decide(s: &Situation<'_>) -> Decision {
    let requests = open_requests(s);
    let failure = start_failure(s);
    let (action, why) = act(s, &requests, failure.as_ref());
    let retry = failure
        .as_ref()
        .and_then(|f| f.retry_after_timestamp.as_ref())
        .map(|t| t.0);
    let started = s
        .instance
        .as_ref()
        .filter(|_| failure.is_some())
        .and_then(|i| i.running_since?.checked_add(STARTED_AFTER).ok());
    Decision {
        action,
        why,
        requests,
        again_at: match why {
            Why::BackOff => retry,
            _ => started.filter(|at| *at > s.now),
        },
        failure,
    }
}

fn act(
    s: &Situation<'_>,
    requests: &[StateChangeRequest],
    failure: Option<&StartFailure>,
) -> (Action, Why) {
    use RunStrategy::{Always, Halted, Manual, Once, RerunOnFailure};
    let asked = |action| requests.iter().any(|r| r.action == action);
    let Some(instance) = &s.instance else {
        let waits = failure
            .and_then(|f| f.retry_after_timestamp.as_ref())
            .is_some_and(|t| t.0 > s.now);
        return match s.strategy {
            _ if s.deleting => (Action::Nothing, Why::VmDeleted),
            Halted => (Action::Nothing, Why::Strategy),
            _ if asked(StateChangeAction::Start) => (Action::Create, Why::Request),
            Manual => (Action::Nothing, Why::Strategy),
            Always | RerunOnFailure | Once if waits => (Action::Nothing, Why::BackOff),
            Always | RerunOnFailure | Once => (Action::Create, Why::Strategy),
        };
    };
    if instance.deleting {
        return (Action::Nothing, Why::InstanceGoes);
    }
    if s.deleting {
        return (Action::Delete, Why::VmDeleted);
    }
    if asked(StateChangeAction::Stop) {
        return (Action::Delete, Why::Request);
    }
    if s.strategy == Halted {
        return (Action::Delete, Why::Strategy);
    }
    if !instance.phase.is_final() {
        return (Action::Nothing, Why::Strategy);
    }
    if asked(StateChangeAction::Start) {
        return (Action::Delete, Why::Request);
    }
    match (s.strategy, instance.phase) {
        (Once, _) | (RerunOnFailure, VmiPhase::Succeeded) => (Action::Nothing, Why::Done),
        _ => (Action::Delete, Why::Strategy),
    }
}

/// Requests that are not done: a `Stop` until its instance is gone, a `Start` until an instance lives.
fn open_requests(s: &Situation<'_>) -> Vec<StateChangeRequest> {
    let stops = |r: &StateChangeRequest| match (&s.instance, &r.uid) {
        (None, _) => false,
        (Some(instance), Some(uid)) => instance.uid == *uid,
        (Some(_), None) => true,
    };
    let stopping = s
        .requests
        .iter()
        .any(|r| r.action == StateChangeAction::Stop && stops(r));
    let lives = s
        .instance
        .as_ref()
        .is_some_and(|i| !i.deleting && !i.phase.is_final() && !stopping);
    s.requests
        .iter()
        .filter(|r| match r.action {
            StateChangeAction::Stop => stops(r),
            StateChangeAction::Start => !lives && s.strategy != RunStrategy::Halted && !s.deleting,
        })
        .cloned()
        .collect()
}

/// Failed starts in a row, this instance counted once.
fn start_failure(s: &Situation<'_>) -> Option<StartFailure> {
    let counts = matches!(
        s.strategy,
        RunStrategy::Always | RunStrategy::RerunOnFailure | RunStrategy::Once
    );
    if !counts || s.deleting {
        return None;
    }
    let known = s.failure.cloned();
    let Some(instance) = &s.instance else {
        return known;
    };
    if instance.ran_long_enough(s.now) || instance.phase == VmiPhase::Succeeded {
        return None;
    }
    if instance.phase != VmiPhase::Failed {
        return known;
    }
    if known
        .as_ref()
        .and_then(|f| f.last_failed_vmi_uid.as_deref())
        == Some(instance.uid.as_str())
    {
        return known;
    }
    let before = known
        .and_then(|f| f.consecutive_fail_count)
        .unwrap_or(0)
        .max(0);
    let count = before.saturating_add(1);
    Some(StartFailure {
        consecutive_fail_count: Some(count),
        last_failed_vmi_uid: Some(instance.uid.clone()),
        retry_after_timestamp: s.now.checked_add(back_off(count)).ok().map(Time),
    })
}

#[cfg(test)]
mod tests;

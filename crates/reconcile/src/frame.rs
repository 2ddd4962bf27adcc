//! The one loop that all controllers share.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use kube::Resource;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use crate::{Backoff, ReconcileError};

/// Every object gets a pass at least this often, changed or not.
pub const FULL_PASS: Duration = Duration::from_secs(300);

/// First and longest wait after a failed pass.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

/// Wait after a conflict: the newer object is on its way through the watch.
const AFTER_CONFLICT: Duration = Duration::from_millis(20);

/// Wait after something was found gone: its deletion is on its way through the watch, and if it was
/// something else that is missing, it may come.
const AFTER_GONE: Duration = Duration::from_secs(1);

/// Passes that one controller runs side by side.
const CONCURRENT_PASSES: u16 = 32;

/// When to look at an object again, beside the next change of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At the next change, or the next full pass.
    Change,
    /// After this long, or at the next change.
    After(Duration),
}

impl Next {
    /// At that time, at once if it is past, and without one at the next change.
    #[must_use]
    pub fn at(time: Option<Timestamp>, now: Timestamp) -> Self {
        time.map_or(Next::Change, |time| {
            let wait = Duration::try_from(time.duration_since(now));
            Next::After(wait.unwrap_or_default().max(Duration::from_millis(1)))
        })
    }
}

/// A controller: see the crate's documentation for the flow.
pub trait Reconciler: Send + Sync + 'static {
    /// The kind whose objects are reconciled.
    type Object: Resource<DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// All that a decision needs.
    type Observed: Send + Sync;
    /// The decision, as data.
    type Plan: Debug + Send + Sync;
    /// Name for logs and events.
    const NAME: &'static str;

    /// Reads what the decision needs; writes nothing.
    fn observe(
        &self,
        object: Arc<Self::Object>,
    ) -> impl Future<Output = Result<Self::Observed, ReconcileError>> + Send;

    /// Decides. Pure and total.
    fn plan(observed: &Self::Observed, now: Timestamp) -> Self::Plan;

    /// Carries the decision out. Idempotent: it may be repeated after a crash at any point.
    fn apply(
        &self,
        observed: Self::Observed,
        plan: Self::Plan,
    ) -> impl Future<Output = Result<Next, ReconcileError>> + Send;
}

struct Context<R: Reconciler> {
    reconciler: R,
    backoff: Mutex<Backoff<ObjectRef<R::Object>>>,
}

/// Runs a controller until `controller` is shut down.
pub async fn run<R: Reconciler>(reconciler: R, controller: Controller<R::Object>) {
    let context = Arc::new(Context {
        reconciler,
        backoff: Mutex::new(Backoff::new(RETRY.0, RETRY.1)),
    });
    controller
        .with_config(kube::runtime::controller::Config::default().concurrency(CONCURRENT_PASSES))
        .run(pass::<R>, failed::<R>, context)
        .for_each(|outcome| async move {
            if let Err(error) = outcome {
                use kube::runtime::controller::Error;
                match error {
                    // Already said by `failed`, or the object is simply gone.
                    Error::ReconcilerFailed(..) | Error::ObjectNotFound(_) => {}
                    other => debug!(controller = R::NAME, error = %other, "watch interrupted"),
                }
            }
        })
        .await;
}

async fn pass<R: Reconciler>(
    object: Arc<R::Object>,
    context: Arc<Context<R>>,
) -> Result<Action, ReconcileError> {
    let key = ObjectRef::from_obj(object.as_ref());
    let observed = context.reconciler.observe(object).await?;
    let plan = R::plan(&observed, Timestamp::now());
    debug!(controller = R::NAME, object = %key, ?plan, "planned");
    let next = context.reconciler.apply(observed, plan).await?;
    context
        .backoff
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .succeeded(&key);
    Ok(Action::requeue(match next {
        Next::Change => FULL_PASS,
        Next::After(wait) => wait.min(FULL_PASS),
    }))
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature is kube-runtime's"
)]
fn failed<R: Reconciler>(
    object: Arc<R::Object>,
    error: &ReconcileError,
    context: Arc<Context<R>>,
) -> Action {
    if error.is_conflict() {
        return Action::requeue(AFTER_CONFLICT);
    }
    let key = ObjectRef::from_obj(object.as_ref());
    if error.is_gone() {
        debug!(controller = R::NAME, object = %key, "{}", error.chain());
        return Action::requeue(AFTER_GONE);
    }
    let wait = context
        .backoff
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .failed(key.clone());
    warn!(controller = R::NAME, object = %key, retry_in = ?wait, "{}", error.chain());
    Action::requeue(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_waited_for_and_one_that_is_past_is_now() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(Next::at(None, at(10)), Next::Change);
        let wait = Duration::from_secs(5);
        assert_eq!(Next::at(Some(at(15)), at(10)), Next::After(wait));
        let at_once = Duration::from_millis(1);
        assert_eq!(Next::at(Some(at(9)), at(10)), Next::After(at_once));
    }
}

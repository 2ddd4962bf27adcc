//! What the VMRuntime asks for, as every controller reads it.
//!
//! Invariant: what was read last holds until something else is read. An object that is gone for a moment
//! (it is made again at once) starts nothing and stops nothing.

use futures_util::{Stream, StreamExt, TryStreamExt};
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::vmruntime::{PREFLIGHT_FAILED, PREFLIGHT_RUNNING};
use api::vmruntime::{EmulationPolicy, NAME, RuntimePhase, VMRuntime};

/// The part of the VMRuntime that decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFacts {
    /// Where the VM stack is between off and on; nothing before that is decided.
    pub phase: Option<RuntimePhase>,
    /// Whether guests and imports may begin.
    pub enabled: bool,
    /// With or without hardware virtualization.
    pub emulation: EmulationPolicy,
    /// Why no VM may start although it is enabled: the newest preflight check has not passed (G-30).
    pub waits: Option<Waits>,
    /// StorageClass of disks that name none, if one is set.
    pub storage_class: Option<String>,
}

/// Why no VM may start, as a reason and a message of conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// `PreflightCheckRunning` or `PreflightCheckFailed`.
    pub reason: &'static str,
    /// Which check, and what failed.
    pub message: String,
}

impl RuntimeFacts {
    /// Until the object is seen: nothing may run.
    pub const UNKNOWN: Self = Self {
        phase: None,
        enabled: false,
        emulation: EmulationPolicy::Automatic,
        waits: None,
        storage_class: None,
    };

    /// Reads them off the object.
    #[must_use]
    pub fn of(runtime: &VMRuntime) -> Self {
        let phase = runtime.status.as_ref().and_then(|s| s.phase);
        Self {
            phase,
            enabled: phase.is_some_and(RuntimePhase::may_start),
            emulation: runtime.spec.emulation(),
            waits: waits(runtime),
            storage_class: runtime.spec.default_storage_class().map(str::to_owned),
        }
    }

    /// Why no VM may start now; nothing if it may.
    #[must_use]
    pub fn closed(&self) -> Option<(&'static str, &str)> {
        if !self.enabled {
            return Some(("VMRuntimeDisabled", DISABLED));
        }
        self.waits.as_ref().map(|w| (w.reason, w.message.as_str()))
    }
}

/// What the status says of the newest preflight check. A status of an older spec says nothing: the change may have
/// started a check.
fn waits(runtime: &VMRuntime) -> Option<Waits> {
    let status = runtime.status.as_ref();
    let current = status.filter(|s| s.observed_generation == runtime.metadata.generation);
    let summary = current.and_then(|s| s.preflight_check_summary.as_ref());
    let passed = summary.and_then(|s| s.preflight_check_passed);
    if passed == Some(true) {
        return None;
    }
    let reason = if passed == Some(false) {
        PREFLIGHT_FAILED
    } else {
        PREFLIGHT_RUNNING
    };
    let told = current.and_then(|s| {
        let ready = s.conditions.iter().find(|c| c.type_ == "Ready");
        ready.filter(|c| c.reason == reason)
    });
    let message = told.map_or_else(
        || "a preflight check is still running".to_owned(),
        |c| c.message.clone(),
    );
    Some(Waits { reason, message })
}

/// Why nothing runs while the runtime is disabled, and what to do.
pub const DISABLED: &str = "the VM runtime is disabled: run `ferrovirt enable vmruntime`, or set spec.enabled of VMRuntime vmruntime";

/// The latest facts.
pub type Runtime = watch::Receiver<RuntimeFacts>;

/// Starts the task that follows the singleton.
#[must_use]
pub fn follow(client: Client, cancel: CancellationToken) -> Runtime {
    let (tx, rx) = watch::channel(RuntimeFacts::UNKNOWN);
    tokio::spawn(async move {
        let api: Api<VMRuntime> = Api::all(client);
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let mut events = watcher(api, config).default_backoff().boxed();
        loop {
            let event = tokio::select! {
                () = cancel.cancelled() => return,
                event = events.try_next() => event,
            };
            let facts = match event {
                Ok(Some(watcher::Event::Apply(r) | watcher::Event::InitApply(r)))
                    if r.name_any() == NAME =>
                {
                    RuntimeFacts::of(&r)
                }
                Ok(None) => return,
                _ => continue,
            };
            // An object that was just made says nothing yet: what was said before holds.
            if facts.phase.is_some() {
                tx.send_if_modified(|old| {
                    let changed = *old != facts;
                    *old = facts;
                    changed
                });
            }
        }
    });
    rx
}

/// Fires whenever the facts change, for [`kube::runtime::Controller::reconcile_all_on`].
pub(crate) fn changes(runtime: Runtime) -> impl Stream<Item = ()> + Send + 'static {
    futures_util::stream::unfold(runtime, |mut runtime| async move {
        runtime.changed().await.ok()?;
        Some(((), runtime))
    })
}

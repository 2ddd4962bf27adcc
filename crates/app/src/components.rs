//! The components of this process: each is a task that can be started and stopped, and shows as a mirror
//! Pod in `vm-system` (G-21).
//!
//! ```text
//!  VMRuntime.status.phase ─► desired set ─► keeper of each component ─► task, with a token of its own
//!                                             │ ended, panicked: back-off, again
//!                                             └─► board (what each does) ─► publisher ─► mirror Pods
//! ```
//!
//! | component | runs | what |
//! |---|---|---|
//! | `vmruntime-controller-manager` | always | the switch itself |
//! | `virt-controller` | while the VM stack is on | VirtualMachines, VirtualMachineInstances |
//! | `cdi-deployment` | while the VM stack is on | DataVolumes |
//! | `virt-handler` | while the VM stack is on | the agent of this node |
//!
//! What is part of the engine (garbage, scheduler, volumes, node runtime ...) is what a Kubernetes node has
//! anyway, and is none of these.
//!
//! Invariants:
//! - One keeper owns each component: there is never a second task of it, and none is left after a stop,
//!   which is bounded.
//! - What is desired is decided in [`desired`], pure, from what the VMRuntime says; nothing is started or
//!   stopped before it has said something.
//! - A Pod is true: it is ready exactly while the task runs, counts its restarts, and is gone when the
//!   component is off. Its name follows from component and node, so a crash makes no second one.

mod keeper;
mod pod;
mod publisher;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use api::vmruntime::{RuntimePhase, component};
use controllers::runtime::{Runtime, RuntimeFacts};
use jiff::Timestamp;
use kube::Client;
use telemetry::component::ComponentLogs;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Names of all components.
pub(crate) const NAMES: [&str; 4] = [
    component::RUNTIME_MANAGER,
    component::VIRT_CONTROLLER,
    component::CDI_DEPLOYMENT,
    component::VIRT_HANDLER,
];

/// When a component runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Always: it watches for the runtime to be enabled.
    Nothing,
    /// While the VM stack is on.
    VmStack,
}

/// What a component does, until it is told to stop.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A part of this process that can be started and stopped.
pub(crate) struct Component {
    /// Its name: of the Pod, the container and the log.
    pub name: &'static str,
    /// Labels of its Pod, as KubeVirt's users know them.
    pub labels: &'static [(&'static str, &'static str)],
    /// When it runs.
    pub needs: Needs,
    /// Begins it. It has a moment to end once the token is cancelled, and may be dropped at any time.
    pub start: Box<dyn Fn(CancellationToken) -> Work + Send + Sync>,
}

/// How a component ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// What it said at its end.
    pub message: String,
}

/// What a component does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not decided yet, just after the start of this process.
    Unknown,
    /// It is off.
    Stopped,
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It has ended, and is started again.
    BackOff {
        /// When.
        until: Timestamp,
    },
}

/// The present second: what the API stores has no fractions, and would never be equal to what has.
fn this_second() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// What is known of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub state: State,
    /// How often it was started again since it was switched on.
    pub restarts: u32,
    /// How it ended last.
    pub last: Option<Ended>,
}

impl Report {
    const UNKNOWN: Self = Self {
        state: State::Unknown,
        restarts: 0,
        last: None,
    };
}

/// What all components do: written by their keepers, read by the publisher.
#[derive(Debug)]
pub(crate) struct Board {
    reports: Mutex<BTreeMap<&'static str, Report>>,
    changed: Notify,
}

impl Board {
    fn new(names: impl IntoIterator<Item = &'static str>) -> Self {
        let reports = names.into_iter().map(|n| (n, Report::UNKNOWN));
        Self {
            reports: Mutex::new(reports.collect()),
            changed: Notify::new(),
        }
    }

    fn post(&self, name: &'static str, report: Report) {
        let mut all = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name, report);
        drop(all);
        self.changed.notify_one();
    }

    fn read(&self, name: &str) -> Report {
        let all = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name).cloned().unwrap_or(Report::UNKNOWN)
    }
}

/// Whether a component is to run; nothing while that is not decided.
pub(crate) fn desired(needs: Needs, runtime: &RuntimeFacts) -> Option<bool> {
    match needs {
        Needs::Nothing => Some(true),
        Needs::VmStack => runtime.phase.map(RuntimePhase::has_components),
    }
}

/// Where components run.
pub(crate) struct Place {
    /// Name of this node.
    pub node: String,
    /// Address of this node.
    pub host_ip: String,
    /// Where their logs are.
    pub logs_dir: PathBuf,
    /// The logs.
    pub logs: ComponentLogs,
}

/// Starts whatever is desired, and keeps it so, until `stop`.
pub(crate) fn run(
    client: Client,
    place: Place,
    components: Vec<Component>,
    runtime: &Runtime,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    let board = Arc::new(Board::new(components.iter().map(|c| c.name)));
    let place = Arc::new(place);
    let shown = components
        .iter()
        .map(|c| pod::Shown {
            name: c.name,
            labels: c.labels,
        })
        .collect();
    for component in components {
        let wanted = follow(component.needs, runtime.clone(), stop.clone(), tasks);
        tasks.spawn(keeper::keep(
            component,
            wanted,
            place.clone(),
            board.clone(),
            stop.clone(),
        ));
    }
    let publisher = publisher::Publisher::new(client, place, shown, board);
    let stop = stop.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = publisher.run() => {}
        }
    });
}

/// Follows whether a component is to run.
fn follow(
    needs: Needs,
    mut runtime: Runtime,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> watch::Receiver<Option<bool>> {
    let (tx, rx) = watch::channel(desired(needs, &runtime.borrow()));
    tasks.spawn(async move {
        loop {
            let wanted = desired(needs, &runtime.borrow_and_update());
            // What was decided holds until something else is.
            tx.send_if_modified(|old| wanted.is_some() && std::mem::replace(old, wanted) != wanted);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = runtime.changed() => if changed.is_err() { return },
            }
        }
    });
    rx
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vm_stack_follows_the_phase_and_the_switch_is_always_on() {
        let of = |phase| RuntimeFacts {
            phase,
            ..RuntimeFacts::UNKNOWN
        };
        for (phase, wanted) in [
            (None, None),
            (Some(RuntimePhase::Disabled), Some(false)),
            (Some(RuntimePhase::Enabled), Some(true)),
            (Some(RuntimePhase::VMsExist), Some(true)),
            (Some(RuntimePhase::Disabling), Some(true)),
        ] {
            assert_eq!(desired(Needs::VmStack, &of(phase)), wanted, "{phase:?}");
            assert_eq!(desired(Needs::Nothing, &of(phase)), Some(true));
        }
    }
}

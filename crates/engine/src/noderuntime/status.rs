//! The status of a Pod, from what is recorded of it. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reconcile::set_condition;

use super::CONSOLE_LOG;
use super::plan::Waiting;
use super::record::{Ended, Main, Record};

/// The status that follows from a record, or from the reason why there is none.
pub(super) fn status(
    pod: &Pod,
    record: Option<&Record>,
    waiting: Option<&Waiting>,
    host_ip: &str,
    now: Timestamp,
) -> PodStatus {
    let mut status = pod.status.clone().unwrap_or_default();
    let phase = phase(record);
    let running = record.is_some_and(|r| matches!(r.main, Main::Running { .. }));
    let terminating = pod.metadata.deletion_timestamp.is_some();
    status.phase = Some(phase.to_owned());
    status.host_ip = Some(host_ip.to_owned());
    status.host_ips = Some(vec![HostIP {
        ip: host_ip.to_owned(),
    }]);
    status.start_time.get_or_insert(Time(now));
    status.message = None;
    status.reason = None;
    let all = pod.spec.iter().flat_map(|s| &s.containers);
    status.container_statuses = Some(all.map(|c| container(c, record, waiting)).collect());
    let ready = running && !terminating;
    let why = match (ready, phase) {
        (true, _) => None,
        (false, "Succeeded" | "Failed") => Some("PodCompleted"),
        (false, _) => Some("ContainersNotReady"),
    };
    let conditions = status.conditions.get_or_insert_default();
    let mut say = |type_: &str, holds: bool, reason: Option<&str>| {
        let condition = PodCondition {
            type_: type_.to_owned(),
            status: if holds { "True" } else { "False" }.to_owned(),
            reason: reason.map(str::to_owned),
            ..PodCondition::default()
        };
        set_condition(conditions, condition, now);
    };
    say(
        "PodReadyToStartContainers",
        record.is_some_and(|r| !r.torn_down),
        None,
    );
    say("Initialized", true, None);
    say("Ready", ready, why);
    say("ContainersReady", ready, why);
    status
}

/// The status of a Pod that can never run here.
pub(super) fn refused(pod: &Pod, why: &Waiting, host_ip: &str, now: Timestamp) -> PodStatus {
    let mut status = status(pod, None, Some(why), host_ip, now);
    status.phase = Some("Failed".to_owned());
    status.reason = Some(why.reason.to_owned());
    status.message = Some(why.message.clone());
    status
}

fn phase(record: Option<&Record>) -> &'static str {
    match record.map(|r| (&r.main, r.restarts)) {
        None | Some((Main::Waiting { .. }, 0)) => "Pending",
        // A Pod that is between two starts is running, as far as Kubernetes is concerned.
        Some((Main::Running { .. } | Main::Waiting { .. }, _)) => "Running",
        Some((Main::Ended(ended), _)) if ended.code() == 0 => "Succeeded",
        Some((Main::Ended(_), _)) => "Failed",
    }
}

fn container(
    container: &Container,
    record: Option<&Record>,
    waiting: Option<&Waiting>,
) -> ContainerStatus {
    let log_only = container.name == CONSOLE_LOG;
    let waits = |reason: &str, message: Option<String>| ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        }),
        ..ContainerState::default()
    };
    let state = match record.map(|r| (&r.main, r)) {
        None => match waiting {
            Some(w) => waits(w.reason, Some(w.message.clone())),
            None => waits("ContainerCreating", None),
        },
        Some((Main::Waiting { not_before: None }, _)) => waits("ContainerCreating", None),
        Some((
            Main::Waiting {
                not_before: Some(at),
            },
            r,
        )) => {
            let why = r.last.as_ref().and_then(|l| l.message.clone());
            let why = why.map(|w| format!(": {}", w.trim())).unwrap_or_default();
            waits(
                "CrashLoopBackOff",
                Some(format!(
                    "next start at {at:.0}, after {} restarts{why}",
                    r.restarts
                )),
            )
        }
        Some((Main::Running { started_at, .. }, _)) => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(Time(*started_at)),
            }),
            ..ContainerState::default()
        },
        Some((Main::Ended(ended), _)) => terminated(ended, log_only),
    };
    let running = state.running.is_some();
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        image_id: container.image.clone().unwrap_or_default(),
        container_id: record.map(|r| format!("ferrovirt://{}/{}", r.uid, container.name)),
        ready: running,
        started: Some(running),
        restart_count: record
            .and_then(|r| i32::try_from(r.restarts).ok())
            .unwrap_or_default(),
        last_state: record
            .filter(|_| !log_only)
            .and_then(|r| r.last.as_ref())
            .map(|l| terminated(l, false)),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

fn terminated(ended: &Ended, log_only: bool) -> ContainerState {
    let code = if log_only { 0 } else { ended.code() };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: code,
            reason: Some(if code == 0 { "Completed" } else { "Error" }.to_owned()),
            message: ended.message.clone().filter(|_| !log_only),
            started_at: Some(Time(ended.started_at)),
            finished_at: Some(Time(ended.finished_at)),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

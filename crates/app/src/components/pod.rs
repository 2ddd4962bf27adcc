//! The mirror Pod of a component, and what to do about it. Pure.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use api::vmruntime::{COMPONENT_LABEL, NAMESPACE};
use controllers::IMAGE;
use engine::noderuntime::{CONFIG_HASH, CONFIG_MIRROR, CONFIG_SOURCE, is_mirror};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Node, Pod, PodCondition, PodIP, PodSpec,
    PodStatus, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::ResourceExt;
use kube::api::ObjectMeta;
use reconcile::set_condition;

use super::{Ended, Report, State};

/// Longest name of a Pod.
const NAME: usize = 253;
/// What the kubelet says of a container whose end it has not seen.
const END_NOT_SEEN: (&str, i32) = ("ContainerStatusUnknown", 137);

/// What of a component shows.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub name: &'static str,
    pub labels: &'static [(&'static str, &'static str)],
}

/// What a Pod brings from the life of the process before this one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Before {
    restarts: i32,
    last: Option<ContainerStateTerminated>,
}

impl Before {
    /// The component was started again with the whole process.
    pub(super) fn of(pod: &Pod, now: Timestamp) -> Self {
        let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter());
        let Some(status) = statuses.flatten().next() else {
            return Self::default();
        };
        let running = status.state.as_ref().and_then(|s| s.running.as_ref());
        Self {
            restarts: status.restart_count.saturating_add(1),
            last: Some(ContainerStateTerminated {
                reason: Some(END_NOT_SEEN.0.to_owned()),
                exit_code: END_NOT_SEEN.1,
                message: Some("the process that it is part of was started again".to_owned()),
                started_at: running.and_then(|r| r.started_at.clone()),
                finished_at: Some(Time(now)),
                ..ContainerStateTerminated::default()
            }),
        }
    }
}

/// One thing to do about a component's Pod.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    Create(Box<Pod>),
    /// Remove it at once; where it should be, it is made again.
    Remove,
    Say(Box<PodStatus>),
}

/// Decides.
pub(super) fn decide(
    shown: &Shown,
    node: &Node,
    host_ip: &str,
    report: &Report,
    before: &Before,
    pod: Option<&Pod>,
    now: Timestamp,
) -> Step {
    let Some(pod) = pod else {
        return match report.state {
            State::Unknown | State::Stopped => Step::Nothing,
            State::Running { .. } | State::BackOff { .. } => {
                Step::Create(Box::new(make(shown, node)))
            }
        };
    };
    match report.state {
        State::Unknown => return Step::Nothing,
        State::Stopped => return Step::Remove,
        State::Running { .. } | State::BackOff { .. } => {}
    }
    let wanted = make(shown, node);
    let same = is_mirror(pod)
        && pod.owner_references() == wanted.owner_references()
        && pod.annotations().get(CONFIG_HASH) == wanted.annotations().get(CONFIG_HASH);
    if !same || pod.metadata.deletion_timestamp.is_some() {
        return Step::Remove;
    }
    let status = status(shown, pod, host_ip, report, before, now);
    if pod.status.as_ref() == Some(&status) {
        Step::Nothing
    } else {
        Step::Say(Box::new(status))
    }
}

/// `<component>-<node>`, as the kubelet names its static Pods.
pub(super) fn name_of(component: &str, node: &str) -> String {
    let name: String = format!("{component}-{node}").chars().take(NAME).collect();
    name.trim_end_matches(['-', '.']).to_owned()
}

fn hash_of(shown: &Shown) -> String {
    let mut hasher = DefaultHasher::new();
    (shown.name, shown.labels, IMAGE).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn make(shown: &Shown, node: &Node) -> Pod {
    let pair = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
    let own = [
        (COMPONENT_LABEL, shown.name),
        ("app.kubernetes.io/name", shown.name),
        ("app.kubernetes.io/part-of", "ferrovirt"),
    ];
    let hash = hash_of(shown);
    let annotations = [
        (CONFIG_HASH, hash.as_str()),
        (CONFIG_MIRROR, hash.as_str()),
        (CONFIG_SOURCE, "file"),
    ];
    let node_name = node.name_any();
    Pod {
        metadata: ObjectMeta {
            name: Some(name_of(shown.name, &node_name)),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(
                own.into_iter()
                    .chain(shown.labels.iter().copied())
                    .map(pair)
                    .collect(),
            ),
            annotations: Some(annotations.map(pair).into()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: node_name.clone(),
                uid: node.uid().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: None,
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            node_name: Some(node_name),
            host_network: Some(true),
            restart_policy: Some("Always".to_owned()),
            automount_service_account_token: Some(false),
            tolerations: Some(vec![Toleration {
                operator: Some("Exists".to_owned()),
                ..Toleration::default()
            }]),
            containers: vec![Container {
                name: shown.name.to_owned(),
                image: Some(IMAGE.to_owned()),
                command: Some(vec!["ferrovirt".to_owned(), "up".to_owned()]),
                ..Container::default()
            }],
            ..PodSpec::default()
        }),
        status: None,
    }
}

fn terminated(ended: &Ended) -> ContainerStateTerminated {
    ContainerStateTerminated {
        reason: Some("Error".to_owned()),
        exit_code: 1,
        message: Some(ended.message.clone()),
        started_at: Some(Time(ended.started_at)),
        finished_at: Some(Time(ended.finished_at)),
        ..ContainerStateTerminated::default()
    }
}

fn status(
    shown: &Shown,
    pod: &Pod,
    host_ip: &str,
    report: &Report,
    before: &Before,
    now: Timestamp,
) -> PodStatus {
    let mut status = pod.status.clone().unwrap_or_default();
    let since = match report.state {
        State::Running { since } => Some(since),
        _ => None,
    };
    let ready = since.is_some();
    status.phase = Some("Running".to_owned());
    status.host_ip = Some(host_ip.to_owned());
    status.host_ips = Some(vec![HostIP {
        ip: host_ip.to_owned(),
    }]);
    // It has the host's network.
    status.pod_ip = Some(host_ip.to_owned());
    status.pod_ips = Some(vec![PodIP {
        ip: host_ip.to_owned(),
    }]);
    status.start_time.get_or_insert(Time(since.unwrap_or(now)));
    let state = match report.state {
        State::BackOff { until } => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some("CrashLoopBackOff".to_owned()),
                message: Some(format!(
                    "next start at {until:.0}: {}",
                    report.last.as_ref().map_or("", |l| l.message.as_str())
                )),
            }),
            ..ContainerState::default()
        },
        _ => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: since.map(Time),
            }),
            ..ContainerState::default()
        },
    };
    let last = report
        .last
        .as_ref()
        .map(terminated)
        .or_else(|| before.last.clone());
    let restarts = i32::try_from(report.restarts).unwrap_or(i32::MAX);
    status.container_statuses = Some(vec![ContainerStatus {
        name: shown.name.to_owned(),
        image: IMAGE.to_owned(),
        image_id: IMAGE.to_owned(),
        container_id: Some(format!(
            "ferrovirt://{}/{}",
            pod.uid().unwrap_or_default(),
            shown.name
        )),
        ready,
        started: Some(ready),
        restart_count: restarts.saturating_add(before.restarts),
        last_state: last.map(|terminated| ContainerState {
            terminated: Some(terminated),
            ..ContainerState::default()
        }),
        state: Some(state),
        ..ContainerStatus::default()
    }]);
    let conditions = status.conditions.get_or_insert_default();
    let why = (!ready).then(|| "ContainersNotReady".to_owned());
    for (type_, holds, reason) in [
        ("PodReadyToStartContainers", true, None),
        ("Initialized", true, None),
        ("Ready", ready, why.clone()),
        ("ContainersReady", ready, why),
        ("PodScheduled", true, None),
    ] {
        let condition = PodCondition {
            type_: type_.to_owned(),
            status: if holds { "True" } else { "False" }.to_owned(),
            reason,
            ..PodCondition::default()
        };
        set_condition(conditions, condition, now);
    }
    status
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;

//! The launcher Pod of a VMI. Pure.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use k8s_openapi::api::core::v1::{
    Affinity, Container, EmptyDirVolumeSource, NodeSelector, NodeSelectorRequirement,
    NodeSelectorTerm, PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume, VolumeMount,
};
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::plan::{KVM_LABEL, SCHEDULABLE_LABEL, claim_of};
use crate::workload::{IMAGE, container_security, pod_name, pod_security, toleration};
use api::kubevirt::{
    APP_LABEL, CREATED_BY_LABEL, DOMAIN_ANNOTATION, LAUNCHER_APP, VMI_NAME_LABEL,
    VirtualMachineInstance as Vmi,
};
use api::preflight::SKIP_LABEL;
use api::vmruntime::EmulationPolicy;
use machine::Accelerator;
use reconcile::controlled_by;

/// What a launcher needs beyond the guest's grace period, to end QEMU and say so (KubeVirt's value).
const EXTRA_GRACE_SECONDS: i64 = 15;
/// Where the launcher keeps its sockets and state.
const RUN: &str = "run";

/// How long the Pod may take to end.
pub(super) fn grace_seconds(vmi: &Vmi) -> u32 {
    let seconds = vmi
        .spec
        .grace_period_seconds()
        .saturating_add(EXTRA_GRACE_SECONDS);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// A name that follows from the VMI: making the Pod twice makes one.
pub(super) fn name_of(vmi: &Vmi) -> String {
    let mut hash = DefaultHasher::new();
    vmi.uid().hash(&mut hash);
    let unique: String = format!("{:016x}", hash.finish()).chars().take(5).collect();
    pod_name("virt-launcher", &vmi.name_any(), Some(&unique))
}

/// The launcher Pod.
pub(super) fn launcher(vmi: &Vmi, emulation: EmulationPolicy) -> Pod {
    // Where the guest will run is not decided yet: without a demand for hardware, room is made for
    // emulation, which needs more.
    let accelerator = match emulation {
        EmulationPolicy::Never => Accelerator::Kvm,
        EmulationPolicy::Always | EmulationPolicy::Automatic => Accelerator::Tcg,
    };
    let resources = machine::compute_resources(&vmi.spec, accelerator);
    let mut labels: BTreeMap<String, String> = vmi.labels().clone();
    let short: String = vmi.name_any().chars().take(63).collect();
    labels.extend([
        (APP_LABEL.to_owned(), LAUNCHER_APP.to_owned()),
        (CREATED_BY_LABEL.to_owned(), vmi.uid().unwrap_or_default()),
        (
            VMI_NAME_LABEL.to_owned(),
            short.trim_end_matches(['-', '.']).to_owned(),
        ),
    ]);
    let mut node_selector = vmi.spec.node_selector.clone();
    node_selector.insert(SCHEDULABLE_LABEL.to_owned(), "true".to_owned());
    if emulation == EmulationPolicy::Never {
        node_selector.insert(KVM_LABEL.to_owned(), "true".to_owned());
    }
    let mut volumes = vec![Volume {
        name: RUN.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }];
    let mut mounts = vec![mount(RUN, "/run/ferrovirt")];
    for volume in &vmi.spec.volumes {
        let Some((claim, _)) = claim_of(volume) else {
            continue;
        };
        let read_only = volume
            .persistent_volume_claim
            .as_ref()
            .and_then(|c| c.read_only);
        volumes.push(Volume {
            name: volume.name.clone(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.to_owned(),
                read_only,
            }),
            ..Volume::default()
        });
        mounts.push(mount(
            &volume.name,
            &format!("/var/run/kubevirt-private/vmi-disks/{}", volume.name),
        ));
    }
    let log_wanted = vmi.spec.domain.devices.autoattach_serial_console != Some(false);
    let mut containers = vec![container("compute", "launcher", mounts)];
    if let Some(compute) = containers.first_mut() {
        compute.resources = Some(resources);
    }
    if log_wanted {
        containers.push(container(
            "guest-console-log",
            "guest-console-log",
            vec![mount(RUN, "/run/ferrovirt")],
        ));
    }
    let mut tolerations = vmi.spec.tolerations.clone();
    tolerations.push(toleration());
    Pod {
        metadata: ObjectMeta {
            name: Some(name_of(vmi)),
            namespace: vmi.namespace(),
            labels: Some(labels),
            annotations: Some([(DOMAIN_ANNOTATION.to_owned(), vmi.name_any())].into()),
            owner_references: Some(vec![controlled_by(vmi)]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(i64::from(grace_seconds(vmi))),
            security_context: Some(pod_security()),
            node_selector: Some(node_selector),
            affinity: Some(away_from_skipped_nodes(vmi.spec.affinity.clone())),
            tolerations: Some(tolerations),
            hostname: vmi.spec.hostname.clone(),
            containers,
            volumes: Some(volumes),
            ..PodSpec::default()
        }),
        status: None,
    }
}

/// Nodes that are left out of preflight checks get no VMs (G-32): one more demand in each alternative of the user's.
fn away_from_skipped_nodes(affinity: Option<Affinity>) -> Affinity {
    let mut affinity = affinity.unwrap_or_default();
    let demand = NodeSelectorRequirement {
        key: SKIP_LABEL.to_owned(),
        operator: "DoesNotExist".to_owned(),
        values: None,
    };
    let required = &mut affinity
        .node_affinity
        .get_or_insert_default()
        .required_during_scheduling_ignored_during_execution;
    match required {
        Some(required) => {
            // A term without any demand matches no node, and must go on doing so.
            let terms = required.node_selector_terms.iter_mut();
            for term in terms.filter(|t| **t != NodeSelectorTerm::default()) {
                term.match_expressions
                    .get_or_insert_default()
                    .push(demand.clone());
            }
        }
        None => {
            *required = Some(NodeSelector {
                node_selector_terms: vec![NodeSelectorTerm {
                    match_expressions: Some(vec![demand]),
                    match_fields: None,
                }],
            });
        }
    }
    affinity
}

fn container(name: &str, verb: &str, mounts: Vec<VolumeMount>) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(IMAGE.to_owned()),
        command: Some(vec!["ferrovirt".to_owned(), verb.to_owned()]),
        volume_mounts: Some(mounts),
        security_context: Some(container_security()),
        ..Container::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn terms(affinity: Value) -> Value {
        let affinity = serde_json::from_value(affinity).unwrap();
        let affinity = serde_json::to_value(away_from_skipped_nodes(affinity)).unwrap();
        affinity
            .pointer(
                "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
            )
            .cloned()
            .unwrap()
    }

    #[test]
    fn no_vm_lands_on_a_node_that_is_left_out_of_checks() {
        let demand = json!({"key": "kubevm.io/VM-SkipSchedule", "operator": "DoesNotExist"});
        assert_eq!(terms(json!(null)), json!([{"matchExpressions": [&demand]}]));
        let users = json!({"key": "disk", "operator": "In", "values": ["ssd"]});
        let field = json!({"key": "metadata.name", "operator": "In", "values": ["n1"]});
        let required = json!({"nodeSelectorTerms": [
            {"matchExpressions": [&users]},
            {"matchFields": [&field]},
            {},
        ]});
        let affinity =
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
        assert_eq!(
            terms(affinity),
            json!([
                {"matchExpressions": [&users, &demand]},
                {"matchExpressions": [&demand], "matchFields": [&field]},
                {},
            ])
        );
    }
}

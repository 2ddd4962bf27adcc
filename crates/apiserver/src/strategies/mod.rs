//! What is special about the built-in kinds.

mod address;
mod address_claims;
mod batch;
mod binding;
mod csi;
mod endpoints;
mod events;
mod eviction;
mod fields;
mod ingress;
mod ingress_rules;
mod job_rules;
mod limit_range;
mod namespace;
mod network_policy;
mod node;
mod node_ports;
mod node_selector;
mod persistent_volumes;
mod pod;
mod pod_containers;
mod pod_defaults;
mod pod_env;
mod pod_level;
mod pod_placement;
mod pod_probes;
mod pod_resize;
mod pod_resources;
mod pod_security;
mod pod_update;
mod pod_validate;
mod pod_volume_defaults;
mod pod_volumes;
mod policies;
mod quota;
mod rbac;
mod secrets;
mod service;
mod service_validate;
mod small;
mod spot;
mod storage;
mod volume_claims;
mod volume_sources;
mod workload_rules;
mod workloads;

use std::collections::HashMap;
use std::sync::Arc;

use crate::admission::ConfigurationStrategy;
use crate::apiservices;
use crate::crd::CrdStrategy;
use crate::flow::strategy as flow_strategy;
use crate::registry::Strategies;
use crate::strategy::Strategy;

pub(crate) use address_claims::{Choice, claim as claim_addresses};
pub(crate) use binding::bind;
pub(crate) use eviction::evict;

/// The server's own strategies. `service_cidr` is the range of Service addresses.
pub(crate) fn builtin(service_cidr: &str) -> Result<Strategies, String> {
    let range = address::Range::parse(service_cidr)?;
    let rbac = "rbac.authorization.k8s.io";
    let admission = "admissionregistration.k8s.io";
    let flow = "flowcontrol.apiserver.k8s.io";
    let list: Vec<(&str, &str, Arc<dyn Strategy>)> = vec![
        ("", "namespaces", Arc::new(namespace::Namespace)),
        ("", "pods", Arc::new(pod::Pod)),
        ("", "services", Arc::new(service::Service { range })),
        ("", "configmaps", Arc::new(secrets::ConfigMap)),
        ("", "secrets", Arc::new(secrets::Secret)),
        ("", "persistentvolumeclaims", Arc::new(volume_claims::Claim)),
        (
            "",
            "persistentvolumes",
            Arc::new(persistent_volumes::Volume),
        ),
        ("", "nodes", Arc::new(node::Node)),
        ("", "events", Arc::new(events::Event)),
        ("events.k8s.io", "events", Arc::new(events::Event)),
        ("coordination.k8s.io", "leases", Arc::new(small::Lease)),
        ("policy", "poddisruptionbudgets", Arc::new(small::Budget)),
        ("", "endpoints", Arc::new(endpoints::Endpoints)),
        ("batch", "jobs", Arc::new(batch::Job)),
        ("batch", "cronjobs", Arc::new(batch::CronJob)),
        ("networking.k8s.io", "ingresses", Arc::new(ingress::Ingress)),
        (
            "networking.k8s.io",
            "ingressclasses",
            Arc::new(ingress::IngressClass),
        ),
        ("storage.k8s.io", "csidrivers", Arc::new(csi::CsiDriver)),
        ("storage.k8s.io", "csinodes", Arc::new(csi::CsiNode)),
        (
            "storage.k8s.io",
            "csistoragecapacities",
            Arc::new(csi::CsiStorageCapacity),
        ),
        (
            "storage.k8s.io",
            "volumeattachments",
            Arc::new(csi::VolumeAttachment),
        ),
        ("apps", "deployments", Arc::new(workloads::Workload)),
        ("apps", "replicasets", Arc::new(workloads::Workload)),
        ("apps", "statefulsets", Arc::new(workloads::Workload)),
        ("apps", "daemonsets", Arc::new(workloads::Workload)),
        (
            "networking.k8s.io",
            "networkpolicies",
            Arc::new(network_policy::NetworkPolicy),
        ),
        (
            "discovery.k8s.io",
            "endpointslices",
            Arc::new(endpoints::EndpointSlice),
        ),
        (
            "scheduling.k8s.io",
            "priorityclasses",
            Arc::new(small::PriorityClass),
        ),
        (
            "storage.k8s.io",
            "storageclasses",
            Arc::new(storage::StorageClass),
        ),
        (flow, "flowschemas", Arc::new(flow_strategy::FlowSchemas)),
        (
            flow,
            "prioritylevelconfigurations",
            Arc::new(flow_strategy::Levels),
        ),
        (
            admission,
            "validatingadmissionpolicies",
            Arc::new(policies::Policy { mutating: false }),
        ),
        (
            admission,
            "validatingadmissionpolicybindings",
            Arc::new(policies::Binding { mutating: false }),
        ),
        (
            admission,
            "mutatingadmissionpolicies",
            Arc::new(policies::Policy { mutating: true }),
        ),
        (
            admission,
            "mutatingadmissionpolicybindings",
            Arc::new(policies::Binding { mutating: true }),
        ),
        (
            admission,
            "mutatingwebhookconfigurations",
            Arc::new(ConfigurationStrategy { mutating: true }),
        ),
        (
            admission,
            "validatingwebhookconfigurations",
            Arc::new(ConfigurationStrategy { mutating: false }),
        ),
        (
            apiservices::GROUP,
            apiservices::PLURAL,
            Arc::new(apiservices::ApiServices),
        ),
        ("", "resourcequotas", Arc::new(quota::ResourceQuota)),
        ("", "limitranges", Arc::new(limit_range::LimitRange)),
        (rbac, "roles", Arc::new(rbac::Role)),
        (rbac, "clusterroles", Arc::new(rbac::Role)),
        (rbac, "rolebindings", Arc::new(rbac::Binding)),
        (rbac, "clusterrolebindings", Arc::new(rbac::Binding)),
        (crate::crd::GROUP, crate::crd::PLURAL, Arc::new(CrdStrategy)),
    ];
    let mut strategies: Strategies = HashMap::new();
    for (group, resource, strategy) in list {
        strategies
            .entry((group.to_owned(), resource.to_owned()))
            .or_default()
            .push(strategy);
    }
    Ok(strategies)
}

//! Host ports: two Pods of a node cannot have the same.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::{NodeFacts, PodFacts, Reason, resources};

const ANY: &str = "0.0.0.0";

/// A port of the node that a Pod takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    ip: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    fn conflicts(&self, other: &Self) -> bool {
        let same_address = self.ip == other.ip || self.ip == ANY || other.ip == ANY;
        self.port == other.port && self.protocol == other.protocol && same_address
    }
}

pub(crate) fn of_pod(spec: &PodSpec) -> Vec<HostPort> {
    let or = |text: Option<&String>, default: &str| {
        text.filter(|t| !t.is_empty())
            .map_or(default, String::as_str)
            .to_owned()
    };
    let on_host = spec.host_network == Some(true);
    let ports_of = |container: &Container| {
        let ports = container.ports.iter().flatten().filter_map(|port| {
            let number = port
                .host_port
                .filter(|n| *n > 0)
                .or(on_host.then_some(port.container_port))?;
            Some(HostPort {
                ip: or(port.host_ip.as_ref(), ANY),
                protocol: or(port.protocol.as_ref(), "TCP"),
                port: number,
            })
        });
        ports.collect::<Vec<_>>()
    };
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| resources::is_sidecar(c));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(ports_of)
        .collect()
}

pub(crate) fn taken(pod: &PodFacts, node: &NodeFacts) -> Option<Reason> {
    if pod.host_ports.is_empty() {
        return None;
    }
    let mut used = node.pods().iter().flat_map(|p| &p.host_ports);
    used.any(|used| pod.host_ports.iter().any(|wanted| wanted.conflicts(used)))
        .then_some(Reason::HostPorts)
}

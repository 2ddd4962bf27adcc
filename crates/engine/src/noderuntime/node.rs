//! The Node object of this host, and its heartbeat.
//!
//! The Lease in `kube-node-lease` is renewed every ten seconds, as the kubelet does; the Node's
//! status is written when it changes and at least every five minutes.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use reconcile::{
    ReconcileError, ResultExt, create_if_absent, get_opt, set_condition, write_status,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: i32 = 40;
const RENEW: Duration = Duration::from_secs(10);
const STATUS_EVERY: u32 = 30;
/// Pods that one node takes.
const PODS: u32 = 1000;
/// What the host keeps for itself.
const RESERVED_MEMORY: u64 = 256 * 1024 * 1024;

/// What the Node object tells of the host.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    /// Name of the node.
    pub name: String,
    /// Logical processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Bytes of the file system that holds the data directory.
    pub disk: u64,
    /// Version of the platform.
    pub version: String,
    /// Key of the taint that keeps foreign Pods away.
    pub taint: &'static str,
    /// Release of the kernel.
    pub kernel: String,
    /// Pretty name of the operating system.
    pub os_image: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// Boot id of the kernel.
    pub boot_id: String,
}

impl NodeFacts {
    /// Reads them off the host.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn read(
        name: &str,
        data_dir: &std::path::Path,
        version: &str,
        taint: &'static str,
    ) -> std::io::Result<Self> {
        let text = |path: &str| {
            std::fs::read_to_string(path)
                .map(|t| t.trim().to_owned())
                .unwrap_or_default()
        };
        let disk = rustix::fs::statvfs(data_dir)?;
        let os = text("/etc/os-release");
        let pretty = os
            .lines()
            .find_map(|l| l.strip_prefix("PRETTY_NAME="))
            .unwrap_or("Linux")
            .trim_matches('"');
        Ok(Self {
            name: name.to_owned(),
            cpus: host::cpu::facts()?.count,
            memory: host::memory::facts()?.total,
            disk: disk.f_blocks.saturating_mul(disk.f_frsize),
            version: version.to_owned(),
            taint,
            kernel: text("/proc/sys/kernel/osrelease"),
            os_image: pretty.to_owned(),
            machine_id: text("/etc/machine-id"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
        })
    }

    fn resources(&self, memory: u64) -> BTreeMap<String, Quantity> {
        [
            ("cpu", self.cpus.to_string()),
            ("memory", format!("{}Ki", memory / 1024)),
            ("ephemeral-storage", format!("{}Ki", self.disk / 1024)),
            ("pods", PODS.to_string()),
        ]
        .map(|(k, v)| (k.to_owned(), Quantity(v)))
        .into()
    }

    fn node(&self) -> Node {
        let labels = [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
            ("node-role.kubernetes.io/control-plane", ""),
        ];
        Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                taints: Some(vec![Taint {
                    key: self.taint.to_owned(),
                    effect: "NoSchedule".to_owned(),
                    ..Taint::default()
                }]),
                ..NodeSpec::default()
            }),
            status: None,
        }
    }

    fn status(&self, before: NodeStatus, now: Timestamp) -> NodeStatus {
        let mut status = before;
        status.capacity = Some(self.resources(self.memory));
        let allocatable = self.memory.saturating_sub(RESERVED_MEMORY);
        status.allocatable = Some(self.resources(allocatable));
        status.addresses = Some(vec![
            NodeAddress {
                type_: "InternalIP".to_owned(),
                address: "127.0.0.1".to_owned(),
            },
            NodeAddress {
                type_: "Hostname".to_owned(),
                address: self.name.clone(),
            },
        ]);
        status.node_info = Some(NodeSystemInfo {
            architecture: "amd64".to_owned(),
            boot_id: self.boot_id.clone(),
            container_runtime_version: format!("ferrovirt://{}", self.version),
            kernel_version: self.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: self.version.clone(),
            machine_id: self.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: self.os_image.clone(),
            system_uuid: self.machine_id.clone(),
            swap: None,
            running_in_user_namespace: None,
        });
        let conditions = status.conditions.get_or_insert_default();
        let condition = NodeCondition {
            type_: "Ready".to_owned(),
            status: "True".to_owned(),
            reason: Some("NodeRuntimeReady".to_owned()),
            message: Some("the node runtime takes Pods of the platform".to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: None,
        };
        set_condition(conditions, condition, now);
        status
    }
}

/// Makes the Node object, or brings its status up to date.
///
/// # Errors
/// When the API refuses.
pub async fn register(client: &Client, facts: &NodeFacts) -> Result<Node, ReconcileError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = create_if_absent(&nodes, &facts.node()).await?;
    let mut new = node.clone();
    let before = new.status.take().unwrap_or_default();
    new.status = Some(facts.status(before, Timestamp::now()));
    write_status(&nodes, &new, node.status.as_ref(), new.status.as_ref()).await?;
    Ok(node)
}

async fn renew(client: &Client, node: &Node) -> Result<(), ReconcileError> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    let name = node.name_any();
    let now = MicroTime(Timestamp::now());
    if get_opt(&leases, &name).await?.is_some() {
        let patch = serde_json::json!({"spec": {"renewTime": now}});
        return leases
            .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(|_| ())
            .doing(|| format!("renewing the Lease of node {name}"));
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(LEASE_NAMESPACE.to_owned()),
            owner_references: node.owner_ref(&()).map(|r| vec![r]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    create_if_absent(&leases, &lease).await.map(|_| ())
}

/// Keeps Lease and status fresh until cancelled.
pub async fn heartbeat(client: Client, facts: NodeFacts, cancel: CancellationToken) {
    let mut beat: u32 = 0;
    let mut interval = tokio::time::interval(RENEW);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = interval.tick() => {}
        }
        let outcome = async {
            let nodes: Api<Node> = Api::all(client.clone());
            let node = match get_opt(&nodes, &facts.name).await? {
                Some(node) if !beat.is_multiple_of(STATUS_EVERY) => node,
                _ => register(&client, &facts).await?,
            };
            renew(&client, &node).await
        };
        match outcome.await {
            Ok(()) => beat = beat.wrapping_add(1),
            Err(error) if error.is_conflict() => {}
            Err(error) => warn!("{}", error.chain()),
        }
    }
}

//! The node runtime: runs the Pods of the platform's own workloads on this host, as processes.
//!
//! ```text
//!             volumes there, image ours     spawned                 ended
//!   Pod bound ────────────────────► prepared ──────► running ──────────────► ended ─► torn down
//!      │ waits, and says for what                     │    ▲ restart policy     │
//!      └────────────────────────                      └────┴────────────────────┘
//!   deletion: SIGTERM ─► grace period ─► SIGKILL ─► torn down ─► directory removed ─► object gone
//! ```
//!
//! A Pod's directory, `pods/<uid>/`:
//!
//! | name | owner | what |
//! |---|---|---|
//! | `runtime.json` | root | what was started ([`record`]): enough to find it again after a restart |
//! | `logs/<container>.log` | root | standard output and error |
//! | `netns` | root | the network namespace |
//! | `volumes/<name>` | root | links to the volumes |
//! | `prepared/` | root | what the node agent puts there for the workload |
//! | `work/` | the workload | its working directory |
//!
//! Invariants:
//! - A process is in its cgroup before its first instruction; what the cgroup holds is what the Pod
//!   still runs, whoever started it and whether or not we were alive.
//! - Our death changes nothing for a Pod. After a restart its processes are found by identity
//!   (pid and start time), never by pid alone.
//! - A main process that is gone while its cgroup is not empty is started again: it adopts what it
//!   left behind (a launcher its QEMU). This is independent of the restart policy, which speaks of
//!   the workload.
//! - Nothing is removed before every process of the Pod is gone.
//! - A Pod that the API does not know is removed only if it was started for the very store that the API has now. An
//!   emptied or restored store, or another one, knows nothing of what runs here: that goes on, and is reported ([`sweep`]).
//!
//! Mirror Pods ([`is_mirror`]) stand for what runs elsewhere: it leaves them to whoever made them.
//!
//! What it refuses, with a clear condition: foreign images, init containers, more than one process
//! per Pod, and kinds of volumes other than claims, empty directories, ConfigMaps and Secrets.

mod exits;
pub mod logs;
mod mirror;
mod node;
mod plan;
mod record;
mod sandbox;
mod status;
mod sweep;
mod sync;
mod volumes;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use kube::runtime::{Controller, watcher};
use reconcile::Recorder;
use tokio_util::sync::CancellationToken;

pub use mirror::{CONFIG_HASH, CONFIG_MIRROR, CONFIG_SOURCE, is_mirror};
pub use node::{NodeFacts, heartbeat, register};

/// Name of the container that stands for the guest's serial console log. It has no process here.
pub const CONSOLE_LOG: &str = "guest-console-log";

/// What the node runtime needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this node.
    pub node: String,
    /// The identity of the store behind the API, by which Pods of another past are told apart.
    pub store: String,
    /// The data directory: Pods are in `pods/` of it.
    pub data_dir: PathBuf,
    /// The platform's image: the only one that runs here.
    pub image: String,
    /// User and group that workloads run as.
    pub user: (u32, u32),
    /// The executable that runs for the platform's image.
    pub executable: PathBuf,
    /// The verbs of it that a Pod may name.
    pub verbs: &'static [&'static str],
}

impl Config {
    /// The directory that holds one directory per Pod.
    #[must_use]
    pub fn pods_dir(&self) -> PathBuf {
        self.data_dir.join("pods")
    }

    /// A Pod's directory.
    #[must_use]
    pub fn pod_dir(&self, uid: &str) -> PodDir {
        pod_dir(&self.data_dir, uid)
    }
}

/// A Pod's directory below a data directory.
#[must_use]
pub fn pod_dir(data_dir: &Path, uid: &str) -> PodDir {
    PodDir(data_dir.join("pods").join(uid))
}

/// A Pod's directory, and the names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDir(PathBuf);

impl PodDir {
    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The workload's working directory.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// What root prepares for the workload.
    #[must_use]
    pub fn prepared(&self) -> PathBuf {
        self.0.join("prepared")
    }

    /// The links to its volumes.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
    }

    fn netns(&self) -> PathBuf {
        self.0.join("netns")
    }

    fn log(&self, container: &str) -> PathBuf {
        self.0.join("logs").join(format!("{container}.log"))
    }
}

/// Runs until cancelled. Pods go on running afterwards.
pub async fn run(client: Client, config: Config, cancel: CancellationToken) {
    let config = Arc::new(config);
    let (exits, exited) = exits::channel();
    let mine = watcher::Config::default().fields(&format!("spec.nodeName={}", config.node));
    let controller = Controller::new(Api::<Pod>::all(client.clone()), mine)
        .reconcile_on(exited)
        .graceful_shutdown_on({
            let cancel = cancel.clone();
            async move { cancel.cancelled().await }
        });
    let pods = sync::Pods::new(
        client.clone(),
        config.clone(),
        exits,
        Recorder::new(client.clone(), "node-runtime"),
    );
    tokio::select! {
        () = cancel.cancelled() => {}
        () = sweep::run(client, config) => {}
        () = reconcile::run(pods, controller) => {}
    }
}

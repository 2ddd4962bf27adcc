//! The node agent (KubeVirt's virt-handler): takes the VMIs of this node from `Scheduled` to
//! `Running`, and tells what their launchers tell.
//!
//! ```text
//!  probe KVM, ask QEMU ─► labels of the Node          (once, before anything is scheduled here)
//!
//!  VMI Scheduled ─► prepare disks ─► MachineSpec ─► launcher.sock: Start
//!       ▲                                              │
//!       └── status: phase, conditions ◄── plan ◄── LauncherState (watched)
//! ```
//!
//! Invariants:
//! - The agent alone writes a VMI's status while it is `Scheduled` or `Running`; the controller has it
//!   before and after.
//! - It keeps nothing in memory that it cannot find again: the launcher knows what runs, the API what
//!   should. Killed at any point and started again, it goes on where it was.
//! - What root makes for a guest lies in a directory that only root can write ([`prepare`]); nothing
//!   there is ever opened through a path that the guest's user controls.
//! - A disk image is raw or what the platform itself has written; its format is never guessed from
//!   its content, which a guest can choose.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::needless_pass_by_value,
        reason = "tests fail by panicking, and their makers take `json!` as it is"
    )
)]

mod agent;
mod capabilities;
mod plan;
pub mod preflight;
pub mod prepare;
mod question;
mod volumes;
mod wake;

use std::path::{Component, Path, PathBuf};

pub use agent::run;
pub use capabilities::{Capabilities, discover, keep_current, publish, retire};

/// What the agent needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this node.
    pub node: String,
    /// Where Pods are: `<uid>/work`, `<uid>/prepared` and `<uid>/volumes` below it.
    pub pods_dir: PathBuf,
    /// Labels and annotations of the Node that this agent writes.
    pub labels: NodeLabels,
    /// User and group that launchers run as.
    pub user: (u32, u32),
}

/// Names of the labels that tell what a node can do; the controllers read them.
#[derive(Debug, Clone, Copy)]
pub struct NodeLabels {
    /// Whether VMs may be scheduled here.
    pub schedulable: &'static str,
    /// Whether KVM passed the probe.
    pub kvm: &'static str,
    /// Annotation: what the probe found, in a sentence.
    pub finding: &'static str,
}

/// Whether a name from the API is one plain component of a path.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(part)), None) if part == name
    )
}

/// The directories of one launcher Pod.
#[derive(Debug, Clone)]
pub(crate) struct PodPaths(PathBuf);

impl PodPaths {
    /// Nothing for a UID that is no plain name: whoever may write a VMI's status must not choose paths.
    pub(crate) fn new(pods_dir: &Path, uid: &str) -> Option<Self> {
        is_plain(uid).then(|| Self(pods_dir.join(uid)))
    }

    /// The launcher's own directory: its sockets and its state.
    pub(crate) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// What root makes for it.
    pub(crate) fn prepared(&self) -> PathBuf {
        self.0.join("prepared")
    }

    /// A file on one of its volumes.
    pub(crate) fn on_volume(&self, volume: &str, name: &str) -> PathBuf {
        self.0.join("volumes").join(volume).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_paths() {
        assert!(is_plain("7edfb823-b54f-44b5-806e-675d92eccf5e"));
        for odd in ["", ".", "..", "/etc", "a/b", "a/", "./a"] {
            assert!(!is_plain(odd), "{odd:?}");
            assert!(PodPaths::new(Path::new("/pods"), odd).is_none());
        }
    }
}

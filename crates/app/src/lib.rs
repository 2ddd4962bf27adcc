//! Composition: builds a running system from its command line.
//!
//! ```text
//!  ferrovirt up ─► data directory, store, CA ─► API server ─► client of it, in this process
//!                                                   │              │
//!                                    TLS listener ──┘              ├─ engine: garbage, namespaces, scheduler, volumes, node runtime
//!                                                                  └─ components: VMRuntime, preflight checks; VM, VMI, DataVolume, node agent while it is on
//!  ferrovirt launcher | importer | guest-console-log ─► one workload, in its Pod
//!  ferrovirt backup | restore | check-store ─► the store in a file, and back
//!  everything else ─► crate `cli`
//! ```
//!
//! This crate alone names both sides: what is special about the platform's kinds enters the API
//! server here, as strategies ([`admission`]) and subresources ([`subresources`]).
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests fail by panicking"))]

mod admission;
mod aggregation_options;
mod args;
mod backup;
mod components;
mod control_plane;
mod data_dir;
mod instance;
mod kubeconfig;
mod leading;
mod oidc_options;
mod platform;
mod preflight_gate;
mod request_options;
mod sealing_options;
mod store_error;
mod subresources;
mod up;
mod workload;

use std::process::ExitCode;

/// The entry point: `argv[0]` selects the verbs (`virtctl`, `kubectl-virt`, `bmctl`, else all).
#[must_use]
pub fn main() -> ExitCode {
    args::main()
}

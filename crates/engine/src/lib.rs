//! The engine: the part of Kubernetes that VMs need, beside the API server.
//!
//! | module | what it does | on a real cluster |
//! |---|---|---|
//! | [`resources`] | which kinds the API serves now | kube-controller-manager |
//! | [`events`] | expiry of Events | kube-apiserver |
//! | [`garbage`] | deletion by owner references | kube-controller-manager |
//! | [`namespaces`] | empties terminating namespaces | kube-controller-manager |
//! | [`noderuntime`] | runs the platform's own Pods as processes; the Node and its Lease | kubelet, containerd |
//! | [`provisioner`] | StorageClass, PVC binding, volumes on local directories | CSI |
//! | [`scheduler`] | binds Pods to nodes | kube-scheduler |
//! | [`service_accounts`] | the account `default` and the CA in every namespace | kube-controller-manager |
//!
//! Every part holds a [`kube::Client`] and nothing else of the control plane: none can tell whether
//! its API server is in this process.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::needless_pass_by_value,
        reason = "tests fail by panicking, and their makers take `json!` as it is"
    )
)]

pub mod election;
pub mod events;
pub mod garbage;
pub mod namespaces;
pub mod noderuntime;
pub mod provisioner;
pub mod resources;
pub mod scheduler;
pub mod service_accounts;

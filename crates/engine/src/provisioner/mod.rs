//! Volumes on local directories: one StorageClass, PersistentVolumes made for claims, and removed
//! after them.
//!
//! ```text
//! claim Pending ─► PV (claimRef) ─► directory ─► claim.spec.volumeName ─► claim Bound
//! claim gone    ─► PV Released   ─► directory removed ─► PV finalizer removed ─► gone
//! ```
//!
//! Invariants:
//! - The PV is written before its directory exists and goes after it, so a crash between two steps
//!   never leaves a directory that nobody knows of.
//! - A claim that a live Pod uses stays until the Pod has ended (`kubernetes.io/pvc-protection`).
//! - A claim that waits says why, in an Event.
//!
//! Not here yet: block volumes, expansion, snapshots, quota on the directory (the disk image in it
//! is made with the size of the claim).

pub(crate) use plan::{claim_names, claimed_by};

mod claims;
mod plan;
mod volumes;

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Client, ResourceExt};
use reconcile::{ReconcileError, Recorder, create_if_absent};
use tokio_util::sync::CancellationToken;

/// The provisioner's name, as StorageClasses give it.
pub const PROVISIONER: &str = "local.ferrovirt.io";
/// The StorageClass that exists from the start, and is the default.
pub const DEFAULT_CLASS: &str = "local";
/// Marks the default class (upstream's annotation).
pub const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// Where volumes are, and for whom.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory that holds one directory per volume.
    pub root: PathBuf,
    /// This node: its volumes can be used here only.
    pub node: String,
    /// User and group that the platform's Pods run as.
    pub owner: (u32, u32),
}

/// Makes the default StorageClass, if it is not there.
pub async fn ensure_class(client: &Client) -> Result<(), ReconcileError> {
    let class = StorageClass {
        metadata: ObjectMeta {
            name: Some(DEFAULT_CLASS.to_owned()),
            annotations: Some([(IS_DEFAULT.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        provisioner: PROVISIONER.to_owned(),
        reclaim_policy: Some("Delete".to_owned()),
        volume_binding_mode: Some("Immediate".to_owned()),
        allow_volume_expansion: Some(false),
        ..StorageClass::default()
    };
    create_if_absent(&Api::all(client.clone()), &class).await?;
    Ok(())
}

/// Runs until cancelled.
pub async fn run(client: Client, config: Config, cancel: CancellationToken) {
    let claims = Controller::new(
        Api::<PersistentVolumeClaim>::all(client.clone()),
        watcher::Config::default(),
    )
    .watches(
        Api::<PersistentVolume>::all(client.clone()),
        watcher::Config::default(),
        |pv| claim_of(&pv),
    )
    // The end of a Pod frees the claims it used.
    .watches(
        Api::<Pod>::all(client.clone()),
        watcher::Config::default(),
        |pod| claims_of(&pod),
    )
    .graceful_shutdown_on({
        let cancel = cancel.clone();
        async move { cancel.cancelled().await }
    });
    let volumes = Controller::new(
        Api::<PersistentVolume>::all(client.clone()),
        watcher::Config::default(),
    )
    .watches(
        Api::<PersistentVolumeClaim>::all(client.clone()),
        watcher::Config::default(),
        |claim| {
            claim
                .spec
                .and_then(|s| s.volume_name)
                .map(|name| ObjectRef::<PersistentVolume>::new(&name))
        },
    )
    .graceful_shutdown_on(async move { cancel.cancelled().await });
    let recorder = Recorder::new(client.clone(), "persistentvolume-controller");
    tokio::join!(
        reconcile::run(
            claims::Claims::new(client.clone(), config.clone(), recorder),
            claims
        ),
        reconcile::run(volumes::Volumes::new(client, config), volumes),
    );
}

fn claim_of(pv: &PersistentVolume) -> Option<ObjectRef<PersistentVolumeClaim>> {
    let claim = pv.spec.as_ref()?.claim_ref.as_ref()?;
    Some(ObjectRef::new(claim.name.as_deref()?).within(claim.namespace.as_deref()?))
}

fn claims_of(pod: &Pod) -> Vec<ObjectRef<PersistentVolumeClaim>> {
    let Some(namespace) = pod.namespace() else {
        return Vec::new();
    };
    claim_names(pod)
        .map(|name| ObjectRef::new(name).within(&namespace))
        .collect()
}

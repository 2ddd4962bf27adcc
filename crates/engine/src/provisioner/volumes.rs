//! The volume side: phases, and removal after the claim.

use std::path::{Component, Path};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::Api;
use kube::{Client, ResourceExt};
use reconcile::{
    Next, ReconcileError, Reconciler, delete_if_present, get_opt, remove_finalizer, write_status,
};

use super::Config;
use super::plan::{self, VOLUME_FINALIZER, VOLUME_PROTECTION, VolumePlan};

pub(super) struct Volumes {
    client: Client,
    config: Config,
}

pub(super) struct Observed {
    volume: Arc<PersistentVolume>,
    claim_lives: bool,
    here: bool,
}

impl Volumes {
    pub(super) fn new(client: Client, config: Config) -> Self {
        Self { client, config }
    }

    async fn claim_lives(&self, volume: &PersistentVolume) -> Result<bool, ReconcileError> {
        let reference = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
        let Some((namespace, name)) =
            reference.and_then(|r| Some((r.namespace.as_deref()?, r.name.as_deref()?)))
        else {
            return Ok(false);
        };
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let claim = get_opt(&api, name).await?;
        Ok(claim.is_some_and(|c| plan::claimed_by(volume, &c)))
    }

    async fn remove_directory(&self, name: &str) -> Result<(), ReconcileError> {
        // The name comes from the API: only a plain child of our root is ever removed.
        let mut parts = Path::new(name).components();
        let plain = matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none();
        let path = self.config.root.join(name);
        let doing = || format!("removing the directory {}", path.display());
        if !plain {
            return Err(ReconcileError::other(doing(), "not a volume of this node"));
        }
        match tokio::fs::remove_dir_all(&path).await {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(ReconcileError::other(doing(), e)),
        }
    }
}

impl Reconciler for Volumes {
    type Object = PersistentVolume;
    type Observed = Observed;
    type Plan = VolumePlan;
    const NAME: &'static str = "persistentvolume-binder";

    async fn observe(&self, volume: Arc<PersistentVolume>) -> Result<Observed, ReconcileError> {
        Ok(Observed {
            claim_lives: self.claim_lives(&volume).await?,
            here: plan::is_here(&volume, &self.config.node),
            volume,
        })
    }

    fn plan(observed: &Observed, _now: Timestamp) -> VolumePlan {
        if !observed.here {
            return VolumePlan::Nothing;
        }
        plan::volume(&observed.volume, observed.claim_lives)
    }

    async fn apply(&self, observed: Observed, plan: VolumePlan) -> Result<Next, ReconcileError> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let volume = observed.volume.as_ref();
        match plan {
            VolumePlan::Nothing => {}
            VolumePlan::Phase(phase) => {
                let mut new = volume.clone();
                new.status.get_or_insert_default().phase = Some(phase.to_owned());
                write_status(&api, &new, volume.status.as_ref(), new.status.as_ref()).await?;
            }
            VolumePlan::Reclaim | VolumePlan::LetGo => {
                if plan == VolumePlan::Reclaim {
                    self.remove_directory(&volume.name_any()).await?;
                    delete_if_present(&api, volume).await?;
                }
                for finalizer in [VOLUME_FINALIZER, VOLUME_PROTECTION] {
                    // Read again each time: every write changes the version.
                    if let Some(now) = get_opt(&api, &volume.name_any()).await? {
                        remove_finalizer(&api, &now, finalizer).await?;
                    }
                }
            }
        }
        Ok(Next::Change)
    }
}

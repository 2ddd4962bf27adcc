//! The claim side: make, bind, protect, release.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use reconcile::{
    EventKind, Next, ReconcileError, Reconciler, Recorder, ResultExt, add_finalizer,
    create_if_absent, get_opt, remove_finalizer, write_status,
};

use super::Config;
use super::plan::{self, CLAIM_PROTECTION, ClaimFacts, ClaimPlan};

pub(super) struct Claims {
    client: Client,
    config: Config,
    recorder: Recorder,
}

pub(super) struct Observed {
    claim: Arc<PersistentVolumeClaim>,
    classes: Vec<StorageClass>,
    volume: Option<PersistentVolume>,
    users: Vec<String>,
}

impl Claims {
    pub(super) fn new(client: Client, config: Config, recorder: Recorder) -> Self {
        Self {
            client,
            config,
            recorder,
        }
    }

    fn api(&self, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &claim.namespace().unwrap_or_default())
    }

    async fn users(&self, claim: &PersistentVolumeClaim) -> Result<Vec<String>, ReconcileError> {
        let namespace = claim.namespace().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let name = claim.name_any();
        let all = pods
            .list(&ListParams::default())
            .await
            .doing(|| format!("listing the Pods that use claim {namespace}/{name}"))?;
        Ok(all
            .iter()
            .filter(|p| plan::uses_volumes(p) && plan::claim_names(p).any(|c| c == name))
            .map(ResourceExt::name_any)
            .collect())
    }

    /// The PV, then its directory, then the claim: see the order in the module's documentation. `false` if the PV is
    /// another node's.
    async fn provision(
        &self,
        claim: &PersistentVolumeClaim,
        class: &StorageClass,
        name: &str,
    ) -> Result<bool, ReconcileError> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let wanted = plan::volume_for(claim, class, name, &self.config);
        let volume = create_if_absent(&volumes, &wanted).await?;
        if !plan::claimed_by(&volume, claim) {
            return Err(ReconcileError::other(
                format!("making PersistentVolume {name}"),
                "a volume of that name is reserved for another claim",
            ));
        }
        if !plan::is_here(&volume, &self.config.node) {
            return Ok(false); // Another node was quicker; its provisioner goes on.
        }
        self.make_directory(name)?;
        let mut bound = claim.clone();
        bound.spec.get_or_insert_default().volume_name = Some(name.to_owned());
        self.api(claim)
            .replace(&claim.name_any(), &PostParams::default(), &bound)
            .await
            .doing(|| format!("binding claim {} to {name}", claim.name_any()))?;
        Ok(true)
    }

    fn make_directory(&self, name: &str) -> Result<(), ReconcileError> {
        let path = self.config.root.join(name);
        let doing = || format!("making the directory {}", path.display());
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(ReconcileError::other(doing(), e)),
        }
        let (uid, gid) = self.config.owner;
        std::os::unix::fs::chown(&path, Some(uid), Some(gid))
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)))
            .map_err(|e| ReconcileError::other(doing(), e))
    }

    async fn say_bound(
        &self,
        claim: &PersistentVolumeClaim,
        volume: Option<&PersistentVolume>,
    ) -> Result<(), ReconcileError> {
        let mut new = claim.clone();
        let spec = volume.and_then(|v| v.spec.as_ref());
        let status = new.status.get_or_insert_default();
        status.phase = Some("Bound".to_owned());
        status.access_modes = spec.and_then(|s| s.access_modes.clone());
        status.capacity = spec.and_then(|s| s.capacity.clone());
        write_status(
            &self.api(claim),
            &new,
            claim.status.as_ref(),
            new.status.as_ref(),
        )
        .await
    }
}

impl Reconciler for Claims {
    type Object = PersistentVolumeClaim;
    type Observed = Observed;
    type Plan = ClaimPlan;
    const NAME: &'static str = "persistentvolumeclaim-binder";

    async fn observe(&self, claim: Arc<PersistentVolumeClaim>) -> Result<Observed, ReconcileError> {
        let name = claim.spec.as_ref().and_then(|s| s.volume_name.clone());
        let volume = match name.filter(|n| !n.is_empty()) {
            Some(name) => get_opt(&Api::all(self.client.clone()), &name).await?,
            None => None,
        };
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        let classes = classes
            .list(&ListParams::default())
            .await
            .doing(|| "listing StorageClasses".to_owned())?
            .items;
        let users = if claim.metadata.deletion_timestamp.is_some() {
            self.users(&claim).await?
        } else {
            Vec::new()
        };
        Ok(Observed {
            claim,
            classes,
            volume,
            users,
        })
    }

    fn plan(observed: &Observed, _now: Timestamp) -> ClaimPlan {
        plan::claim(&ClaimFacts {
            claim: &observed.claim,
            classes: &observed.classes,
            volume: observed.volume.as_ref(),
            users: &observed.users,
        })
    }

    async fn apply(&self, observed: Observed, plan: ClaimPlan) -> Result<Next, ReconcileError> {
        let claim = observed.claim.as_ref();
        match plan {
            ClaimPlan::Nothing => {}
            ClaimPlan::Protect => add_finalizer(&self.api(claim), claim, CLAIM_PROTECTION).await?,
            ClaimPlan::Provision { class, volume } => {
                let class = observed.classes.iter().find(|c| c.name_any() == class);
                if let Some(class) = class
                    && self.provision(claim, class, &volume).await?
                {
                    self.recorder
                        .publish(
                            claim,
                            EventKind::Normal,
                            "ProvisioningSucceeded",
                            &format!("Successfully provisioned volume {volume}"),
                        )
                        .await;
                }
            }
            ClaimPlan::Bind { .. } => self.say_bound(claim, observed.volume.as_ref()).await?,
            ClaimPlan::Keep { users } => {
                let message = format!("the claim is used by Pods: {}", users.join(", "));
                self.recorder
                    .publish(claim, EventKind::Normal, "InUse", &message)
                    .await;
            }
            ClaimPlan::Release => {
                remove_finalizer(&self.api(claim), claim, CLAIM_PROTECTION).await?;
            }
            ClaimPlan::Refuse { message } => {
                self.recorder
                    .publish(claim, EventKind::Warning, "ProvisioningFailed", &message)
                    .await;
                // A class or volume may appear later; neither is watched per claim.
                return Ok(Next::After(std::time::Duration::from_secs(15)));
            }
        }
        Ok(Next::Change)
    }
}

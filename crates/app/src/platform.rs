//! What a platform has from the start: its kinds, its switch, its StorageClass, its namespace.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use reconcile::{ReconcileError, ResultExt, create_if_absent, get_opt};

/// Whom the platform's components are, to the API server.
pub(crate) const USER: &str = "system:ferrovirt";
/// How long a kind may take to be served.
const ESTABLISH: Duration = Duration::from_secs(10);
/// Attempts to install a kind that others install too.
const INSTALL_ATTEMPTS: usize = 10;

/// Makes all of it; what is there is brought up to date or left alone.
pub(crate) async fn install(client: &Client) -> anyhow::Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let all = api::crds::crds();
    for crd in &all {
        install_crd(&crds, crd)
            .await
            .with_context(|| format!("installing the kind {}", crd.spec.names.kind))?;
    }
    let established = async {
        for crd in &all {
            let is_established = kube::runtime::conditions::is_crd_established();
            kube::runtime::wait::await_condition(crds.clone(), &crd.name_any(), is_established)
                .await?;
        }
        Ok::<_, kube::runtime::wait::Error>(())
    };
    tokio::time::timeout(ESTABLISH, established)
        .await
        .context("waiting for the platform's kinds to be served")??;
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(api::vmruntime::NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    create_if_absent(&Api::all(client.clone()), &namespace).await?;
    engine::provisioner::ensure_class(client).await?;
    controllers::vmruntime::ensure(client).await?;
    Ok(())
}

/// Creates a kind, or replaces its definition when this version has another one.
async fn install_crd(
    crds: &Api<CustomResourceDefinition>,
    wanted: &CustomResourceDefinition,
) -> anyhow::Result<()> {
    // Another replica may do the same at this moment.
    for _ in 0..INSTALL_ATTEMPTS {
        match try_install(crds, wanted).await {
            Err(error) if error.is_conflict() => {}
            outcome => return Ok(outcome?),
        }
    }
    anyhow::bail!("it was changed by somebody else every time")
}

async fn try_install(
    crds: &Api<CustomResourceDefinition>,
    wanted: &CustomResourceDefinition,
) -> Result<(), ReconcileError> {
    let name = wanted.name_any();
    let Some(mut existing) = get_opt(crds, &name).await? else {
        // Should another version have made it just now, the next start of this one replaces it.
        return create_if_absent(crds, wanted).await.map(|_| ());
    };
    if same_spec(&existing, wanted) {
        return Ok(());
    }
    existing.spec = wanted.spec.clone();
    existing.status = None;
    crds.replace(&name, &PostParams::default(), &existing)
        .await
        .map(|_| ())
        .doing(|| format!("replacing {name}"))
}

fn same_spec(one: &CustomResourceDefinition, other: &CustomResourceDefinition) -> bool {
    let value = |crd: &CustomResourceDefinition| serde_json::to_value(&crd.spec).ok();
    value(one) == value(other)
}

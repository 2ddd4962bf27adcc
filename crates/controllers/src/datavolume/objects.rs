//! The claim and the importer Pod of a DataVolume. Pure.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EnvVar, EnvVarSource, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, Pod, PodSpec, SecretKeySelector,
    Volume, VolumeMount, VolumeResourceRequirements,
};
use kube::ResourceExt;
use kube::api::ObjectMeta;

use crate::workload::{IMAGE, container_security, pod_name, pod_security, toleration};
use api::cdi::DataVolume;
use reconcile::controlled_by;

/// Selects importer Pods.
pub(super) const IMPORTER_SELECTOR: &str = "cdi.kubevirt.io=importer";
/// Name of the volume that is filled, in the Pod.
const DATA: &str = "cdi-data-vol";
/// Name of the volume with certificates, in the Pod.
const CERTS: &str = "cdi-cert-vol";

/// Name of the importer Pod.
pub(super) fn importer_name(volume: &str) -> String {
    pod_name("importer", volume, None)
}

/// The claim: what the DataVolume asks for, owned by it. `class` is for those that name none.
pub(super) fn claim(volume: &DataVolume, class: Option<&str>) -> PersistentVolumeClaim {
    let wanted = volume.spec.claim().cloned().unwrap_or_default();
    let access_modes = if wanted.access_modes.is_empty() {
        vec!["ReadWriteOnce".to_owned()]
    } else {
        wanted.access_modes
    };
    let resources = wanted.resources.unwrap_or_default();
    let some = |map: std::collections::BTreeMap<_, _>| (!map.is_empty()).then_some(map);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(volume.name_any()),
            namespace: volume.namespace(),
            labels: Some([("app".to_owned(), "containerized-data-importer".to_owned())].into()),
            annotations: Some(
                [(
                    "cdi.kubevirt.io/storage.contentType".to_owned(),
                    "kubevirt".to_owned(),
                )]
                .into(),
            ),
            owner_references: Some(vec![controlled_by(volume)]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(access_modes),
            volume_mode: wanted.volume_mode,
            storage_class_name: wanted
                .storage_class_name
                .or_else(|| class.map(str::to_owned)),
            volume_name: wanted.volume_name,
            selector: wanted.selector,
            resources: Some(VolumeResourceRequirements {
                requests: some(resources.requests),
                limits: some(resources.limits),
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// The importer Pod. It fills `disk.img` of the claim, and speaks through its log and its
/// termination message.
///
/// It uses the host's network until Pods have one of their own.
pub(super) fn importer(volume: &DataVolume) -> Pod {
    let size = volume
        .spec
        .claim()
        .and_then(|c| c.size())
        .map(|q| q.0.clone())
        .unwrap_or_default();
    let mut env = vec![plain("IMPORTER_IMAGE_SIZE", &size)];
    let mut volumes = vec![Volume {
        name: DATA.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: volume.name_any(),
            read_only: None,
        }),
        ..Volume::default()
    }];
    let mut mounts = vec![mount(DATA, "/data")];
    let http = volume.spec.source.as_ref().and_then(|s| s.http.as_ref());
    match http {
        None => env.push(plain("IMPORTER_SOURCE", "none")),
        Some(http) => {
            env.push(plain("IMPORTER_SOURCE", "http"));
            env.push(plain("IMPORTER_ENDPOINT", &http.url));
            if let Some(secret) = &http.secret_ref {
                env.push(from_secret("IMPORTER_ACCESS_KEY_ID", secret, "accessKeyId"));
                env.push(from_secret("IMPORTER_SECRET_KEY", secret, "secretKey"));
            }
            if let Some(map) = &http.cert_config_map {
                env.push(plain("IMPORTER_CERT_DIR", CERTS));
                volumes.push(Volume {
                    name: CERTS.to_owned(),
                    config_map: Some(ConfigMapVolumeSource {
                        name: map.clone(),
                        ..ConfigMapVolumeSource::default()
                    }),
                    ..Volume::default()
                });
                mounts.push(mount(CERTS, "/certs"));
            }
        }
    }
    Pod {
        metadata: ObjectMeta {
            name: Some(importer_name(&volume.name_any())),
            namespace: volume.namespace(),
            labels: Some(
                [
                    ("app".to_owned(), "containerized-data-importer".to_owned()),
                    ("cdi.kubevirt.io".to_owned(), "importer".to_owned()),
                ]
                .into(),
            ),
            owner_references: Some(vec![controlled_by(volume)]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            restart_policy: Some("OnFailure".to_owned()),
            host_network: Some(true),
            automount_service_account_token: Some(false),
            termination_grace_period_seconds: Some(5),
            security_context: Some(pod_security()),
            tolerations: Some(vec![toleration()]),
            containers: vec![Container {
                name: "importer".to_owned(),
                image: Some(IMAGE.to_owned()),
                command: Some(vec!["ferrovirt".to_owned(), "importer".to_owned()]),
                env: Some(env),
                volume_mounts: Some(mounts),
                security_context: Some(container_security()),
                ..Container::default()
            }],
            volumes: Some(volumes),
            ..PodSpec::default()
        }),
        status: None,
    }
}

fn plain(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    }
}

fn from_secret(name: &str, secret: &str, key: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.to_owned(),
                key: key.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

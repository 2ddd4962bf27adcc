//! What a Pod refers to: claims, ConfigMaps, Secrets. Reads the API, writes nothing.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    ConfigMap, EnvVar, PersistentVolume, PersistentVolumeClaim, Pod, Secret,
};
use kube::api::Api;
use kube::{Client, ResourceExt};
use reconcile::{ReconcileError, get_opt};

use super::plan::{Waiting, main_container};
use crate::provisioner::claimed_by;

/// A Pod's volumes and environment, ready to be made.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Links to directories that exist.
    pub links: Vec<Link>,
    /// Empty directories.
    pub empty: Vec<String>,
    /// Directories with files.
    pub files: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// The environment.
    pub env: Vec<(String, String)>,
}

/// A link in a Pod's `volumes/`.
#[derive(Debug)]
pub(super) struct Link {
    pub name: String,
    pub target: PathBuf,
}

fn waiting(reason: &'static str, message: String) -> Waiting {
    Waiting { reason, message }
}

/// Looks everything up; the inner error says what is not there yet.
pub(super) async fn resolve(
    client: &Client,
    data_dir: &Path,
    pod: &Pod,
) -> Result<Result<Resolved, Waiting>, ReconcileError> {
    let namespace = pod.namespace().unwrap_or_default();
    let mut resolved = Resolved::default();
    for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        let name = volume.name.clone();
        if let Some(source) = &volume.persistent_volume_claim {
            match claim(client, &namespace, &source.claim_name, data_dir).await? {
                Ok(target) => resolved.links.push(Link { name, target }),
                Err(why) => return Ok(Err(why)),
            }
        } else if volume.empty_dir.is_some() {
            resolved.empty.push(name);
        } else if let Some(source) = &volume.config_map {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
            let map = get_opt(&api, &source.name).await?;
            match (map, source.optional) {
                (Some(map), _) => {
                    let text = map.data.unwrap_or_default().into_iter();
                    let text = text.map(|(k, v)| (k, v.into_bytes()));
                    let binary = map.binary_data.unwrap_or_default().into_iter();
                    let all = text.chain(binary.map(|(k, v)| (k, v.0))).collect();
                    resolved.files.insert(name, all);
                }
                (None, Some(true)) => resolved.empty.push(name),
                (None, _) => {
                    let message = format!("configmap {:?} not found", source.name);
                    return Ok(Err(waiting("FailedMount", message)));
                }
            }
        } else if let Some(source) = &volume.secret {
            let secret_name = source.secret_name.clone().unwrap_or_default();
            let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
            match (get_opt(&api, &secret_name).await?, source.optional) {
                (Some(secret), _) => {
                    let data = secret.data.unwrap_or_default().into_iter();
                    let files = data.map(|(k, v)| (k, v.0)).collect();
                    resolved.files.insert(name, files);
                }
                (None, Some(true)) => resolved.empty.push(name),
                (None, _) => {
                    let message = format!("secret {secret_name:?} not found");
                    return Ok(Err(waiting("FailedMount", message)));
                }
            }
        } else {
            let message = format!(
                "volume {name:?}: only persistentVolumeClaim, emptyDir, configMap and secret volumes can be mounted on this engine"
            );
            return Ok(Err(waiting("UnsupportedVolume", message)));
        }
    }
    for variable in main_container(pod)
        .and_then(|c| c.env.as_ref())
        .into_iter()
        .flatten()
    {
        match variable_value(client, &namespace, variable).await? {
            Ok(Some(value)) => resolved.env.push((variable.name.clone(), value)),
            Ok(None) => {}
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(resolved))
}

async fn claim(
    client: &Client,
    namespace: &str,
    name: &str,
    data_dir: &Path,
) -> Result<Result<PathBuf, Waiting>, ReconcileError> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let Some(claim) = get_opt(&claims, name).await? else {
        let message = format!("persistentvolumeclaim {name:?} not found");
        return Ok(Err(waiting("FailedMount", message)));
    };
    let volume = claim.spec.as_ref().and_then(|s| s.volume_name.clone());
    let Some(volume) = volume.filter(|v| !v.is_empty()) else {
        let message = format!("persistentvolumeclaim {name:?} is not bound");
        return Ok(Err(waiting("FailedMount", message)));
    };
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    // A claim may name any volume, also another namespace's: the volume must name the claim.
    let found = get_opt(&volumes, &volume)
        .await?
        .filter(|v| claimed_by(v, &claim));
    let path = found
        .and_then(|v| v.spec)
        .and_then(|s| s.local)
        .map(|l| PathBuf::from(l.path));
    // Anybody who may write PersistentVolumes may name any path: only our own volumes are mounted.
    let root = data_dir.join("volumes");
    match path.as_deref().and_then(|p| child_of(&root, p)) {
        Some(inside) => {
            // Relative, so that directories above the data directory need not be open to workloads.
            Ok(Ok(Path::new("../../../volumes").join(inside)))
        }
        _ => {
            let message = format!(
                "persistentvolume {volume:?} of claim {name:?} is not a local volume of this node that is reserved for the claim"
            );
            Ok(Err(waiting("FailedMount", message)))
        }
    }
}

/// The name of `path` below `root`, when it is a plain child.
fn child_of<'a>(root: &Path, path: &'a Path) -> Option<&'a Path> {
    let inside = path.strip_prefix(root).ok()?;
    let mut parts = inside.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Some(inside),
        _ => None,
    }
}

async fn variable_value(
    client: &Client,
    namespace: &str,
    variable: &EnvVar,
) -> Result<Result<Option<String>, Waiting>, ReconcileError> {
    let Some(from) = &variable.value_from else {
        return Ok(Ok(variable.value.clone()));
    };
    let Some(reference) = &from.secret_key_ref else {
        let message = format!(
            "environment variable {:?}: only plain values and secretKeyRef are known to this engine",
            variable.name
        );
        return Ok(Err(waiting("CreateContainerConfigError", message)));
    };
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = get_opt(&api, &reference.name).await?;
    let value = secret
        .and_then(|s| s.data)
        .and_then(|mut d| d.remove(&reference.key))
        .and_then(|v| String::from_utf8(v.0).ok());
    Ok(match value {
        Some(value) => Ok(Some(value)),
        None if reference.optional == Some(true) => Ok(None),
        None => Err(waiting(
            "CreateContainerConfigError",
            format!(
                "couldn't find key {} in Secret {namespace}/{}",
                reference.key, reference.name
            ),
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_children_of_the_root_are_volumes() {
        let child = |path| child_of(Path::new("/data/volumes"), Path::new(path));
        assert_eq!(child("/data/volumes/pvc-1"), Some(Path::new("pvc-1")));
        for path in [
            "/data/volumes",
            "/data/volumes/..",
            "/data/volumes/a/b",
            "/data/volumes/a/..",
            "/data/volumesx",
            "/etc",
            "volumes/a",
        ] {
            assert_eq!(child(path), None, "{path}");
        }
    }
}

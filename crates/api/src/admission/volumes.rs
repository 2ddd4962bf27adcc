//! Rules of volumes.

use apimachinery::field::FieldPath;
use apimachinery::name;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::cause::{Cause, named};
use super::hardware::quantity;
use crate::kubevirt::{CloudInitNoCloudSource, Disk, Volume};

/// User data and network data in the object itself, at most; Secrets may hold more.
const MAX_INLINE: usize = 2048;

/// Rules of the volumes of the instance at `path`.
pub(super) fn validate(
    causes: &mut Vec<Cause>,
    volumes: &[Volume],
    disks: &[Disk],
    raw: Option<&Value>,
    path: &FieldPath,
) {
    let list = path.child("volumes");
    for (i, volume) in volumes.iter().enumerate() {
        let field = list.index(i);
        if let Some(first) = volumes[..i].iter().position(|v| v.name == volume.name) {
            causes.push(Cause::invalid(
                field.child("name"),
                format!(
                    "{field} and {} must not have the same Name.",
                    list.index(first)
                ),
            ));
        }
        // The disk of the same name has the same fault and names it already.
        let has_disk = disks.iter().any(|d| d.name == volume.name);
        for wrong in name::dns1123_label(&volume.name) {
            if !has_disk {
                causes.push(Cause::invalid(field.child("name"), wrong));
            }
        }
        // Sources that are not honoured count as well; they have a cause of their own already.
        let sources = raw.and_then(|r| r.get(i)?.as_object()).map(|map| {
            map.iter()
                .filter(|(k, v)| *k != "name" && !v.is_null())
                .count()
        });
        if sources.is_some_and(|n| n != 1) {
            causes.push(Cause::invalid(
                &field,
                format!("{field} must have exactly one source type set"),
            ));
        }
        source(causes, volume, &field);
    }
}

fn source(causes: &mut Vec<Cause>, volume: &Volume, field: &FieldPath) {
    if let Some(source) = &volume.data_volume {
        let path = field.child("dataVolume").child("name");
        named(causes, &path, &source.name, name::dns1123_subdomain);
    }
    if let Some(source) = &volume.persistent_volume_claim {
        let path = field.child("persistentVolumeClaim").child("claimName");
        named(causes, &path, &source.claim_name, name::dns1123_subdomain);
    }
    if let Some(source) = &volume.empty_disk {
        let path = field.child("emptyDisk").child("capacity");
        if let Some(capacity) = quantity(causes, &source.capacity.0, &path)
            && capacity.value() < 1 << 20
        {
            causes.push(Cause::invalid(
                &path,
                format!("{path} '{}' must be at least 1Mi", source.capacity.0),
            ));
        }
    }
    if let Some(source) = &volume.cloud_init_no_cloud {
        cloud_init(causes, source, &field.child("cloudInitNoCloud"));
    }
}

fn cloud_init(causes: &mut Vec<Cause>, source: &CloudInitNoCloudSource, path: &FieldPath) {
    let given = |text: &Option<String>| text.as_deref().is_some_and(|t| !t.is_empty());
    let user = [
        given(&source.user_data),
        given(&source.user_data_base64),
        source.secret_ref.is_some(),
    ];
    let network = [
        given(&source.network_data),
        given(&source.network_data_base64),
        source.network_data_secret_ref.is_some(),
    ];
    let count = |given: [bool; 3]| given.into_iter().filter(|g| *g).count();
    if count(user) > 1 {
        causes.push(Cause::invalid(
            path,
            format!("{path} must have only one userdatasource set."),
        ));
    }
    if count(network) > 1 {
        causes.push(Cause::invalid(
            path,
            format!("{path} must have only one networkdatasource set."),
        ));
    }
    if count(user) + count(network) == 0 {
        causes.push(Cause::invalid(
            path,
            format!("{path} must have at least one userdatasource or one networkdatasource set."),
        ));
    }
    let parts = [
        (
            "userdata",
            "UserDataSecretRef",
            &source.user_data,
            &source.user_data_base64,
            "userDataBase64",
        ),
        (
            "networkdata",
            "NetworkDataSecretRef",
            &source.network_data,
            &source.network_data_base64,
            "networkDataBase64",
        ),
    ];
    for (what, instead, plain, encoded, encoded_name) in parts {
        let mut length = plain.as_ref().map_or(0, String::len);
        if let Some(encoded) = encoded {
            match STANDARD.decode(encoded) {
                Ok(bytes) => length = length.max(bytes.len()),
                Err(_) => {
                    let field = path.child(encoded_name);
                    // The repetition is KubeVirt's.
                    causes.push(Cause::invalid(
                        &field,
                        format!(
                            "{field}.cloudInitNoCloud.{encoded_name} is not a valid base64 value."
                        ),
                    ));
                }
            }
        }
        if length > MAX_INLINE {
            causes.push(Cause::invalid(
                path,
                format!("{path} {what} exceeds {MAX_INLINE} byte limit. Should use {instead} for larger data."),
            ));
        }
    }
    for (reference, name) in [
        (&source.secret_ref, "secretRef"),
        (&source.network_data_secret_ref, "networkDataSecretRef"),
    ] {
        if let Some(reference) = reference {
            let field = path.child(name).child("name");
            named(causes, &field, &reference.name, name::dns1123_subdomain);
        }
    }
}

//! What is behind a VMI's disks on this node, and what has to be made first. Pure.

use api::kubevirt::{CloudInitNoCloudSource, VirtualMachineInstance as Vmi, Volume};
use apimachinery::quantity::Quantity;
use kube::ResourceExt;

/// One volume of a VMI, as the node deals with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// `disk.img` on a volume of the Pod.
    Claim { read_only: bool },
    /// An empty disk of so many bytes, made here.
    Empty { bytes: u64 },
    /// A NoCloud seed, made here.
    Seed(Box<Seed>),
}

/// What goes onto a NoCloud seed, before Secrets are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seed {
    pub meta_data: String,
    pub user_data: Content,
    pub network_data: Option<Content>,
}

/// Text that is given, or a key of a Secret that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Text(String),
    Base64(String),
    Secret { name: String, key: &'static str },
}

/// What is behind a volume.
///
/// # Errors
/// A sentence that names the volume.
pub(crate) fn source(vmi: &Vmi, volume: &Volume) -> Result<Source, String> {
    if volume.data_volume.is_some() {
        return Ok(Source::Claim { read_only: false });
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        return Ok(Source::Claim {
            read_only: claim.read_only == Some(true),
        });
    }
    if let Some(disk) = &volume.empty_disk {
        let text = &disk.capacity.0;
        let bytes = text
            .parse::<Quantity>()
            .ok()
            .and_then(|q| u64::try_from(q.value()).ok())
            .filter(|b| *b > 0);
        return bytes
            .map(|bytes| Source::Empty { bytes })
            .ok_or_else(|| format!("volume {:?}: {text:?} is not a size of a disk", volume.name));
    }
    if let Some(source) = &volume.cloud_init_no_cloud {
        return seed(vmi, volume, source).map(|s| Source::Seed(Box::new(s)));
    }
    Err(format!(
        "volume {:?} has no source that is honoured",
        volume.name
    ))
}

fn seed(vmi: &Vmi, volume: &Volume, source: &CloudInitNoCloudSource) -> Result<Seed, String> {
    let user_data = content(
        source.user_data.as_ref(),
        source.user_data_base64.as_ref(),
        source.secret_ref.as_ref().map(|r| r.name.clone()),
        "userdata",
    )
    .ok_or_else(|| format!("volume {:?} has no user data", volume.name))?;
    let network_data = content(
        source.network_data.as_ref(),
        source.network_data_base64.as_ref(),
        source
            .network_data_secret_ref
            .as_ref()
            .map(|r| r.name.clone()),
        "networkdata",
    );
    let hostname = vmi.spec.hostname.clone().unwrap_or_else(|| vmi.name_any());
    let meta_data = serde_json::json!({
        "instance-id": format!("{}.{}", vmi.name_any(), vmi.namespace().unwrap_or_default()),
        "local-hostname": hostname,
    });
    Ok(Seed {
        meta_data: meta_data.to_string(),
        user_data,
        network_data,
    })
}

fn content(
    text: Option<&String>,
    base64: Option<&String>,
    secret: Option<String>,
    key: &'static str,
) -> Option<Content> {
    match (text, base64, secret) {
        (Some(text), _, _) => Some(Content::Text(text.clone())),
        (_, Some(base64), _) => Some(Content::Base64(base64.clone())),
        (_, _, Some(name)) => Some(Content::Secret { name, key }),
        (None, None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(volume: Value) -> Result<Source, String> {
        let vmi: Vmi = serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "vm1", "namespace": "ns"}, "spec": {"domain": {"devices": {}}}
        }))
        .unwrap();
        source(&vmi, &serde_json::from_value(volume).unwrap())
    }

    #[test]
    fn every_source_is_known_or_named_as_missing() {
        assert_eq!(
            of(json!({"name": "a", "dataVolume": {"name": "x"}})),
            Ok(Source::Claim { read_only: false })
        );
        assert_eq!(
            of(json!({"name": "a", "persistentVolumeClaim": {"claimName": "x", "readOnly": true}})),
            Ok(Source::Claim { read_only: true })
        );
        assert_eq!(
            of(json!({"name": "a", "emptyDisk": {"capacity": "1Gi"}})),
            Ok(Source::Empty { bytes: 1 << 30 })
        );
        assert!(of(json!({"name": "odd"})).unwrap_err().contains("\"odd\""));
        assert!(of(json!({"name": "a", "emptyDisk": {"capacity": "-1"}})).is_err());
    }

    #[test]
    fn a_seed_names_instance_and_host() {
        let Ok(Source::Seed(seed)) =
            of(json!({"name": "c", "cloudInitNoCloud": {"secretRef": {"name": "s"}}}))
        else {
            panic!()
        };
        assert_eq!(
            seed.meta_data,
            r#"{"instance-id":"vm1.ns","local-hostname":"vm1"}"#
        );
        assert_eq!(
            seed.user_data,
            Content::Secret {
                name: "s".into(),
                key: "userdata"
            }
        );
    }
}

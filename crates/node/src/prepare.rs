//! Makes what a guest's disks need on this node: seeds and empty disks, and finds its images.
//!
//! Everything is made under its final name in one step, in a directory that only root can write,
//! and then given to the guest's user; making it twice finds it made.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::Path;

use api::kubevirt::VirtualMachineInstance as Vmi;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use disk::FileError;
use disk::iso9660::{Image, IsoError};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use machine::{DiskBacking, ImageFormat, VolumeFacts};
use reconcile::get_opt;
use thiserror::Error;

use crate::PodPaths;
use crate::volumes::{Content, Seed, Source, source};

/// The image on a volume, as KubeVirt and CDI name it.
const IMAGE: &str = "disk.img";
/// Longest user data or network data on a seed (KubeVirt's limit for Secrets is that of etcd).
const SEED_LIMIT: usize = 1 << 20;

/// Why a guest's disks are not ready. The text goes into the VMI's status.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// The VMI asks for what cannot be had.
    #[error("{0}")]
    Invalid(String),
    /// A file could not be made.
    #[error("volume {volume:?}: making its disk")]
    File {
        /// The volume.
        volume: String,
        /// What failed.
        #[source]
        source: FileError,
    },
    /// A seed could not be made.
    #[error("volume {volume:?}: making its seed")]
    Seed {
        /// The volume.
        volume: String,
        /// What failed.
        #[source]
        source: IsoError,
    },
    /// Something else on this host failed.
    #[error("volume {volume:?}: {what}")]
    Host {
        /// The volume.
        volume: String,
        /// What was being done.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The API could not be asked.
    #[error("{0}")]
    Api(String),
}

/// Makes and finds all volumes of a VMI; returns what the machine needs to know of each.
pub(crate) async fn prepare(
    client: &Client,
    vmi: &Vmi,
    paths: &PodPaths,
    user: (u32, u32),
) -> Result<BTreeMap<String, VolumeFacts>, PrepareError> {
    let mut facts = BTreeMap::new();
    for volume in &vmi.spec.volumes {
        let found = match source(vmi, volume).map_err(PrepareError::Invalid)? {
            Source::Claim { read_only } => claim(paths, &volume.name, read_only)?,
            Source::Empty { bytes } => empty(paths, &volume.name, bytes, user)?,
            Source::Seed(seed) => {
                let files = read_seed(client, vmi, &volume.name, &seed).await?;
                write_seed(paths, &volume.name, &files, user)?
            }
        };
        facts.insert(volume.name.clone(), found);
    }
    Ok(facts)
}

fn raw(path: String, direct_io: bool, read_only: bool) -> VolumeFacts {
    VolumeFacts {
        path,
        format: ImageFormat::Raw,
        backing: DiskBacking::File,
        direct_io,
        read_only,
    }
}

/// Whether the file system can do without the page cache.
fn direct_io(path: &Path) -> bool {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT | libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .is_ok()
}

fn claim(paths: &PodPaths, volume: &str, read_only: bool) -> Result<VolumeFacts, PrepareError> {
    let path = paths.on_volume(volume, IMAGE);
    match std::fs::symlink_metadata(&path) {
        Ok(m) if m.is_file() && m.size() > 0 => Ok(raw(
            format!("../volumes/{volume}/{IMAGE}"),
            direct_io(&path),
            read_only,
        )),
        Ok(_) => Err(PrepareError::Invalid(format!(
            "volume {volume:?}: {IMAGE} on its claim is not a disk image"
        ))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(PrepareError::Invalid(format!(
            "volume {volume:?}: its claim has no {IMAGE}; fill the claim with a DataVolume (source http, or blank for an empty disk)"
        ))),
        Err(source) => Err(PrepareError::Host {
            volume: volume.to_owned(),
            what: "looking at its disk image",
            source,
        }),
    }
}

fn give(path: &Path, volume: &str, (uid, gid): (u32, u32)) -> Result<(), PrepareError> {
    chown(path, Some(uid), Some(gid)).map_err(|source| PrepareError::Host {
        volume: volume.to_owned(),
        what: "giving its disk to the guest's user",
        source,
    })
}

fn empty(
    paths: &PodPaths,
    volume: &str,
    bytes: u64,
    user: (u32, u32),
) -> Result<VolumeFacts, PrepareError> {
    let name = format!("{volume}.img");
    let path = paths.prepared().join(&name);
    if !path.exists() {
        disk::file::create_raw(&path, bytes).map_err(|source| PrepareError::File {
            volume: volume.to_owned(),
            source,
        })?;
    }
    give(&path, volume, user)?;
    Ok(raw(format!("../prepared/{name}"), direct_io(&path), false))
}

struct SeedFiles {
    meta_data: Vec<u8>,
    user_data: Vec<u8>,
    network_data: Option<Vec<u8>>,
}

async fn read_seed(
    client: &Client,
    vmi: &Vmi,
    volume: &str,
    seed: &Seed,
) -> Result<SeedFiles, PrepareError> {
    let user_data = read_content(client, vmi, volume, &seed.user_data).await?;
    let network_data = match &seed.network_data {
        Some(content) => Some(read_content(client, vmi, volume, content).await?),
        None => None,
    };
    Ok(SeedFiles {
        meta_data: seed.meta_data.clone().into_bytes(),
        user_data,
        network_data,
    })
}

async fn read_content(
    client: &Client,
    vmi: &Vmi,
    volume: &str,
    content: &Content,
) -> Result<Vec<u8>, PrepareError> {
    let bytes = match content {
        Content::Text(text) => text.clone().into_bytes(),
        Content::Base64(text) => STANDARD.decode(text.trim()).map_err(|e| {
            PrepareError::Invalid(format!("volume {volume:?}: its data is not base64: {e}"))
        })?,
        Content::Secret { name, key } => {
            let namespace = vmi.namespace().unwrap_or_default();
            let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
            let secret = get_opt(&api, name)
                .await
                .map_err(|e| PrepareError::Api(e.chain()))?
                .ok_or_else(|| {
                    PrepareError::Invalid(format!(
                        "volume {volume:?}: Secret {name} does not exist"
                    ))
                })?;
            let mut data = secret.data.unwrap_or_default();
            // KubeVirt reads both spellings.
            let spelled = [
                *key,
                if *key == "userdata" {
                    "userData"
                } else {
                    "networkData"
                },
            ];
            spelled
                .iter()
                .find_map(|k| data.remove(*k))
                .map(|v| v.0)
                .ok_or_else(|| {
                    PrepareError::Invalid(format!(
                        "volume {volume:?}: Secret {name} has no key {key}"
                    ))
                })?
        }
    };
    if bytes.len() > SEED_LIMIT {
        return Err(PrepareError::Invalid(format!(
            "volume {volume:?}: its data has {} bytes, more than {SEED_LIMIT}",
            bytes.len()
        )));
    }
    Ok(bytes)
}

fn write_seed(
    paths: &PodPaths,
    volume: &str,
    files: &SeedFiles,
    user: (u32, u32),
) -> Result<VolumeFacts, PrepareError> {
    let name = format!("{volume}.iso");
    let path = paths.prepared().join(&name);
    Image::no_cloud(
        &files.user_data,
        &files.meta_data,
        files.network_data.as_deref(),
    )
    .write(&path)
    .map_err(|source| PrepareError::Seed {
        volume: volume.to_owned(),
        source,
    })?;
    give(&path, volume, user)?;
    Ok(raw(format!("../prepared/{name}"), false, true))
}

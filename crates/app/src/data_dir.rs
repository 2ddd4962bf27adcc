//! The data directory: where everything of a standalone platform is.
//!
//! | name | mode | what |
//! |---|---|---|
//! | `store/` | 0700 | the objects |
//! | `pki/` | 0700 | CA, certificates, keys |
//! | `pods/` | 0711 | one directory per Pod |
//! | `volumes/` | 0711 | one directory per volume |
//! | `components/` | 0700 | logs of the components of this process |
//! | `admin.kubeconfig` | 0600 | the administrator's |
//! | `instance` | 0600 | with others over one etcd: which of them this is |
//!
//! 0711: a workload may pass through to what is its own, and cannot list the rest.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where the platform keeps its data if not told otherwise.
pub(crate) const DEFAULT: &str = "/var/lib/ferrovirt";

/// Why the data directory cannot be used.
#[derive(Debug, Error)]
#[error("{action} {}", .path.display())]
pub(crate) struct DataDirError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The data directory.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(PathBuf);

/// Where the logs of this process's components are, in a data directory.
pub(crate) fn components(data_dir: &Path) -> PathBuf {
    data_dir.join("components")
}

impl DataDir {
    /// Makes what is missing. The path becomes absolute and free of links, since it is stored in
    /// volumes.
    pub(crate) fn prepare(path: &Path) -> Result<Self, DataDirError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError {
                action,
                path,
                source,
            }
        };
        std::fs::create_dir_all(path).map_err(failed("making the data directory", path))?;
        let root = path
            .canonicalize()
            .map_err(failed("finding the data directory", path))?;
        let this = Self(root);
        for (path, mode) in [
            (this.0.clone(), 0o711),
            (this.store(), 0o700),
            (this.pki(), 0o700),
            (this.pods(), 0o711),
            (this.volumes(), 0o711),
            (components(&this.0), 0o700),
        ] {
            match std::fs::DirBuilder::new().mode(mode).create(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(failed("making", &path))?,
            }
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
                .map_err(failed("protecting", &path))?;
        }
        Ok(this)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.0.join("pods")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
    }

    pub(crate) fn instance(&self) -> PathBuf {
        self.0.join("instance")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.0.join("admin.kubeconfig")
    }
}

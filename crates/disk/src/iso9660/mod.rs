//! ISO 9660 images for NoCloud seeds: one flat directory, deterministic bytes.
//!
//! ```text
//! sector 16 primary descriptor   17 Joliet descriptor   18 terminator
//!        19..22 path tables (primary L, M; Joliet L, M)
//!        23 root directory with Rock Ridge   24 its continuation (ER)   25 Joliet root directory
//!        26.. files
//! ```
//!
//! Rock Ridge names are for Linux, Joliet for Windows (cloudbase-init); both spell `user-data` and
//! `network-config`, which plain ISO 9660 cannot. The volume label is what guests look for:
//! `cidata` (cloud-init's NoCloud) or `config-2` (ConfigDrive).
//!
//! Standards: ECMA-119, Joliet (1995), IEEE P1281 (SUSP) and P1282 (RRIP 1.09).
//! Not here: directories below the root, reading, El Torito.

mod layout;
mod record;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::Path;

use crate::file::{FileError, Operation};
use crate::{Partial, limits};

/// Why a seed image cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    /// A name that is empty, too long, or holds something other than `A-Z a-z 0-9 . _ -`.
    #[error("'{0}' is no name for a file of a seed: 1 to 64 letters, digits, '.', '_' or '-'")]
    Name(String),
    /// Two files of one name.
    #[error("the seed has '{0}' twice")]
    Duplicate(String),
    /// A label that is no volume label.
    #[error("'{0}' is no volume label: 1 to 16 letters, digits, '_' or '-'")]
    Label(String),
    /// More files or bytes than `limits` allow.
    #[error(
        "the seed has {files} files of {bytes} bytes, at most {} files of {} bytes are accepted",
        limits::SEED_FILES,
        limits::SEED_BYTES
    )]
    TooLarge {
        /// Files.
        files: usize,
        /// Bytes together.
        bytes: usize,
    },
    /// The image cannot be written.
    #[error(transparent)]
    Write(#[from] FileError),
}

/// An image in the making.
#[derive(Clone, Debug)]
pub struct Image {
    label: String,
    files: Vec<(String, Vec<u8>)>,
}

impl Image {
    /// An empty image with a volume label.
    #[must_use]
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            files: Vec::new(),
        }
    }

    /// A NoCloud seed: `cidata` with `user-data`, `meta-data` and, if given, `network-config`.
    #[must_use]
    pub fn no_cloud(user_data: &[u8], meta_data: &[u8], network_config: Option<&[u8]>) -> Self {
        let seed = Self::new("cidata")
            .file("user-data", user_data)
            .file("meta-data", meta_data);
        match network_config {
            Some(content) => seed.file("network-config", content),
            None => seed,
        }
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }

    /// The bytes of the image; the same files give the same bytes, in whatever order they came.
    ///
    /// # Errors
    /// When a name, the label or the size is not acceptable.
    pub fn to_bytes(&self) -> Result<Vec<u8>, IsoError> {
        let mut files: Vec<(&str, &[u8])> = self
            .files
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_slice()))
            .collect();
        files.sort_unstable();
        let bytes = files.iter().map(|(_, content)| content.len()).sum();
        if files.len() > limits::SEED_FILES || bytes > limits::SEED_BYTES {
            return Err(IsoError::TooLarge {
                files: files.len(),
                bytes,
            });
        }
        if !spelled(&self.label, 16, "_-") {
            return Err(IsoError::Label(self.label.clone()));
        }
        if let Some((name, _)) = files.iter().find(|(name, _)| !spelled(name, 64, "._-")) {
            return Err(IsoError::Name((*name).to_owned()));
        }
        if let Some(pair) = files.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(IsoError::Duplicate(pair[0].0.to_owned()));
        }
        Ok(layout::image(&self.label, &files))
    }

    /// Writes the image to a file, which appears complete or not at all.
    ///
    /// # Errors
    /// As [`Image::to_bytes`], or when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), IsoError> {
        let bytes = self.to_bytes()?;
        let partial = Partial::create(path)?;
        partial
            .file()
            .write_all(&bytes)
            .map_err(|error| FileError::new(Operation::Write, path, error))?;
        partial.commit()?;
        Ok(())
    }
}

fn spelled(text: &str, longest: usize, further: &str) -> bool {
    (1..=longest).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || further.contains(c))
}

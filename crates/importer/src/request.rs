//! What an import is asked for, and what it tells when it is done.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;

/// A disk to be filled.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// Where the image comes from.
    pub source: transfer::Request,
    /// The disk: usually `disk.img` in a volume.
    pub target: PathBuf,
    /// Bytes of the claim; the disk gets this size. Without it the disk is as large as the image.
    pub capacity: Option<u64>,
    /// Digest that the downloaded file must have.
    pub checksum: Option<Checksum>,
}

/// `sha256:<64 hex digits>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum(String);

impl Checksum {
    /// The hexadecimal digits, lower case.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.0
    }
}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text
            .strip_prefix("sha256:")
            .unwrap_or_default()
            .to_ascii_lowercase();
        if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(digits));
        }
        Err(format!(
            "'{text}' is no checksum: 'sha256:' and 64 hexadecimal digits are expected"
        ))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// How the image came onto the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Method {
    /// An empty disk.
    Blank,
    /// In one pass, in order.
    Stream,
    /// In one pass, by range requests.
    Ranges,
    /// Through a scratch file beside the disk.
    Scratch,
}

/// A finished import.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// Size of the image's virtual disk.
    pub virtual_size: u64,
    /// Size of the disk now.
    pub size: u64,
    /// Bytes that came over the network.
    pub bytes_read: u64,
    /// Bytes of the disk that hold data.
    pub bytes_written: u64,
    /// Digest of the downloaded file; not known when only parts of it were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// `raw`, `iso`, `qcow2`; `blank` for an empty disk.
    pub format: String,
    /// Compression of the file, `identity` for none.
    pub encoding: String,
    /// How it was done.
    pub method: Method,
    /// How long it took.
    pub seconds: f64,
}

//! `ferrovirt importer`: reads CDI's environment, speaks through standard output and the
//! termination message.
//!
//! ```text
//! env, flags ─► Arguments ─► import | blank ─► stdout: one JSON line of progress per second
//!                                              termination log: result (JSON) or message
//! ```
//!
//! The environment is that of CDI's importer, so that the Pod means the same on any cluster.
//! Secrets come by environment only: a command line can be read by every process of the host.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use apimachinery::quantity::Quantity;
use tokio::signal::unix::{SignalKind, signal};

use crate::progress::Progress;
use crate::request::{Checksum, ImportRequest, Imported};
use crate::{ImportError, blank, import};

/// Kubernetes keeps 4096 bytes of a termination message.
const MESSAGE_BYTES: usize = 4096;
/// At most one progress line in this time.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Extra headers read from the environment, and bytes of certificates read from files.
const HEADERS: usize = 64;
const CERTIFICATE_BYTES: u64 = 1 << 20;

/// What fills a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SourceKind {
    /// A file of an HTTP(S) server.
    Http,
    /// Nothing: an empty disk.
    #[value(alias = "blank")]
    None,
}

/// Arguments of `ferrovirt importer`, all of which may come from the environment.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What fills the disk.
    #[arg(long, env = "IMPORTER_SOURCE", value_enum)]
    source: SourceKind,
    /// URL of the image.
    #[arg(long, env = "IMPORTER_ENDPOINT")]
    endpoint: Option<String>,
    /// Size of the claim, as a quantity such as 10Gi.
    #[arg(long, env = "IMPORTER_IMAGE_SIZE")]
    image_size: Option<String>,
    /// Digest the downloaded file must have, as sha256:<hex>.
    #[arg(long, env = "IMPORTER_CHECKSUM")]
    checksum: Option<Checksum>,
    /// Directory or Pod volume with further certificate authorities.
    #[arg(long, env = "IMPORTER_CERT_DIR")]
    cert_dir: Option<PathBuf>,
    /// The disk; by default disk.img of the volume cdi-data-vol.
    #[arg(long, env = "IMPORTER_TARGET")]
    target: Option<PathBuf>,
    /// Directory with the Pod's volumes.
    #[arg(long, env = "FERROVIRT_VOLUMES", default_value = "volumes")]
    volumes: PathBuf,
    /// Where the result or the error goes.
    #[arg(
        long,
        env = "FERROVIRT_TERMINATION_LOG",
        default_value = "/dev/termination-log"
    )]
    termination_log: PathBuf,
    /// Where the exit code goes, for a node runtime that is not there when this ends.
    #[arg(long, env = "FERROVIRT_EXIT_CODE")]
    exit_code: Option<PathBuf>,
}

/// Why an importer cannot even begin.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("IMPORTER_ENDPOINT is not set: a source of kind http needs a URL")]
    NoEndpoint,
    #[error("IMPORTER_IMAGE_SIZE '{0}' is not a positive quantity")]
    Size(String),
    #[error("there is no volume 'cdi-data-vol' to import into")]
    NoVolume,
    #[error("cannot read the certificates in {}: {why}", path.display())]
    Certificates { path: PathBuf, why: std::io::Error },
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    #[error("cannot confine the importer to its volume: {0}")]
    Confine(host::sandbox::SandboxError),
    #[error("{}", .0.message())]
    Import(#[from] ImportError),
}

/// Runs an importer in a process of its own: gives up all files but its volume (an image is
/// hostile input, and two of the decompressors are C), then does what [`main`] does.
///
/// # Assumptions
/// Called before any other thread was started, and outside of any async runtime.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let runtime = confine(&arguments).and_then(|()| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(UsageError::Start)
    });
    match runtime {
        Ok(runtime) => runtime.block_on(main(arguments)),
        Err(error) => end(
            &arguments.termination_log,
            arguments.exit_code.as_deref(),
            Err(error),
        ),
    }
}

/// The importer inside a runtime of the caller, not confined: 0 when the disk is there, else 1.
pub async fn main(arguments: Arguments) -> ExitCode {
    let (log, code) = (
        arguments.termination_log.clone(),
        arguments.exit_code.clone(),
    );
    let done = attempt(arguments).await;
    end(&log, code.as_deref(), done)
}

/// Says how it ended, in all the places where somebody may look.
fn end(log: &Path, code_file: Option<&Path>, done: Result<Imported, UsageError>) -> ExitCode {
    let (message, code) = match done {
        Ok(imported) => {
            let result = serde_json::json!({ "result": imported }).to_string();
            print(&result);
            (result, 0)
        }
        Err(error) => {
            let message = error.to_string();
            print(&serde_json::json!({ "error": message }).to_string());
            (message, 1)
        }
    };
    let code_written = code_file.map_or(Ok(()), |path| std::fs::write(path, code.to_string()));
    if let Err(error) = terminate(log, &message).and(code_written) {
        tracing::warn!(
            "cannot leave a termination message in {}: {error}",
            log.display()
        );
    }
    ExitCode::from(code)
}

fn confine(arguments: &Arguments) -> Result<(), UsageError> {
    let target = target(arguments)?;
    let directory = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut read = host::sandbox::system_files();
    read.extend(
        arguments
            .cert_dir
            .as_deref()
            .map(|name| cert_dir(&arguments.volumes, name)),
    );
    let mut write = vec![directory(&target), directory(&arguments.termination_log)];
    write.extend(arguments.exit_code.as_deref().map(directory));
    let keep = host::sandbox::Keep { read, write };
    let enforced = host::sandbox::confine(&keep).map_err(UsageError::Confine)?;
    tracing::debug!(?enforced, "confined to the volume");
    Ok(())
}

fn target(arguments: &Arguments) -> Result<PathBuf, UsageError> {
    match &arguments.target {
        Some(target) => Ok(target.clone()),
        None => Ok(data_volume(&arguments.volumes)?.join("disk.img")),
    }
}

async fn attempt(arguments: Arguments) -> Result<Imported, UsageError> {
    let mut end = signal(SignalKind::terminate()).map_err(UsageError::Start)?;
    let environment = std::env::vars().collect::<Vec<_>>();
    let capacity = arguments.image_size.as_deref().map(capacity).transpose()?;
    let target = target(&arguments)?;
    if arguments.source == SourceKind::None {
        let capacity = capacity.ok_or(ImportError::NoCapacity)?;
        return Ok(blank(&target, capacity)?);
    }
    let endpoint = arguments.endpoint.filter(|url| !url.is_empty());
    let cert_dir = arguments
        .cert_dir
        .map(|name| cert_dir(&arguments.volumes, &name));
    let source = crate::Source {
        url: endpoint.ok_or(UsageError::NoEndpoint)?,
        headers: headers(&environment),
        credentials: credentials(&environment),
        ca_pem: cert_dir
            .as_deref()
            .map(certificates)
            .transpose()?
            .unwrap_or_default(),
        limits: crate::Limits::default(),
    };
    let checksum = arguments.checksum;
    let request = ImportRequest {
        source,
        target,
        capacity,
        checksum,
    };
    let lines = Lines::default();
    let report = |progress| lines.report(progress);
    tokio::select! {
        done = import(&request, &report) => Ok(done?),
        // As process 1 of its namespace it would not die of the signal by itself; dropping the
        // import removes what it wrote.
        _ = end.recv() => Err(ImportError::Interrupted.into()),
    }
}

/// Progress on standard output, once a second at most.
#[derive(Default)]
struct Lines(Mutex<Option<Instant>>);

impl Lines {
    fn report(&self, progress: Progress) {
        let Ok(mut last) = self.0.lock() else { return };
        let due = last.is_none_or(|at| at.elapsed() >= LINE_EVERY);
        if due || progress.percent == Some(100.0) {
            *last = Some(Instant::now());
            print(&serde_json::json!({ "progress": progress }).to_string());
        }
    }
}

/// Nobody may read the output; that is no reason to stop.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn capacity(text: &str) -> Result<u64, UsageError> {
    match Quantity::parse(text).map(|quantity| quantity.as_bytes()) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(UsageError::Size(text.to_owned())),
    }
}

/// Where this engine's node runtime puts the volume, else where a kubelet mounts it.
fn data_volume(volumes: &Path) -> Result<PathBuf, UsageError> {
    [volumes.join("cdi-data-vol"), PathBuf::from("/data")]
        .into_iter()
        .find(|path| path.is_dir())
        .ok_or(UsageError::NoVolume)
}

/// The same for the volume with certificates, which may also be a plain directory.
fn cert_dir(volumes: &Path, name: &Path) -> PathBuf {
    let volume = volumes.join(name);
    [volume.as_path(), name]
        .into_iter()
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("/certs"))
        .to_path_buf()
}

/// `IMPORTER_EXTRA_HEADER_n=Name: value`, from the DataVolume and from its secrets.
fn headers(environment: &[(String, String)]) -> Vec<(String, String)> {
    let mut lines: Vec<_> = environment
        .iter()
        .filter(|(name, _)| {
            name.starts_with("IMPORTER_EXTRA_HEADER_")
                || name.starts_with("IMPORTER_SECRET_EXTRA_HEADER_")
        })
        .collect();
    lines.sort();
    lines
        .into_iter()
        .take(HEADERS)
        .map(|(_, line)| line.split_once(':').unwrap_or((line, "")))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

fn credentials(environment: &[(String, String)]) -> Option<(String, String)> {
    let value = |wanted: &str| {
        let found = environment.iter().find(|(name, _)| name == wanted)?;
        Some(found.1.clone()).filter(|value| !value.is_empty())
    };
    Some((
        value("IMPORTER_ACCESS_KEY_ID")?,
        value("IMPORTER_SECRET_KEY").unwrap_or_default(),
    ))
}

/// All certificates of a directory.
fn certificates(directory: &Path) -> Result<Vec<u8>, UsageError> {
    let failed = |path: &Path, why| UsageError::Certificates {
        path: path.to_path_buf(),
        why,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| failed(directory, error))? {
        let path = entry.map_err(|error| failed(directory, error))?.path();
        // A mounted ConfigMap holds `..data` links beside its files.
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_file() && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    let mut pem = Vec::new();
    for path in paths {
        let length = path.metadata().map_err(|error| failed(&path, error))?.len();
        if pem.len() as u64 + length > CERTIFICATE_BYTES {
            let source = std::io::Error::other("the certificates together are larger than 1 MiB");
            return Err(failed(&path, source));
        }
        pem.extend(std::fs::read(&path).map_err(|error| failed(&path, error))?);
        pem.push(b'\n');
    }
    Ok(pem)
}

/// Writes the termination message; on a cluster the file exists and belongs to the kubelet.
fn terminate(path: &Path, message: &str) -> std::io::Result<()> {
    let mut end = message.len().min(MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    std::fs::write(path, &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_cdis() {
        let environment = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        let set = environment(&[
            ("IMPORTER_EXTRA_HEADER_1", "B: two: parts"),
            ("IMPORTER_EXTRA_HEADER_0", "A: one"),
            ("IMPORTER_ACCESS_KEY_ID", "me"),
            ("IMPORTER_SECRET_KEY", "secret"),
            ("OTHER", "x"),
        ]);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(headers(&set), [pair("A", "one"), pair("B", "two: parts")]);
        assert_eq!(credentials(&set), Some(pair("me", "secret")));
        assert_eq!(
            credentials(&environment(&[("IMPORTER_ACCESS_KEY_ID", "")])),
            None
        );
        assert_eq!(capacity("1536Mi").unwrap(), 1536 << 20);
        assert_eq!(
            capacity("0").unwrap_err().to_string(),
            "IMPORTER_IMAGE_SIZE '0' is not a positive quantity"
        );
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        terminate(&path, &"é".repeat(3000)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().len(), 4096);
    }
}

//! The verbs.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use store::backup::{Contents, Summary};
use store::log::{LogStore, Options};
use store::{ListRequest, OpenError, Store as _};

use super::file::Pending;
use super::{GROUP, RESOURCE, VERSION};
use crate::data_dir::{self, DataDir};

/// Options of `ferrovirt backup`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ferrovirt backup /backups/monday.fvb\n  ferrovirt backup /backups/monday.fvb --with-keys --force\n  ferrovirt backup --verify /backups/monday.fvb\n  ferrovirt backup /backups/last.fvb --data-dir /var/lib/ferrovirt   # of a platform that is down\n\nThe file holds every object, Secrets included, as of one moment; keep it as safe as the platform. Disks of machines are not in it."
)]
pub(crate) struct BackupOptions {
    /// The backup to write
    file: PathBuf,
    /// Only check a backup that is there: every record, and the file as a whole
    #[arg(long, conflicts_with_all = ["data_dir", "with_keys", "force"])]
    verify: bool,
    /// Read the store of a platform that is down, instead of asking the API server
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Also save the platform's own keys (CA, service accounts), so that credentials stay valid after a restore
    #[arg(long)]
    with_keys: bool,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
}

/// Options of `ferrovirt restore`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ferrovirt restore /backups/monday.fvb --data-dir /var/lib/ferrovirt\n\nThe data directory must have no store: move DIR/store away first. Machines whose Pods the backup does not know go on running and are reported, see docs/backup.md."
)]
pub(crate) struct RestoreOptions {
    /// The backup
    file: PathBuf,
    /// The data directory to restore into
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// Options of `ferrovirt check-store`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ferrovirt check-store\n  ferrovirt check-store --data-dir /tmp/fv\n\nReads every file of the store of a platform that is down, and changes nothing."
)]
pub(crate) struct CheckOptions {
    /// The data directory
    #[arg(long, value_name = "DIR", default_value = data_dir::DEFAULT)]
    data_dir: PathBuf,
}

fn outcome(done: Result<String>) -> ExitCode {
    let printed = done.and_then(|text| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").context("writing to standard output")
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `ferrovirt backup`.
pub(crate) fn backup(options: &BackupOptions, global: &cli::GlobalOptions) -> ExitCode {
    outcome(match options.verify {
        true => verify(&options.file),
        false => take(options, global),
    })
}

fn verify(path: &Path) -> Result<String> {
    let shown = path.display();
    let summary = store::backup::verify(path).with_context(|| format!("verifying {shown}"))?;
    Ok(format!("{shown} is whole: {}", told(&summary, Some(path))))
}

fn take(options: &BackupOptions, global: &cli::GlobalOptions) -> Result<String> {
    let shown = options.file.display();
    let mut pending = Pending::create(&options.file, options.force)
        .with_context(|| format!("taking the backup {shown}"))?;
    let progress = Progress::new("taking a backup");
    let taken = match &options.data_dir {
        Some(directory) => from_directory(&mut pending, directory, options.with_keys, &progress),
        None => from_server(&mut pending, options.with_keys, global, &progress),
    };
    progress.finish();
    taken.with_context(|| format!("taking the backup {shown}"))?;
    // What is on the device is what counts, so it is read from there.
    pending
        .file
        .sync_all()
        .with_context(|| format!("writing {shown} to its device"))?;
    let summary = store::backup::verify(pending.temporary())
        .with_context(|| format!("verifying what was written for {shown}"))?;
    pending.place()?;
    Ok(format!("{shown}: {}", told(&summary, Some(&options.file))))
}

fn from_server(
    pending: &mut Pending,
    keys: bool,
    global: &cli::GlobalOptions,
    progress: &Progress,
) -> Result<()> {
    let path = format!("/apis/{GROUP}/{VERSION}/{RESOURCE}?keys={keys}");
    let file = &mut pending.file;
    cli::download(global, "asking the server for a backup", &path, |bytes| {
        progress.more(bytes.len());
        file.write_all(bytes)
    })
    .map_err(anyhow::Error::msg)
}

fn from_directory(
    pending: &mut Pending,
    directory: &Path,
    with_keys: bool,
    progress: &Progress,
) -> Result<()> {
    let path = directory.join("store");
    anyhow::ensure!(path.is_dir(), "{} has no store", directory.display());
    let store = match LogStore::open(&path, Options::default()) {
        Err(OpenError::Locked { .. }) => bail!(
            "a platform is running on {}: leave --data-dir out to ask it for the backup",
            directory.display()
        ),
        opened => opened.map_err(|error| crate::store_error::explain(&path, error))?,
    };
    let files = match with_keys {
        true => super::keys(&directory.join("pki")).context("reading the keys")?,
        false => Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let listing = runtime.block_on(store.list(ListRequest::default()))?;
    let contents = Contents {
        revision: listing.revision,
        entries: listing.entries,
        files,
        identity: store.identity().to_owned(),
        taken: SystemTime::now(),
    };
    store::backup::write(Counting(&mut pending.file, progress), &contents)?;
    Ok(())
}

/// `ferrovirt restore`.
pub(crate) fn restore(options: &RestoreOptions) -> ExitCode {
    let doing = || {
        format!(
            "restoring {} to {}",
            options.file.display(),
            options.data_dir.display()
        )
    };
    outcome(restored(options).with_context(doing))
}

fn restored(options: &RestoreOptions) -> Result<String> {
    let store_dir = options.data_dir.join("store");
    // Before anything is made: a refusal leaves no trace.
    store::backup::verify(&options.file)?;
    if std::fs::read_dir(&store_dir).is_ok_and(|mut items| items.next().is_some()) {
        bail!(
            "{} holds a store; nothing is overwritten\n  stop the platform and move that directory away first",
            store_dir.display()
        );
    }
    let data = DataDir::prepare(&options.data_dir)?;
    let has_keys = !super::keys(&data.pki())?.is_empty();
    let mut written = 0;
    let summary = store::backup::restore(&options.file, &data.store(), |name, contents| {
        if has_keys {
            return Ok(());
        }
        written += 1;
        pki::write_atomic(&data.pki().join(name), contents, 0o600).map_err(std::io::Error::other)
    })?;
    let keys = match (has_keys, summary.files, written) {
        (true, 0, _) => "the keys that are in the data directory stay",
        (true, _, _) => {
            "the keys that are in the data directory stay, those of the backup were not used"
        }
        (false, 0, _) => {
            "the backup has no keys: the platform makes new ones, kubeconfigs and tokens of before are void"
        }
        (false, ..) => "keys restored: credentials of before stay valid",
    };
    Ok(format!(
        "{}: {}\n{keys}\nrevisions go on at {}; watches and versions of before are answered with 410",
        data.store().display(),
        told(&summary, None),
        summary.revision.0 + store::backup::REVISIONS_SKIPPED
    ))
}

/// `ferrovirt check-store`.
pub(crate) fn check(options: &CheckOptions) -> ExitCode {
    let path = options.data_dir.join("store");
    let report = store::log::check(&path).with_context(|| format!("checking {}", path.display()));
    match report {
        Ok(report) if report.is_whole() => outcome(Ok(format!("{report}"))),
        Ok(report) => {
            print!("{report}");
            outcome(Err(anyhow::anyhow!(
                "the store in {} is damaged\n{}",
                path.display(),
                crate::store_error::WHAT_TO_DO
            )))
        }
        Err(error) => outcome(Err(error)),
    }
}

fn told(summary: &Summary, file: Option<&Path>) -> String {
    let taken = Timestamp::try_from(summary.taken)
        .map_or_else(|_| "an unknown time".to_owned(), |taken| taken.to_string());
    let size = file
        .and_then(|file| std::fs::metadata(file).ok())
        .map_or_else(String::new, |found| format!(", {} bytes", found.len()));
    format!(
        "revision {}, {} objects, {} keys{size}, of {taken}",
        summary.revision, summary.entries, summary.files
    )
}

/// On a terminal: how much has been written.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new(what: &'static str) -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{msg}: {bytes} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_message(what);
            bar
        }))
    }

    fn more(&self, bytes: usize) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes as u64);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

struct Counting<'a, W>(W, &'a Progress);

impl<W: std::io::Write> std::io::Write for Counting<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.more(written);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

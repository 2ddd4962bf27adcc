//! The verbs that run in Pods.
//!
//! Each leaves its exit code in a file when the node runtime asks for it
//! (`FERROVIRT_EXIT_CODE`): a runtime that was restarted meanwhile is not our parent any more and
//! cannot wait for us.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const EXIT_CODE: &str = "FERROVIRT_EXIT_CODE";
/// How often the console's log is looked at.
const POLL: Duration = Duration::from_millis(200);

fn leave(code: u8) -> ExitCode {
    if let Some(path) = std::env::var_os(EXIT_CODE)
        && let Err(error) = std::fs::write(&path, code.to_string())
    {
        tracing::warn!(%error, "leaving the exit code");
    }
    ExitCode::from(code)
}

fn logged(default: &str) -> bool {
    match telemetry::log_to_stderr(default) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("ferrovirt: {error}");
            false
        }
    }
}

/// One virtual machine, in the present directory.
pub(crate) fn launcher() -> ExitCode {
    if !logged("info") {
        return leave(1);
    }
    let code = launcher::run(Path::new("."));
    leave(u8::from(code != ExitCode::SUCCESS))
}

/// One import. It confines itself, and leaves its own exit code.
pub(crate) fn importer(arguments: importer::Arguments) -> ExitCode {
    if !logged("warn") {
        return leave(1);
    }
    importer::run(arguments)
}

/// What a probe is to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct ProbeArguments {
    /// CPU, KVM, QEMU, ...
    #[arg(value_parser = |name: &str| node::preflight::Aspect::of(name).ok_or("there is no such aspect"))]
    aspect: node::preflight::Aspect,
    /// The process that asks; the probe ends with it.
    #[arg(long)]
    parent: u32,
    /// The data directory.
    #[arg(long)]
    data_dir: std::path::PathBuf,
}

/// One probe of a preflight check.
pub(crate) fn preflight_probe(arguments: &ProbeArguments) -> ExitCode {
    node::preflight::answer(arguments.aspect, &arguments.data_dir, arguments.parent)
}

/// The console's log, from its beginning and on, until the launcher has ended.
///
/// Only a cluster runs this: the node runtime reads the file itself.
pub(crate) fn guest_console_log() -> ExitCode {
    if !logged("warn") {
        return ExitCode::FAILURE;
    }
    let mut copied = 0_u64;
    loop {
        if let Err(error) = copy_new(&mut copied)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(%error, "copying the console's log");
            return ExitCode::FAILURE;
        }
        let ended = launcher_api::read_state(Path::new("."))
            .ok()
            .flatten()
            .is_some_and(|s| s.phase.is_ended());
        if ended {
            return ExitCode::SUCCESS;
        }
        // Nobody unparks this thread, and to wake early would do no harm.
        std::thread::park_timeout(POLL);
    }
}

fn copy_new(copied: &mut u64) -> std::io::Result<()> {
    let mut log = std::fs::File::open(launcher_api::SERIAL_LOG)?;
    let length = log.metadata()?.len();
    if length < *copied {
        // It was rotated.
        *copied = 0;
    }
    log.seek(SeekFrom::Start(*copied))?;
    let mut new = Vec::new();
    log.take(length - *copied).read_to_end(&mut new)?;
    let mut out = std::io::stdout().lock();
    out.write_all(&new)?;
    out.flush()?;
    *copied += new.len() as u64;
    Ok(())
}

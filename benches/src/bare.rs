//! The reference: QEMU without anything around it, to its QMP greeting and to running virtual CPUs.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The emulator.
pub(crate) const PROGRAM: &str = "/usr/bin/qemu-system-x86_64";
/// For how long a bare QEMU may start, and end.
const BOUND: Duration = Duration::from_secs(60);
/// Pause between two attempts to connect; the launcher's own.
const POLL: Duration = Duration::from_millis(1);
/// What QEMU uses of a Pod's directory.
const PARTS: [&str; 3] = ["work", "prepared", "volumes"];
/// Largest file of a Pod that is copied.
const COPY_BYTES: u64 = 64 << 20;

/// The least that speaks QMP.
const LEAST: [&str; 10] = [
    "-nodefaults",
    "-no-user-config",
    "-S",
    "-display",
    "none",
    "-machine",
    "q35,accel=tcg",
    "-qmp",
    "unix:qmp.sock,server=on,wait=off",
    "-m",
];

/// The command line of the least QEMU.
pub(crate) fn least() -> Vec<String> {
    let mut args: Vec<String> = LEAST.map(str::to_owned).to_vec();
    args.push("64".to_owned());
    args
}

/// How long it took from the spawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// To QMP's greeting.
    pub(crate) greeting: Duration,
    /// To the answer of `cont`.
    pub(crate) running: Duration,
}

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts one in `dir`, with a monitor at `qmp.sock`; `hold` is called while it runs. Then ends it.
pub(crate) fn start(args: &[String], dir: &Path, hold: impl FnOnce()) -> Result<Times> {
    let socket = dir.join("qmp.sock");
    let _ = fs::remove_file(&socket);
    let log = fs::File::create(dir.join("bare.log")).context("making QEMU's log")?;
    let begun = Instant::now();
    let child = Command::new(PROGRAM)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {PROGRAM}"))?;
    let mut guard = Guard(child);
    let stream = connect(&mut guard.0, &socket, dir, begun + BOUND)?;
    stream
        .set_read_timeout(Some(BOUND))
        .context("bounding QMP")?;
    let mut reader = BufReader::new(stream.try_clone().context("sharing QMP")?);
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .context("reading the greeting")?;
    ensure!(line.contains("\"QMP\""), "not a greeting: {line:?}");
    let greeting = begun.elapsed();
    let mut writer = stream;
    ask(&mut reader, &mut writer, "qmp_capabilities")?;
    ask(&mut reader, &mut writer, "cont")?;
    let running = begun.elapsed();
    hold();
    ask(&mut reader, &mut writer, "quit")?;
    Ok(Times { greeting, running })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own waits for a socket, with a bound"
)]
fn connect(child: &mut Child, socket: &Path, dir: &Path, until: Instant) -> Result<UnixStream> {
    loop {
        if let Ok(stream) = UnixStream::connect(socket) {
            return Ok(stream);
        }
        if let Some(status) = child.try_wait().context("looking at QEMU")? {
            let log = fs::read_to_string(dir.join("bare.log")).unwrap_or_default();
            bail!("the bare QEMU ended with {status}: {log}");
        }
        ensure!(
            Instant::now() < until,
            "the bare QEMU did not open its monitor"
        );
        std::thread::sleep(POLL);
    }
}

/// Sends a command and reads to its answer; events come in between.
fn ask(reader: &mut impl BufRead, writer: &mut impl Write, command: &str) -> Result<()> {
    writeln!(writer, "{{\"execute\":\"{command}\"}}").context("writing to QMP")?;
    let until = Instant::now() + BOUND;
    while Instant::now() < until {
        let mut line = String::new();
        let read = reader.read_line(&mut line).context("reading from QMP")?;
        ensure!(read > 0, "QMP was closed before {command} was answered");
        if line.contains("\"return\"") {
            return Ok(());
        }
        ensure!(!line.contains("\"error\""), "{command}: {line}");
    }
    bail!("{command} was not answered")
}

/// A machine as the platform starts it: its command line, and its Pod's files.
pub(crate) struct Copied {
    args: Vec<String>,
    pod: PathBuf,
    work: PathBuf,
}

impl Copied {
    /// Takes over from a QEMU that runs: `args` with the program's name. Its files are copied into `to`.
    pub(crate) fn from_running(pid: u32, args: &[String], to: &Path) -> Result<Self> {
        let work = fs::read_link(format!("/proc/{pid}/cwd")).context("finding QEMU's directory")?;
        let pod = work.parent().context("QEMU runs at the root")?;
        let copy = Self {
            args: args.iter().skip(1).cloned().collect(),
            work: work
                .strip_prefix(pod)
                .context("a directory in itself")?
                .into(),
            pod: to.to_owned(),
        };
        for part in PARTS {
            copy_files(&pod.join(part), &to.join(part))?;
        }
        Ok(copy)
    }

    /// One more, with files of its own.
    pub(crate) fn again(&self, to: &Path) -> Result<Self> {
        copy_files(&self.pod, to)?;
        Ok(Self {
            args: self.args.clone(),
            pod: to.to_owned(),
            work: self.work.clone(),
        })
    }

    pub(crate) fn start(&self, hold: impl FnOnce()) -> Result<Times> {
        start(&self.args, &self.pod.join(&self.work), hold)
    }
}

/// Plain files and directories, if there are any; sockets and what is too large stay.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("reading {}", from.display()))?;
    for entry in entries {
        let entry = entry.context("reading a directory")?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.metadata().context("looking at a file")?;
        if kind.is_dir() {
            copy_files(&path, &target)?;
        } else if kind.is_file() && kind.len() <= COPY_BYTES {
            fs::copy(&path, &target).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}

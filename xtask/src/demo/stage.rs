//! The temporary directory, the platform in it, and the end of both.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::cast::{Ferrovirt, binary, bound};
use super::remains::{self, Left};
use super::screen;

/// Seconds until `ready`.
const READY: u64 = 30;
/// Seconds that the platform may take to stop.
const STOP: u64 = 30;
/// Lines of a log that are shown when something fails.
const TAIL: usize = 40;
/// Between two looks at the host's processes.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

/// The demo's directory. Whatever runs in it ends with it.
pub(super) struct Stage {
    binary: PathBuf,
    /// `None` once it is cleared.
    directory: Mutex<Option<TempDir>>,
    root: PathBuf,
    seen: Arc<Mutex<remains::Seen>>,
}

impl Stage {
    /// Makes the directory.
    pub(super) fn set() -> Result<Self> {
        let binary = binary()?;
        // Short, and outside of $TMPDIR: names of sockets have 108 bytes at most.
        let directory = tempfile::Builder::new()
            .prefix("ferrovirt-demo-")
            .tempdir_in("/tmp")
            .context("making a temporary directory")?;
        // Workloads of another user pass through it to what is theirs.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o711))
            .context("opening the temporary directory to workloads")?;
        let root = directory
            .path()
            .canonicalize()
            .context("finding the temporary directory")?;
        Ok(Self {
            binary,
            directory: Mutex::new(Some(directory)),
            root,
            seen: Arc::default(),
        })
    }

    /// The client of the platform.
    pub(super) fn ferrovirt(&self) -> Ferrovirt {
        Ferrovirt::new(&self.binary, &self.root.join("kubeconfig"))
    }

    /// Writes a file; gives its path.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.root.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// Starts the platform.
    pub(super) fn start_platform(&self) -> Result<Platform> {
        let data = self.root.display().to_string();
        let kubeconfig = self.root.join("kubeconfig").display().to_string();
        let args = [
            "up",
            "--data-dir",
            &data,
            "--listen",
            "127.0.0.1:0",
            "--kubeconfig",
            &kubeconfig,
        ];
        screen::command(&args);
        let log = File::create(self.root.join("up.log")).context("making the log")?;
        let mut child = Command::new(&self.binary)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C is for the demo, which then stops the platform in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))?;
        let output = child.stdout.take().context("taking its output")?;
        Ok(Platform {
            child,
            output: BufReader::new(output).lines(),
        })
    }

    /// Notes from now on when a disk is complete, when QEMU starts, and which Pods there are.
    pub(super) fn spy(&self) -> Spy {
        let (root, seen) = (self.root.clone(), self.seen.clone());
        let looking = tokio::spawn(async move {
            let mut again = tokio::time::interval(LOOK);
            loop {
                again.tick().await;
                remains::look(
                    &root,
                    &mut seen.lock().unwrap_or_else(PoisonError::into_inner),
                );
            }
        });
        Spy {
            looking,
            seen: self.seen.clone(),
        }
    }

    /// Says what a person needs to find out why it failed.
    pub(super) async fn explain(&self) {
        let ferrovirt = self.ferrovirt();
        eprintln!();
        for args in [
            &["get", "vmruntime"][..],
            &["get", "vm,vmi,dv,pvc,pods", "-A", "-o", "wide"],
            &["get", "events", "-A"],
        ] {
            match ferrovirt.ask(args).await {
                Ok(said) => eprintln!("---- ferrovirt {}\n{said}", args.join(" ")),
                Err(error) => eprintln!("---- {error:#}"),
            }
        }
        for log in remains::logs(&self.root) {
            let text = fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL)..];
            eprintln!("---- the end of {}\n{}", log.display(), tail.join("\n"));
        }
    }

    /// Ends and removes everything; says what should not have been there any more.
    pub(super) fn clear(&self) -> Left {
        let directory = self
            .directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(directory) = directory else {
            return Left::new();
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        remains::look(&self.root, &mut seen);
        let mut left = remains::remove(&self.root, &seen);
        if let Err(error) = directory.close() {
            left.push(format!("the directory {}: {error}", self.root.display()));
        }
        left
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `ferrovirt up`.
pub(super) struct Platform {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Platform {
    /// Waits for its `ready` line.
    pub(super) async fn ready(&mut self) -> Result<()> {
        let ready = async {
            while let Some(line) = self
                .output
                .next_line()
                .await
                .context("reading its output")?
            {
                if line.starts_with("ready") {
                    return Ok(line);
                }
            }
            bail!("the platform ended before it was ready")
        };
        let line = timeout(bound(READY), ready)
            .await
            .map_err(|_| anyhow!("the platform was not ready within {READY} s"))??;
        screen::say(&line);
        Ok(())
    }

    /// Asks it to stop, and waits.
    pub(super) async fn stop(&mut self) -> Result<()> {
        let begun = Instant::now();
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
            .context("the platform has ended by itself")?;
        kill_process(pid, Signal::TERM).context("sending SIGTERM to the platform")?;
        let status = timeout(bound(STOP), self.child.wait())
            .await
            .map_err(|_| anyhow!("the platform did not stop within {STOP} s of SIGTERM"))?
            .context("waiting for the platform")?;
        ensure!(status.success(), "the platform ended with {status}");
        screen::say(&format!(
            "SIGTERM: stopped after {:.2} s",
            begun.elapsed().as_secs_f64()
        ));
        Ok(())
    }
}

/// Looks at the host until it is dropped.
pub(super) struct Spy {
    looking: JoinHandle<()>,
    seen: Arc<Mutex<remains::Seen>>,
}

impl Spy {
    /// When the first disk was complete, to a fiftieth of a second.
    pub(super) fn disk_complete(&self) -> Option<Instant> {
        self.seen().disk
    }

    /// When the first QEMU started, to a hundredth of a second.
    pub(super) fn qemu_started(&self) -> Option<Instant> {
        self.seen().qemu
    }

    fn seen(&self) -> MutexGuard<'_, remains::Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spy {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

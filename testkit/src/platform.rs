//! A running platform: `ferrovirt up` in a directory of its own.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::task::AbortHandle;

use crate::failure::tail;
use crate::kubectl::{Kubectl, Output};
use crate::processes::Process;
use crate::{binary, eventually, eventually_within, remains};

/// A debug build on a busy machine; a release build needs a quarter of a second.
const READY: Duration = Duration::from_secs(30);
/// How long a stop may take: connections drain.
const STOP: Duration = Duration::from_secs(30);
/// How often new Pods are written down. They live for seconds.
const NOTE_PODS: Duration = Duration::from_millis(50);

/// What a test wants of its platform.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the node.
    pub node: String,
    /// Whether VMs may run from the start.
    pub enable_runtime: bool,
    /// Size of the device that the data directory is on, in bytes: a file system in memory of its own. Without
    /// it the directory is where all others are.
    pub device: Option<u64>,
    /// More arguments of `ferrovirt up`.
    pub arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node: "node1".to_owned(),
            enable_runtime: true,
            device: None,
            arguments: Vec::new(),
        }
    }
}

/// The platform. Dropped, it leaves nothing.
pub struct Platform {
    root: PathBuf,
    data: PathBuf,
    options: Options,
    binary: PathBuf,
    up: Option<Child>,
    starts: usize,
    client: Client,
    kubectl: Kubectl,
    ready_line: String,
    noting: AbortHandle,
    passed: bool,
}

impl Platform {
    /// Starts one; returns when it answers, and VMs may run if that was wanted.
    ///
    /// # Errors
    /// When the binary is missing or does not become ready.
    pub async fn start(options: Options) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "these tests need root, as `ferrovirt up` does"
        );
        remains::remove_stale();
        let binary = binary::ferrovirt()?;
        let root = tempfile::Builder::new()
            .prefix(remains::PREFIX)
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir_in(remains::PARENT)
            .context("making a directory")?
            .keep();
        remains::own(&root)?;
        for below in ["home", "data"] {
            fs::create_dir(root.join(below)).context("making a directory")?;
        }
        if let Some(size) = options.device {
            mount_memory(&root.join("data"), size)?;
        }
        let noting = tokio::spawn(note_pods(root.clone())).abort_handle();
        let kubeconfig = root.join("kc");
        // Until it is ready, there is nobody to talk to: this client is replaced before anyone can.
        let nowhere = Config::new(http::Uri::from_static("https://127.0.0.1:1"));
        let mut platform = Self {
            data: root.join("data"),
            kubectl: Kubectl::new(&root.join("home"), &kubeconfig),
            root,
            binary,
            up: None,
            starts: 0,
            client: Client::try_from(nowhere).context("making a client")?,
            ready_line: String::new(),
            noting,
            passed: false,
            options,
        };
        platform.launch().await?;
        if platform.options.enable_runtime {
            platform.enable_runtime().await?;
        }
        Ok(platform)
    }

    /// Spawns `ferrovirt up`; gives the file that its standard output goes to.
    fn spawn(&mut self) -> Result<PathBuf> {
        self.starts += 1;
        let out_path = self.root.join(format!("ready-{}", self.starts));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .context("opening the log")?;
        let out = File::create(&out_path).context("opening its output")?;
        let level = std::env::var("FERROVIRT_LOG").unwrap_or_else(|_| "info".to_owned());
        let child = Command::new(&self.binary)
            .arg("up")
            .args(["--listen", "127.0.0.1:0", "--node-name", &self.options.node])
            .arg("--data-dir")
            .arg(&self.data)
            .arg("--kubeconfig")
            .arg(self.root.join("kc"))
            .args(&self.options.arguments)
            .env("FERROVIRT_LOG", level)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))?;
        self.up = Some(child);
        Ok(out_path)
    }

    /// Spawns `ferrovirt up` and waits for its `ready` line.
    async fn launch(&mut self) -> Result<()> {
        let out_path = self.spawn()?;
        let up = self.up.as_mut().context("it was just spawned")?;
        let mut ended = None;
        let line = eventually_within(READY, "the `ready` line of ferrovirt up", async || {
            let text = fs::read_to_string(&out_path)?;
            let line = text
                .lines()
                .find(|l| l.starts_with("ready ") && text.ends_with('\n'));
            if line.is_none()
                && let Some(status) = up.try_wait()?
            {
                ended = Some(status);
                return Ok(String::new());
            }
            line.map(str::to_owned)
                .with_context(|| format!("standard output {text:?}"))
        })
        .await;
        let line = match (line, ended) {
            (Ok(line), None) => line,
            (line, ended) => {
                // What is not ready is of no use, and another start may follow.
                self.kill9()?;
                bail!(
                    "{}; the end of its log:\n{}",
                    ended.map_or_else(
                        || line.err().map(|e| e.to_string()).unwrap_or_default(),
                        |status| format!("ferrovirt up ended with {status}")
                    ),
                    tail(&self.log())
                )
            }
        };
        let url = line.split(' ').find_map(|w| w.strip_prefix("url="));
        let kubeconfig = line.split(' ').find_map(|w| w.strip_prefix("kubeconfig="));
        ensure!(
            url.is_some_and(|u| u.starts_with("https://127.0.0.1:"))
                && kubeconfig.is_some()
                && line.ends_with(" ms"),
            "the ready line is not as documented: {line:?}"
        );
        let config = read_config(kubeconfig.unwrap_or_default().as_ref()).await?;
        self.client = Client::try_from(config).context("making a client")?;
        self.ready_line = line;
        Ok(())
    }

    /// Lets VMs run: returns when the preflight check has passed, since none can be created before.
    ///
    /// # Errors
    /// When the switch cannot be written, or the runtime does not become ready.
    pub async fn enable_runtime(&self) -> Result<()> {
        let kind = GroupVersionKind::gvk("vm.cluster.gke.io", "v1", "VMRuntime");
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind));
        let patch = Patch::Merge(json!({"spec": {"enabled": true}}));
        api.patch("vmruntime", &PatchParams::default(), &patch)
            .await
            .context("enabling the VM runtime")?;
        eventually("the VM runtime to be ready", async || {
            let runtime = api.get("vmruntime").await?;
            let status = &runtime.data["status"];
            ensure!(status["ready"] == true, "its status is {status}");
            Ok(())
        })
        .await
    }

    /// Kills `ferrovirt up` with SIGKILL and waits for its end.
    ///
    /// # Errors
    /// When it was not running.
    pub fn kill9(&mut self) -> Result<()> {
        let mut up = self.up.take().context("ferrovirt up is not running")?;
        up.kill().context("killing ferrovirt up")?;
        up.wait().context("waiting for its end")?;
        Ok(())
    }

    /// Sends SIGTERM to `ferrovirt up` and waits for its orderly end.
    ///
    /// # Errors
    /// When it does not end, or with a failure.
    pub async fn stop(&mut self) -> Result<()> {
        let mut up = self.up.take().context("ferrovirt up is not running")?;
        let pid = Pid::from_child(&up);
        kill_process(pid, Signal::TERM).context("sending SIGTERM")?;
        let ended = eventually_within(STOP, "ferrovirt up to end after SIGTERM", async || {
            up.try_wait()?.context("it still runs")
        })
        .await;
        match ended {
            Ok(status) => {
                ensure!(status.success(), "after SIGTERM it ended with {status}");
                Ok(())
            }
            Err(error) => {
                self.up = Some(up);
                Err(error)
            }
        }
    }

    /// Starts `ferrovirt up` again, in the same directory.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        ensure!(self.up.is_none(), "ferrovirt up still runs");
        self.launch().await
    }

    /// Starts `ferrovirt up` again and kills it with SIGKILL that long after, ready or not.
    ///
    /// # Errors
    /// When it cannot be started, or runs already.
    pub async fn start_and_kill9(&mut self, after: Duration) -> Result<()> {
        ensure!(self.up.is_none(), "ferrovirt up still runs");
        self.spawn()?;
        tokio::time::sleep(after).await;
        self.kill9()
    }

    /// The pid of `ferrovirt up`.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.up.as_ref().map(Child::id)
    }

    /// A client with the administrator's rights. After a restart, ask for it again.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Another client, which shows each answer as it comes: kube's own sends every request again that was answered
    /// with 429, 503 or 504, also one that was done.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client_without_retries(&self) -> Result<Client> {
        let mut config = read_config(&self.root.join("kc")).await?;
        config.default_retry = false;
        Client::try_from(config).context("making a client")
    }

    /// The line that it printed when it was ready.
    #[must_use]
    pub fn ready_line(&self) -> &str {
        &self.ready_line
    }

    /// kubectl for this platform.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Runs our own command line as a client.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub async fn ferrovirt(&self, args: &[&str], input: &str) -> Result<Output> {
        let mut command = self.ferrovirt_command();
        command.args(args);
        Kubectl::finish(command, input)
            .await
            .with_context(|| format!("ferrovirt {}", args.join(" ")))
    }

    /// Our own command line as a client, to be run by the test.
    #[must_use]
    pub fn ferrovirt_command(&self) -> tokio::process::Command {
        self.kubectl.command(&self.binary)
    }

    /// The directory of everything.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.root
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Processes of this platform, `ferrovirt up` excepted.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let mut all = remains::processes(&self.root, &remains::pods(&self.root));
        all.retain(|p| Some(p.pid) != self.pid());
        all
    }

    /// The QEMUs.
    #[must_use]
    pub fn qemus(&self) -> Vec<Process> {
        let mut all = self.processes();
        all.retain(Process::is_qemu);
        all
    }

    /// The launchers.
    #[must_use]
    pub fn launchers(&self) -> Vec<Process> {
        let mut all = self.processes();
        all.retain(Process::is_launcher);
        all
    }

    fn log_path(&self) -> PathBuf {
        self.root.join("up.log")
    }

    /// What `ferrovirt up` has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Logs of the Pods that are there, from the files.
    #[must_use]
    pub fn pod_logs(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let pods = fs::read_dir(self.data.join("pods")).into_iter().flatten();
        for pod in pods.flatten() {
            let logs = fs::read_dir(pod.path().join("logs")).into_iter().flatten();
            let logs = logs.flatten().map(|l| l.path());
            for path in logs.chain([pod.path().join("work/serial0.log")]) {
                if let Ok(text) = fs::read(&path) {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    all.push((path.display().to_string(), text));
                }
            }
        }
        all
    }

    /// The test has passed: what is logged is of no interest.
    pub(crate) fn passed(&mut self) {
        self.passed = true;
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if !self.passed && std::thread::panicking() {
            eprintln!("---- ferrovirt up\n{}", tail(&self.log()));
        }
        if let Some(mut up) = self.up.take() {
            let _ = up.kill();
            let _ = up.wait();
        }
        self.noting.abort();
        if std::env::var_os("FERROVIRT_KEEP").is_some() {
            eprintln!("FERROVIRT_KEEP is set: {} stays", self.root.display());
            return;
        }
        remains::remove(&self.root);
    }
}

async fn read_config(kubeconfig: &Path) -> Result<Config> {
    let file = Kubeconfig::read_from(kubeconfig).context("reading the kubeconfig")?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .context("understanding the kubeconfig")?;
    // Consoles are silent for as long as their guest is.
    config.read_timeout = None;
    Ok(config)
}

/// Mounts a file system in memory; it is unmounted with the rest of the platform.
fn mount_memory(at: &Path, size: u64) -> Result<()> {
    use rustix::mount::{MountFlags, mount};
    let options = std::ffi::CString::new(format!("size={size},mode=711"))?;
    mount(
        "tmpfs",
        at,
        "tmpfs",
        MountFlags::empty(),
        options.as_c_str(),
    )
    .with_context(|| format!("mounting a file system of {size} bytes at {}", at.display()))
}

/// Writes down every Pod that comes, so that its cgroups can be looked for after it has gone.
async fn note_pods(root: PathBuf) {
    let mut known = BTreeSet::new();
    let mut ticks = tokio::time::interval(NOTE_PODS);
    loop {
        ticks.tick().await;
        remains::note_pods(&root, &mut known);
    }
}

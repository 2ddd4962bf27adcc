//! A Pod's place on this host: directory, network namespace, cgroup; and the start of its process.
//!
//! Thin: what to do is decided in [`super::plan`].

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Component, Path};

use apimachinery::quantity::Quantity;
use host::cgroup::{CgroupError, Cgroups, Group, Limits};
use host::process::Process;
use host::spawn::{Launch, Output, SpawnError, User, spawn};
use host::{netns, netns::NetnsError};
use k8s_openapi::api::core::v1::{Container, Pod};
use thiserror::Error;

use super::plan::main_container;
use super::volumes::Resolved;
use super::{Config, PodDir};

/// Processes and threads of one Pod: QEMU has a few dozen.
const PIDS: u64 = 4096;
/// Where a workload writes its last words, in its working directory.
const TERMINATION_LOG: &str = "termination-log";
/// As much of it as Kubernetes keeps.
const TERMINATION_LIMIT: u64 = 4096;
/// Where a workload leaves its exit code, for a node runtime that was not there to wait for it.
const EXIT_CODE: &str = "exit-code";

/// What could not be done for a Pod.
#[derive(Debug, Error)]
pub(super) enum SandboxError {
    #[error("{action} {path}")]
    File {
        action: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("its network namespace")]
    Netns(#[from] NetnsError),
    #[error("its control group")]
    Cgroup(#[from] CgroupError),
    #[error("its process")]
    Spawn(#[from] SpawnError),
    #[error("{0}")]
    Invalid(String),
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    let path = path.display().to_string();
    move |source| SandboxError::File {
        action,
        path,
        source,
    }
}

/// Name of a Pod's control group.
pub(super) fn group(cgroups: &Cgroups, uid: &str) -> Result<Group, SandboxError> {
    Ok(cgroups.group(&format!("pod{uid}"))?)
}

fn make_dir(path: &Path, mode: u32) -> Result<(), SandboxError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(file("making", path)),
    }
}

/// Makes directory, links to volumes, network namespace and cgroup. Idempotent.
pub(super) fn prepare(
    config: &Config,
    cgroups: &Cgroups,
    dir: &PodDir,
    pod: &Pod,
    resolved: &Resolved,
) -> Result<(), SandboxError> {
    for (path, mode) in [
        (dir.path().to_owned(), 0o711),
        (dir.path().join("logs"), 0o700),
        (dir.volumes(), 0o711),
        (dir.prepared(), 0o711),
        (dir.work(), 0o700),
    ] {
        make_dir(&path, mode)?;
    }
    let (uid, gid) = config.user;
    let own = |path: &Path| chown(path, Some(uid), Some(gid)).map_err(file("giving away", path));
    own(&dir.work())?;
    for volume in &resolved.links {
        let link = dir.volumes().join(&volume.name);
        match std::os::unix::fs::symlink(&volume.target, &link) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(file("linking", &link))?,
        }
    }
    for volume in &resolved.empty {
        let path = dir.volumes().join(volume);
        make_dir(&path, 0o700)?;
        own(&path)?;
    }
    for (volume, files) in &resolved.files {
        let path = dir.volumes().join(volume);
        // A workload may list it: certificates are found by looking.
        make_dir(&path, 0o755)?;
        for (name, content) in files {
            let path = path.join(plain_name(name)?);
            write_private(&path, content)?;
            own(&path)?;
        }
    }
    if !host_network(pod) {
        netns::create(&dir.netns())?;
    }
    cgroups.create(&format!("pod{}", uid_of(pod)), &limits(pod)?)?;
    Ok(())
}

/// A key that can be a file's name; the API has checked it, and what comes from the API is checked
/// once more before it becomes a path.
fn plain_name(key: &str) -> Result<&Path, SandboxError> {
    let path = Path::new(key);
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(path),
        _ => Err(SandboxError::Invalid(format!(
            "the key {key:?} cannot be the name of a file"
        ))),
    }
}

/// Writes a file that nobody but its owner could ever read.
fn write_private(path: &Path, content: &[u8]) -> Result<(), SandboxError> {
    use io::Write;
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(file("replacing", path)(e));
        }
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(path)
        .and_then(|mut f| f.write_all(content))
        .map_err(file("writing", path))
}

fn uid_of(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn host_network(pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .is_some_and(|s| s.host_network == Some(true))
}

fn limits(pod: &Pod) -> Result<Limits, SandboxError> {
    let resources = main_container(pod)
        .and_then(|c| c.resources.clone())
        .unwrap_or_default();
    let quantity = |map: &Option<std::collections::BTreeMap<String, _>>, name: &str| {
        let found: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> =
            map.as_ref().and_then(|m| m.get(name));
        found
            .map(|q| {
                q.0.parse::<Quantity>()
                    .map_err(|e| SandboxError::Invalid(format!("{name} {:?}: {e}", q.0)))
            })
            .transpose()
    };
    let milli = |q: Option<Quantity>| q.and_then(|q| u64::try_from(q.milli_value()).ok());
    Ok(Limits {
        cpu_request_milli: milli(quantity(&resources.requests, "cpu")?),
        cpu_limit_milli: milli(quantity(&resources.limits, "cpu")?),
        memory_bytes: quantity(&resources.limits, "memory")?
            .and_then(|q| u64::try_from(q.value()).ok()),
        pids: Some(PIDS),
    })
}

/// Starts the Pod's process.
pub(super) fn start(
    config: &Config,
    cgroups: &Cgroups,
    dir: &PodDir,
    pod: &Pod,
    env: &[(String, String)],
) -> Result<Process, SandboxError> {
    let container = main_container(pod)
        .ok_or_else(|| SandboxError::Invalid("the Pod has no container".to_owned()))?;
    let work = dir.work();
    for name in [TERMINATION_LOG, EXIT_CODE] {
        match fs::remove_file(work.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(file("removing", &work.join(name)))?,
        }
    }
    let log = dir.log(&container.name);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log)
        .map_err(file("opening", &log))?;
    let errors = log.try_clone().map_err(file("opening", dir.path()))?;
    let mut launch = Launch::new(&config.executable, &work);
    launch.arg0 = Some("ferrovirt".into());
    launch.args = arguments(container);
    launch.env = environment(env);
    launch.stdout = Output::To(log.into());
    launch.stderr = Output::To(errors.into());
    launch.cgroup = group(cgroups, uid_of(pod))?.entrance()?;
    if !host_network(pod) {
        launch.netns = Some(netns::open(&dir.netns())?);
    }
    let (uid, gid) = config.user;
    launch.user = Some(User {
        uid,
        gid,
        groups: host::kvm::device_group().into_iter().collect(),
    });
    Ok(spawn(launch)?)
}

fn arguments(container: &Container) -> Vec<OsString> {
    let command = container.command.iter().flatten().skip(1);
    command
        .chain(container.args.iter().flatten())
        .map(OsString::from)
        .collect()
}

fn environment(env: &[(String, String)]) -> Vec<(OsString, OsString)> {
    let fixed = [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("FERROVIRT_TERMINATION_LOG", TERMINATION_LOG),
        ("FERROVIRT_EXIT_CODE", EXIT_CODE),
        ("FERROVIRT_VOLUMES", "../volumes"),
    ];
    let fixed = fixed.map(|(k, v)| (OsString::from(k), OsString::from(v)));
    let given = env.iter().map(|(k, v)| (k.into(), v.into()));
    fixed.into_iter().chain(given).collect()
}

/// What the process has left in its working directory, which it owns: read without following links.
fn left_behind(dir: &PodDir, name: &str) -> Option<String> {
    use io::Read;
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(dir.work().join(name))
        .ok()?;
    if !open.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    open.take(TERMINATION_LIMIT).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The last words of the process.
pub(super) fn termination_message(dir: &PodDir) -> Option<String> {
    left_behind(dir, TERMINATION_LOG).filter(|m| !m.trim().is_empty())
}

/// The exit code that the process has left.
pub(super) fn exit_code(dir: &PodDir) -> Option<i32> {
    left_behind(dir, EXIT_CODE)?.trim().parse().ok()
}

/// Ends what is left in the cgroup, and removes cgroup and namespace.
pub(super) async fn tear_down(
    cgroups: &Cgroups,
    dir: &PodDir,
    uid: &str,
) -> Result<(), SandboxError> {
    group(cgroups, uid)?.dissolve().await?;
    if dir.path().exists() {
        netns::delete(&dir.netns())?;
    }
    Ok(())
}

/// Removes the Pod's directory. The volumes are links: what they point to stays.
pub(super) fn remove(dir: &PodDir) -> Result<(), SandboxError> {
    match fs::remove_dir_all(dir.path()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(file("removing", dir.path())),
    }
}

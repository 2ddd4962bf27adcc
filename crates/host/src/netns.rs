//! Network namespaces with a name: bind mounts in a directory keep them alive without any process, as ip-netns(8)
//! does it. A Pod's namespace so outlives launcher and node runtime, and is found again after a restart.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::UnshareFlags;

/// Where the present thread's network namespace is found.
const OWN: &str = "/proc/thread-self/ns/net";
/// Magic number of nsfs (linux/magic.h).
const NSFS: i64 = 0x6e73_6673;

/// Why a namespace could not be made, opened or deleted.
#[derive(Debug, thiserror::Error)]
#[error("{action} network namespace {}", .path.display())]
pub struct NetnsError {
    /// What was being done.
    pub action: &'static str,
    /// To which.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Makes the namespace `path` with its loopback device up, or leaves one that is there. Blocks shortly.
///
/// # Errors
/// When that is not permitted or the directory is missing.
pub fn create(path: &Path) -> Result<(), NetnsError> {
    let failed = |source| NetnsError {
        action: "creating",
        path: path.into(),
        source,
    };
    if is_namespace(path) {
        return Ok(());
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o400)
        .open(path)
        .map_err(failed)?;
    // A thread of its own enters the new namespace and ends there: nothing else in this process ever leaves its own.
    let made = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, || {
                unshare_net()?;
                loopback_up()?;
                mount_bind(OWN, path).map_err(io::Error::from)
            })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    });
    made.map_err(|source| {
        let _ = std::fs::remove_file(path);
        failed(source)
    })
}

/// Opens a namespace, to enter it.
///
/// # Errors
/// When it is not there, or the name is no namespace.
pub fn open(path: &Path) -> Result<File, NetnsError> {
    let failed = |source| NetnsError {
        action: "opening",
        path: path.into(),
        source,
    };
    if !is_namespace(path) {
        return Err(failed(io::Error::new(
            io::ErrorKind::NotFound,
            "it does not exist",
        )));
    }
    File::open(path).map_err(failed)
}

/// Deletes a namespace; one that is not there is no error. Processes in it keep it alive until they end.
///
/// # Errors
/// When that is not permitted.
pub fn delete(path: &Path) -> Result<(), NetnsError> {
    let failed = |source| NetnsError {
        action: "deleting",
        path: path.into(),
        source,
    };
    // Once per mount: two that raced to create it leave two on top of each other.
    while is_namespace(path) {
        unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|e| failed(e.into()))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Whether a namespace is mounted at `path`.
#[must_use]
pub fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == NSFS)
}

fn unshare_net() -> io::Result<()> {
    #[allow(
        unsafe_code,
        reason = "unshare may break the standard library's assumptions on shared descriptors"
    )]
    // SAFETY: only the network namespace is unshared; descriptors and file system state stay as they are.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

/// Sets the flag IFF_UP of `lo`, by ioctl (netdevice(7)).
#[allow(unsafe_code, reason = "interface ioctls have no safe wrapper")]
fn loopback_up() -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all-zero is a valid ifreq; name and flags are its members for these requests.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        if libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS as _,
            &raw mut request,
        ) < 0
        {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        if libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw mut request,
        ) < 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Exit;
    use crate::spawn::{Launch, Output, spawn};

    #[tokio::test]
    async fn a_namespace_outlives_its_maker_and_leaves_nothing() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod-a");
        create(&path).unwrap();
        create(&path).unwrap();
        let own = std::fs::read_link(OWN).unwrap();

        let out = dir.path().join("out");
        let mut launch = Launch::new("/bin/sh", "/");
        launch.args = vec![
            "-c".into(),
            "readlink /proc/self/ns/net; cat /proc/net/dev | wc -l; \
            cat /sys/class/net/lo/flags /proc/net/if_inet6"
                .into(),
        ];
        launch.stdout = Output::To(File::create(&out).unwrap().into());
        launch.netns = Some(open(&path).unwrap());
        let exit = spawn(launch).unwrap().exited().await.unwrap();
        let seen = std::fs::read_to_string(out).unwrap();
        assert!(matches!(exit, Exit::Code(_)));
        let mut lines = seen.lines();
        assert_ne!(Path::new(lines.next().unwrap()), own);
        assert_eq!(lines.next(), Some("3"), "two lines of heading and `lo`");

        assert_eq!(
            std::fs::read_link(OWN).unwrap(),
            own,
            "this thread stayed where it was"
        );
        delete(&path).unwrap();
        delete(&path).unwrap();
        assert!(!path.exists());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(path.to_str().unwrap()));
        assert!(open(&path).is_err());
    }
}

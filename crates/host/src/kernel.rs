//! What the kernel offers for guests, found by trying: namespaces, control groups, nftables, tap devices.
//!
//! [`facts`] leaves the namespaces of the calling thread for new ones: call it in a thread or process of its own.

use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroups, Controller, Layout};

/// Outcome of an attempt: why it failed, as the system put it.
pub type Tried = Result<(), String>;

/// Facts of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelFacts {
    /// Its release.
    pub release: String,
    /// Namespaces, by name.
    pub namespaces: Vec<(String, Tried)>,
    /// Whether nftables answers in a new network namespace.
    pub nftables: Tried,
    /// Whether a tap device can be made in it.
    pub tap: Tried,
    /// Version of the control groups in use (1 or 2), and the controllers that can limit a Pod.
    pub cgroups: Result<(u8, Vec<String>), String>,
}

/// The namespaces that workloads and guests live in.
const NAMESPACES: [(&str, UnshareFlags); 5] = [
    ("net", UnshareFlags::NEWNET),
    ("mnt", UnshareFlags::NEWNS),
    ("pid", UnshareFlags::NEWPID),
    ("ipc", UnshareFlags::NEWIPC),
    ("uts", UnshareFlags::NEWUTS),
];

/// Tries everything. Needs root.
#[must_use]
pub fn facts() -> KernelFacts {
    let namespaces = NAMESPACES
        .iter()
        .map(|(name, flag)| ((*name).to_owned(), tried(unshare(*flag))))
        .collect();
    KernelFacts {
        release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        namespaces,
        nftables: tried(nftables()),
        tap: tried(tap()),
        cgroups: cgroups(),
    }
}

fn tried(outcome: io::Result<()>) -> Tried {
    outcome.map_err(|e| e.to_string())
}

#[allow(
    unsafe_code,
    reason = "unshare may break the standard library's assumptions on shared descriptors"
)]
fn unshare(flag: UnshareFlags) -> io::Result<()> {
    // SAFETY: namespaces only; the table of descriptors stays shared as it is.
    unsafe { rustix::thread::unshare_unsafe(flag) }.map_err(io::Error::from)
}

fn cgroups() -> Result<(u8, Vec<String>), String> {
    let groups = Cgroups::detect().map_err(|e| e.to_string())?;
    let version = match groups.layout() {
        Layout::V1 { .. } => 1,
        Layout::V2 { .. } => 2,
    };
    let names = groups.controllers().into_iter().map(Controller::v1_name);
    Ok((version, names.map(str::to_owned).collect()))
}

/// Asks nf_tables for the generation of its rules (linux/netfilter/nf_tables.h): the smallest question there is.
fn nftables() -> io::Result<()> {
    const SUBSYSTEM: u16 = 10;
    const GET_GENERATION: u16 = 16;
    const NEW_GENERATION: u16 = 15;
    const REQUEST: u16 = 1;
    const ERROR: u16 = 2;
    const HEADER: usize = 16;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )?;
    rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(std::time::Duration::from_secs(2)),
    )?;
    // nlmsghdr: length, type, flags, sequence, port; then nfgenmsg: family, version, resource.
    let mut message = Vec::with_capacity(HEADER + 4);
    message.extend(20_u32.to_ne_bytes());
    message.extend((SUBSYSTEM << 8 | GET_GENERATION).to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([1_u32.to_ne_bytes(), 0_u32.to_ne_bytes()].concat());
    message.extend([0, 0, 0, 0]);
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0_u8; 4096];
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let answer = answer.get(..length).unwrap_or_default();
    let kind = answer
        .get(4..6)
        .and_then(|b| b.try_into().ok())
        .map(u16::from_ne_bytes);
    match kind {
        Some(kind) if kind == (SUBSYSTEM << 8 | NEW_GENERATION) => Ok(()),
        Some(ERROR) => {
            let code = answer.get(HEADER..HEADER + 4);
            let code = code
                .and_then(|b| b.try_into().ok())
                .map_or(0, i32::from_ne_bytes);
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        }
        _ => Err(io::Error::other("it gave an answer that makes no sense")),
    }
}

/// Makes a tap device that goes with its descriptor (linux/if_tun.h).
#[allow(unsafe_code, reason = "tun ioctls have no safe wrapper")]
fn tap() -> io::Result<()> {
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: libc::c_short,
        padding: [u8; 22],
    }
    const SET_INTERFACE: libc::Ioctl = 0x4004_54ca;
    /// `IFF_TAP | IFF_NO_PI`.
    const TAP: libc::c_short = 0x1002;
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    let mut request = Request {
        name: *b"fvprobe%d\0\0\0\0\0\0\0",
        flags: TAP,
        padding: [0; 22],
    };
    // SAFETY: the request is a whole ifreq (40 bytes), which the kernel reads and writes.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), SET_INTERFACE, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own: its namespaces go with it.
    #[test]
    fn this_kernel_is_tried_and_left_as_it_was() {
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let facts = std::thread::spawn(facts).join().unwrap();
        println!("{facts:#?}");
        assert!(!facts.release.is_empty());
        assert_eq!(facts.namespaces.len(), 5);
        if rustix::process::geteuid().is_root() {
            assert!(facts.namespaces.iter().all(|(_, tried)| tried.is_ok()));
        }
        assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), own);
    }
}

//! Landlock: a process gives up all files but those it names, for itself and its children, for good.
//!
//! The kernel may lack Landlock or know only a part of it; then the rest is enforced, and told.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, path_beneath_rules,
};
use serde::{Deserialize, Serialize};

/// What a process keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// Files, and directories with all below, that may be read and executed.
    pub read: Vec<PathBuf>,
    /// Those that may be changed too; devices count as well.
    pub write: Vec<PathBuf>,
}

/// How much of that the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcement {
    /// All.
    Full,
    /// Some kinds of access are unknown to this kernel.
    Partial,
    /// The kernel has no Landlock, or it is off.
    None,
}

/// Why the sandbox was not entered.
#[derive(Debug, thiserror::Error)]
#[error("confining this process with Landlock")]
pub struct SandboxError(#[from] landlock::RulesetError);

/// Confines the calling thread and all it starts from now on. Paths that do not exist are left out.
///
/// # Errors
/// When the kernel has Landlock and refuses.
/// # Caveats
/// Threads that run already stay as they are: call it early, in a process with one thread.
pub fn confine(keep: &Keep) -> Result<Enforcement, SandboxError> {
    let abi = ABI::V5;
    let existing = |paths: &[PathBuf]| {
        paths
            .iter()
            .filter(|p| p.exists())
            .cloned()
            .collect::<Vec<_>>()
    };
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(
            existing(&keep.read),
            AccessFs::from_read(abi),
        ))?
        .add_rules(path_beneath_rules(
            existing(&keep.write),
            AccessFs::from_all(abi),
        ))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Enforcement::Full,
        RulesetStatus::PartiallyEnforced => Enforcement::Partial,
        RulesetStatus::NotEnforced => Enforcement::None,
    })
}

/// Version of the kernel's Landlock interface; nothing where it has none, or it is off.
#[must_use]
#[allow(unsafe_code, reason = "the crate landlock does not tell the version")]
pub fn landlock_abi() -> Option<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION` (linux/landlock.h).
    const VERSION: libc::c_int = 1;
    // SAFETY: with this flag the call takes no attributes and answers with a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    u32::try_from(version).ok().filter(|v| *v > 0)
}

/// What almost every program reads: its libraries and their data.
#[must_use]
pub fn system_files() -> Vec<PathBuf> {
    [
        "/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev", "/opt", "/nix",
    ]
    .map(|p| Path::new(p).into())
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, given_up) = (dir.path().join("kept"), dir.path().join("given-up"));
        std::fs::create_dir_all(&kept).unwrap();
        std::fs::write(&given_up, "secret").unwrap();
        // Only this thread is confined, and it ends with the test.
        let enforcement = std::thread::spawn({
            let (kept, given_up) = (kept.clone(), given_up.clone());
            move || {
                let access = Keep {
                    read: system_files(),
                    write: vec![kept.clone(), "/nonexistent".into()],
                };
                let enforcement = confine(&access).unwrap();
                if enforcement != Enforcement::None {
                    std::fs::write(kept.join("file"), "mine").unwrap();
                    let denied = std::fs::read(&given_up).unwrap_err();
                    assert_eq!(denied.kind(), std::io::ErrorKind::PermissionDenied);
                }
                enforcement
            }
        })
        .join()
        .unwrap();
        println!("Landlock here: {enforcement:?}");
        assert_eq!(std::fs::read(&given_up).unwrap(), b"secret");
    }
}

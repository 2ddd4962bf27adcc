//! Which QEMU a program is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::limits;

/// A version of QEMU. Ordered by its numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub micro: u32,
    /// The packager's own name of it.
    pub package: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

// QMP nests the numbers in a member of their own.
impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Numbers {
            major: u32,
            minor: u32,
            micro: u32,
        }
        #[derive(Deserialize)]
        struct Wire {
            qemu: Numbers,
            #[serde(default)]
            package: String,
        }
        let Wire {
            qemu:
                Numbers {
                    major,
                    minor,
                    micro,
                },
            package,
        } = Wire::deserialize(deserializer)?;
        Ok(Self {
            major,
            minor,
            micro,
            package,
        })
    }
}

/// Why a version could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// The program cannot be run.
    #[error("running {} --version", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The program did not end in time.
    #[error("{} --version did not end within {} s", .program.display(), limits::VERSION.as_secs())]
    TimedOut {
        /// The program.
        program: PathBuf,
    },
    /// The output is not QEMU's.
    #[error("{} --version does not print a version of QEMU", .program.display())]
    NotQemu {
        /// The program.
        program: PathBuf,
    },
}

/// Runs `<program> --version`.
///
/// # Errors
/// As [`VersionError`] says.
pub async fn of_program(program: &Path) -> Result<Version, VersionError> {
    let failed = |source: std::io::Error| VersionError::Run {
        program: program.into(),
        source,
    };
    let mut child = Command::new(program)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let Some(stdout) = child.stdout.take() else {
        return Err(VersionError::NotQemu {
            program: program.into(),
        });
    };
    let mut text = String::new();
    timeout(limits::VERSION, async {
        stdout
            .take(limits::VERSION_BYTES as u64)
            .read_to_string(&mut text)
            .await?;
        child.wait().await
    })
    .await
    .map_err(|_| VersionError::TimedOut {
        program: program.into(),
    })?
    .map_err(failed)?;
    parse(&text).ok_or_else(|| VersionError::NotQemu {
        program: program.into(),
    })
}

/// Reads `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)`.
fn parse(text: &str) -> Option<Version> {
    let rest = text
        .lines()
        .next()?
        .strip_prefix("QEMU emulator version ")?;
    let (numbers, package) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut numbers = numbers.split('.').map(|n| n.parse::<u32>().ok());
    let version = Version {
        major: numbers.next()??,
        minor: numbers.next()??,
        micro: numbers.next().flatten().unwrap_or(0),
        package: package.trim_matches(['(', ')']).into(),
    };
    Some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_lines() {
        let debian =
            parse("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright").unwrap();
        assert_eq!((debian.major, debian.minor, debian.micro), (7, 2, 22));
        assert_eq!(debian.package, "Debian 1:7.2+dfsg-7");
        assert_eq!(
            parse("QEMU emulator version 10.0.0").unwrap().to_string(),
            "10.0.0"
        );
        assert_eq!(parse("bash 5"), None);
        assert_eq!(parse("QEMU emulator version x.y"), None);
    }

    #[tokio::test]
    async fn real_programs() {
        assert!(
            of_program(Path::new("qemu-system-x86_64"))
                .await
                .unwrap()
                .major
                >= 5
        );
        assert!(matches!(
            of_program(Path::new("/bin/true")).await,
            Err(VersionError::NotQemu { .. })
        ));
        assert!(matches!(
            of_program(Path::new("/nonexistent/qemu")).await,
            Err(VersionError::Run { .. })
        ));
    }
}

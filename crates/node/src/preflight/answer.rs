//! One probe, in a process of its own: looks at one aspect of the host and prints what it found, as JSON.
//!
//! Exit code 0: standard output is the aspect's facts. Else the last line of standard error says why there are none.

use std::io::Write;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use host::sandbox::{self, Keep};
use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;

use super::facts::{Aspect, Found, KvmFacts, QemuFacts, SandboxFacts};
use super::limits;
use crate::question::{self, QEMU};

/// The firmware of q35 machines.
const SEABIOS: &str = "bios-256k.bin";
/// Largest firmware image that is looked into.
const FIRMWARE_BYTES: u64 = 4 << 20;
/// What QEMU is confined with in earnest (`machine::command_line`).
const SECCOMP: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// The process's whole life. It ends with `parent`.
#[must_use]
pub fn main(aspect: Aspect, data_dir: &Path, parent: u32) -> ExitCode {
    let outcome = host::spawn::end_with(parent)
        .map_err(|e| e.to_string())
        .and_then(|()| look(aspect, data_dir))
        .and_then(|facts| {
            let text = serde_json::to_vec(&facts).map_err(|e| e.to_string())?;
            std::io::stdout()
                .write_all(&text)
                .map_err(|e| e.to_string())
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn look(aspect: Aspect, data_dir: &Path) -> Found<Value> {
    match aspect {
        Aspect::Cpu => facts(host::cpu::facts().map_err(doing("reading /proc/cpuinfo"))?),
        Aspect::Kvm => facts(KvmFacts {
            as_qemu: host::kvm::probe(limits::KVM),
            as_root: None,
        }),
        Aspect::Qemu => facts(on_a_runtime(qemu())?),
        Aspect::Kernel => facts(host::kernel::facts()),
        Aspect::Disk => {
            let doing = doing("asking the file system of the data directory");
            facts(host::storage::facts(data_dir).map_err(doing)?)
        }
        Aspect::Memory => facts(host::memory::facts().map_err(doing("reading /proc/meminfo"))?),
        Aspect::Time => facts(host::clock::facts()),
        Aspect::Sandbox => facts(sandbox_facts()?),
    }
}

fn facts(found: impl Serialize) -> Found<Value> {
    serde_json::to_value(found).map_err(|e| e.to_string())
}

fn doing(what: &str) -> impl FnOnce(std::io::Error) -> String {
    move |e| format!("{what}: {e}")
}

fn on_a_runtime<T>(work: impl Future<Output = Found<T>>) -> Found<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(doing("starting the probe's runtime"))?
        .block_on(work)
}

async fn qemu() -> Found<QemuFacts> {
    let version = qemu::version::of_program(Path::new(QEMU))
        .await
        .map_err(|e| {
            format!(
                "{}: is the package qemu-system-x86 installed?",
                question::chain(&e)
            )
        })?;
    let answers = question::converse(&["-machine", "none"], &["query-machines"], |_| ())
        .await
        .map_err(|e| question::chain(&e))?
        .0;
    let machines = answers.first().and_then(Value::as_array);
    let names = machines.into_iter().flatten().flat_map(|m| {
        let of = |key: &str| m.get(key).and_then(Value::as_str).map(str::to_owned);
        [of("name"), of("alias")]
    });
    Ok(QemuFacts {
        version: (version.major, version.minor),
        machine_types: names.flatten().collect(),
        seabios: seabios().await,
    })
}

/// Looks where QEMU itself looks.
async fn seabios() -> Found<String> {
    let output = Command::new(QEMU)
        .args(["-L", "help"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(doing("asking QEMU where its firmware is"))?;
    let directories = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found = directories.lines().map(|d| Path::new(d).join(SEABIOS));
    let path = found.find(|p| p.is_file()).ok_or_else(|| {
        let directories: Vec<&str> = directories.lines().collect();
        format!(
            "the firmware {SEABIOS} is in none of {}",
            directories.join(", ")
        )
    })?;
    use std::io::Read;
    let mut image = Vec::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(FIRMWARE_BYTES).read_to_end(&mut image))
        .map_err(doing(&format!("reading {}", path.display())))?;
    Ok(version_in(&image).unwrap_or_default())
}

/// The version that SeaBIOS carries: `rel-1.16.2-0-gea1b7a0`, or a distribution's `1.16.2-debian-1.16.2-1`.
fn version_in(image: &[u8]) -> Option<String> {
    let runs = image.split(|b| !b.is_ascii_graphic());
    let texts = runs.filter_map(|run| std::str::from_utf8(run).ok());
    texts
        .filter(|text| (5..64).contains(&text.len()))
        .find(|text| {
            let numbers = text.strip_prefix("rel-").unwrap_or(text);
            let mut parts = numbers.splitn(3, '.');
            let mut number = || {
                let part = parts.next().unwrap_or_default();
                let digits = part.bytes().take_while(u8::is_ascii_digit).count();
                (digits > 0, digits == part.len())
            };
            number() == (true, true) && number() == (true, true) && number().0
        })
        .map(str::to_owned)
}

/// In the user, without the privileges, and behind the fences that QEMU has in earnest.
fn sandbox_facts() -> Found<SandboxFacts> {
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(doing("reading /proc/self/status"))?;
    let landlock = sandbox::landlock_abi();
    let keep = Keep {
        read: sandbox::system_files(),
        write: ["/dev/null", "/dev/urandom"].map(Into::into).into(),
    };
    let confined = sandbox::confine(&keep).map(|_| ());
    let qemu = confined
        .map_err(|e| question::chain(&e))
        .and_then(|()| on_a_runtime(confined_qemu()));
    Ok(SandboxFacts {
        user: (
            number(&status, "Uid:").unwrap_or(u32::MAX),
            number(&status, "Gid:").unwrap_or(u32::MAX),
        ),
        unprivileged: number(&status, "NoNewPrivs:") == Some(1)
            && ["CapEff:", "CapPrm:", "CapBnd:"].map(|c| word(&status, c).map(all_zero))
                == [Some(true); 3],
        landlock,
        qemu,
    })
}

async fn confined_qemu() -> Found<()> {
    let args = ["-machine", "q35,accel=tcg", "-m", "64", "-S"];
    let args = [&args[..], &["-sandbox", SECCOMP]].concat();
    let (_, filtered) = question::converse(&args, &["query-status"], |pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        status.map(|s| number(&s, "Seccomp:") == Some(2))
    })
    .await
    .map_err(|e| question::chain(&e))?;
    match filtered {
        Ok(true) => Ok(()),
        Ok(false) => Err("no seccomp filter is in force".to_owned()),
        Err(error) => Err(format!("reading its status: {error}")),
    }
}

fn word<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()
}

fn number(status: &str, name: &str) -> Option<u32> {
    word(status, name)?.parse().ok()
}

fn all_zero(word: &str) -> bool {
    word.bytes().all(|b| b == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_seabios_are_found_in_images() {
        let image = |text: &str| {
            let mut image = vec![0_u8, 0xff, b'1', b'.', b'2', 0];
            image.extend(text.as_bytes());
            image.extend([0, 0x80]);
            image
        };
        for version in ["rel-1.16.2-0-gea1b7a0", "1.16.2-debian-1.16.2-1"] {
            assert_eq!(version_in(&image(version)).as_deref(), Some(version));
        }
        for other in ["", "1.x.2", "SeaBIOS", "a1.2.3"] {
            assert_eq!(version_in(&image(other)), None, "{other}");
        }
    }

    #[test]
    fn privileges_are_read_as_the_kernel_writes_them() {
        let status =
            "Uid:\t107\t107\t107\t107\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        assert_eq!(number(status, "Uid:"), Some(107));
        assert_eq!(number(status, "Seccomp:"), Some(2));
        assert_eq!(word(status, "CapEff:").map(all_zero), Some(true));
        assert_eq!(number(status, "Gid:"), None);
    }
}

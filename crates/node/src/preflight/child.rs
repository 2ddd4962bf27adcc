//! Probes in processes of their own: one that crashes or hangs is a failed check, and not a dead agent.

use std::path::PathBuf;
use std::time::Duration;

use api::vmruntime::EmulationPolicy;
use host::clock::ClockFacts;
use host::kvm::KvmReason;
use host::process::{Exit, Process};
use host::spawn::{Launch, Output, User, spawn};
use jiff::Timestamp;
use kube::Client;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;

use super::Probe;
use super::facts::{Aspect, Facts, Found, KvmFacts, TimeFacts};
use super::limits;

/// The real probe of this host.
#[derive(Clone)]
pub struct ChildProcesses {
    /// The executable with the verb `preflight-probe`.
    pub executable: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// User and group that QEMU runs as.
    pub qemu_user: (u32, u32),
    /// Tells what time the API server has.
    pub client: Client,
}

/// Kills what is dropped before it is over.
struct Guarded(Process);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It is a zombie already, or has nothing to lose.
        let _ = self.0.kill();
    }
}

impl ChildProcesses {
    async fn ask<T: DeserializeOwned>(&self, aspect: Aspect, user: Option<User>) -> Found<T> {
        let bound = match aspect {
            Aspect::Qemu | Aspect::Sandbox => limits::QEMU,
            _ => limits::PROBE,
        };
        let text = self.run(aspect, user, bound).await?;
        serde_json::from_slice(&text).map_err(|e| format!("the probe's answer makes no sense: {e}"))
    }

    async fn run(&self, aspect: Aspect, user: Option<User>, bound: Duration) -> Found<Vec<u8>> {
        let failed = |e: std::io::Error| format!("starting the probe: {e}");
        let (answer, stdout) = std::io::pipe().map_err(failed)?;
        let (words, stderr) = std::io::pipe().map_err(failed)?;
        let mut launch = Launch::new(&self.executable, "/");
        launch.arg0 = Some("ferrovirt".into());
        launch.args = [
            "preflight-probe".into(),
            aspect.name().into(),
            "--parent".into(),
            std::process::id().to_string().into(),
            "--data-dir".into(),
            self.data_dir.clone().into_os_string(),
        ]
        .into();
        launch.env = vec![
            ("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("LC_ALL".into(), "C".into()),
        ];
        launch.stdout = Output::To(stdout.into());
        launch.stderr = Output::To(stderr.into());
        launch.user = user;
        let process = Guarded(spawn(launch).map_err(|e| crate::question::chain(&e))?);
        let whole =
            async { tokio::join!(read(answer.into()), read(words.into()), process.0.exited()) };
        let Ok((answer, words, exit)) = timeout(bound, whole).await else {
            let _ = process.0.kill();
            let gone = timeout(limits::KILLED, process.0.exited()).await.is_ok();
            let end = if gone {
                "it was killed"
            } else {
                "it cannot even be killed"
            };
            return Err(format!(
                "the probe did not end within {} s, so this hangs on this host; {end}",
                bound.as_secs()
            ));
        };
        match exit.map_err(failed)? {
            Exit::Code(0) => answer.map_err(|e| format!("reading the probe's answer: {e}")),
            other => {
                let words = words.unwrap_or_default();
                let words = String::from_utf8_lossy(&words);
                Err(match (other, words.lines().last()) {
                    (Exit::Code(_), Some(last)) => last.to_owned(),
                    (other, _) => format!("the probe ended with {other}"),
                })
            }
        }
    }

    fn qemu_user(&self) -> User {
        User {
            uid: self.qemu_user.0,
            gid: self.qemu_user.1,
            groups: host::kvm::device_group().into_iter().collect(),
        }
    }

    /// Tries KVM as the user that QEMU runs as, and as root where that one may not open it.
    ///
    /// # Errors
    /// When the probe has crashed or hung, as a sentence.
    pub async fn kvm(&self) -> Found<KvmFacts> {
        let mut kvm: KvmFacts = self.ask(Aspect::Kvm, Some(self.qemu_user())).await?;
        if kvm.as_qemu.reason == KvmReason::NotPermitted {
            let root: KvmFacts = self.ask(Aspect::Kvm, None).await?;
            kvm.as_root = Some(root.as_qemu);
        }
        Ok(kvm)
    }

    async fn time(&self) -> Found<TimeFacts> {
        let clock: ClockFacts = self.ask(Aspect::Time, None).await?;
        let server = timeout(limits::SERVER_TIME, server_time(&self.client)).await;
        let server = server.ok().flatten();
        Ok(TimeFacts {
            clock,
            skew_seconds: server.map(|at| at.as_second() - Timestamp::now().as_second()),
        })
    }
}

async fn read(pipe: std::os::fd::OwnedFd) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let pipe = Receiver::from_owned_fd(pipe)?;
    pipe.take(limits::ANSWER_BYTES)
        .read_to_end(&mut all)
        .await?;
    Ok(all)
}

/// The `Date` of an answer. A server in this process sends none, and has no clock of its own.
async fn server_time(client: &Client) -> Option<Timestamp> {
    let request = http::Request::get("/version").body(kube::client::Body::empty());
    let response = client.send(request.ok()?).await.ok()?;
    let date = response.headers().get(http::header::DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(date)
        .ok()
}

impl Probe for ChildProcesses {
    async fn facts(&self, emulation: EmulationPolicy) -> Facts {
        // Alone: it measures time.
        let kvm = match emulation {
            EmulationPolicy::Always => None,
            _ => Some(Box::pin(self.kvm()).await),
        };
        let (cpu, kernel, disk, memory, time) = tokio::join!(
            self.ask(Aspect::Cpu, None),
            self.ask(Aspect::Kernel, None),
            self.ask(Aspect::Disk, None),
            self.ask(Aspect::Memory, None),
            self.time(),
        );
        let (qemu, sandbox) = tokio::join!(
            self.ask(Aspect::Qemu, None),
            self.ask(Aspect::Sandbox, Some(self.qemu_user())),
        );
        Facts {
            cpu,
            kvm,
            qemu,
            kernel,
            disk,
            memory,
            time,
            sandbox,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use host::memory::MemoryFacts;

    use super::*;

    /// Asks a probe that is this shell script.
    async fn ask(script: &str) -> Found<MemoryFacts> {
        let dir = tempfile::tempdir().unwrap();
        let executable = dir.path().join("probe");
        std::fs::write(&executable, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&executable, std::fs::Permissions::from_mode(0o755)).unwrap();
        let nowhere = kube::Config::new(http::Uri::from_static("http://127.0.0.1:1"));
        let probe = ChildProcesses {
            executable,
            data_dir: dir.path().to_owned(),
            qemu_user: (107, 107),
            client: Client::try_from(nowhere).unwrap(),
        };
        probe.ask(Aspect::Memory, None).await
    }

    #[tokio::test]
    async fn an_answer_is_what_the_probe_prints() {
        let facts = MemoryFacts {
            total: 5,
            ..MemoryFacts::default()
        };
        let text = serde_json::to_string(&facts).unwrap();
        assert_eq!(ask(&format!("echo '{text}'")).await, Ok(facts));
    }

    #[tokio::test]
    async fn a_probe_that_crashes_or_talks_nonsense_is_told() {
        let crashed = ask("kill -SEGV $$").await.unwrap_err();
        assert!(crashed.contains("signal 11"), "{crashed}");
        let failed = ask("echo first >&2; echo no such thing >&2; exit 1").await;
        assert_eq!(failed.unwrap_err(), "no such thing");
        let silent = ask("exit 3").await.unwrap_err();
        assert!(
            silent.contains("ended with") && silent.contains('3'),
            "{silent}"
        );
        let nonsense = ask("echo hello").await.unwrap_err();
        assert!(nonsense.contains("makes no sense"), "{nonsense}");
    }

    /// With the clock paused the bound is reached at once.
    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_killed_and_told() {
        let hung = ask("exec sleep 1000").await.unwrap_err();
        assert!(hung.contains("did not end within 20 s"), "{hung}");
    }
}

//! A tiny guest: its manifest, and the way to its login prompt.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::{Console, ImageServer, Platform, eventually};

use crate::objects::{self, Kind};

/// How long a guest may take to answer on its console.
pub const ANSWER: Duration = Duration::from_secs(60);

/// What of a manifest differs between tests.
#[derive(Debug, Clone)]
pub struct Guest {
    pub name: String,
    pub url: String,
    pub strategy: &'static str,
    pub storage: &'static str,
    pub user_data: String,
    pub grace_seconds: u32,
}

impl Guest {
    /// A guest that boots what the server has, at once.
    pub fn new(name: &str, server: &ImageServer) -> Self {
        Self {
            name: name.to_owned(),
            url: server.url(),
            strategy: "Always",
            storage: "128Mi",
            user_data: "#cloud-config\nhostname: tiny\n".to_owned(),
            grace_seconds: 30,
        }
    }

    pub fn strategy(mut self, strategy: &'static str) -> Self {
        self.strategy = strategy;
        self
    }

    pub fn storage(mut self, storage: &'static str) -> Self {
        self.storage = storage;
        self
    }

    pub fn grace_seconds(mut self, seconds: u32) -> Self {
        self.grace_seconds = seconds;
        self
    }

    /// Powers off by itself, in its first boot only.
    pub fn powers_off_once(mut self) -> Self {
        self.user_data = "#cloud-config\nhostname: tiny\nruncmd:\n- if [ ! -e /data/once ]; then touch /data/once; sync; poweroff; fi\n".to_owned();
        self
    }

    /// The manifest of a VirtualMachine.
    pub fn yaml(&self) -> String {
        let Self {
            name,
            url,
            strategy,
            storage,
            grace_seconds,
            ..
        } = self;
        let mut user_data = String::new();
        for line in self.user_data.lines() {
            let _ = write!(user_data, "\n            {line}");
        }
        format!(
            "apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: {name}
spec:
  runStrategy: {strategy}
  dataVolumeTemplates:
  - metadata:
      name: {name}-root
    spec:
      source:
        http:
          url: {url}
      storage:
        resources:
          requests:
            storage: {storage}
  template:
    metadata:
      labels:
        test: {name}
    spec:
      terminationGracePeriodSeconds: {grace_seconds}
      domain:
        cpu:
          cores: 1
        memory:
          guest: 96Mi
        devices:
          disks:
          - name: root
            disk:
              bus: virtio
          - name: seed
            disk:
              bus: virtio
      volumes:
      - name: root
        dataVolume:
          name: {name}-root
      - name: seed
        cloudInitNoCloud:
          userData: |{user_data}
"
        )
    }

    /// Applies the manifest.
    pub async fn apply(&self, platform: &Platform) -> Result<()> {
        let said = platform
            .kubectl()
            .run_with(&["apply", "-f", "-"], &self.yaml())
            .await?;
        ensure!(said.contains(&self.name), "kubectl apply said {said:?}");
        Ok(())
    }

    /// Applies the manifest and waits for the login prompt.
    pub async fn boot(&self, platform: &Platform) -> Result<()> {
        self.apply(platform).await?;
        running(platform, &self.name).await?;
        prompt(platform, &self.name).await
    }
}

/// Waits until the VM is `Running`; returns the uid of its instance.
pub async fn running(platform: &Platform, name: &str) -> Result<String> {
    objects::printable(platform, name, "Running").await?;
    let vmi = objects::get(platform, Kind::Instance, name).await?;
    Ok(objects::text(&vmi, "/metadata/uid"))
}

/// The serial log of the present instance, read with `kubectl logs`.
pub async fn serial_log(platform: &Platform, name: &str) -> Result<String> {
    let pod = objects::launcher_pod(platform, name).await?;
    platform
        .kubectl()
        .run(&["logs", &pod, "-c", "guest-console-log"])
        .await
}

/// Waits for the login prompt in the serial log.
pub async fn prompt(platform: &Platform, name: &str) -> Result<()> {
    eventually("the login prompt in the serial log", async || {
        let log = serial_log(platform, name).await?;
        let last: String = log.lines().rev().take(3).collect::<Vec<_>>().join(" <- ");
        ensure!(log.contains("tiny login:"), "the log ends with {last:?}");
        Ok(())
    })
    .await
}

/// Opens the console, logs in and runs a command: the console works, both ways.
pub async fn console_works(platform: &Platform, name: &str) -> Result<Console> {
    let mut console = open_console(platform, name).await?;
    console.log_in(ANSWER).await?;
    let sum = console.shell("echo $((6 * 7))", ANSWER).await?;
    ensure!(sum.ends_with("42"), "the guest's shell said {sum:?}");
    Ok(console)
}

/// Opens the console, without typing.
pub async fn open_console(platform: &Platform, name: &str) -> Result<Console> {
    Console::open(platform.client(), objects::NAMESPACE, name)
        .await
        .with_context(|| format!("opening the console of {name}"))
}

/// The pid of the only QEMU.
pub fn qemu_pid(platform: &Platform) -> Result<u32> {
    let all = platform.qemus();
    ensure!(all.len() == 1, "not one QEMU but {all:?}");
    Ok(all[0].pid)
}

//! `cargo xtask demo`: a guest from YAML, from nothing to its login prompt and back to nothing.
//!
//! ```text
//!  Stage (temporary directory) ─► `ferrovirt up` ─► apply examples/*.yaml
//!    │                                                          │ import (bar) ─► serial ─► "login:"
//!    │                                                          ▼
//!    │        SIGTERM ◄─ delete ◄─ stop (ACPI) ◄─ table of times per step
//!    ▼
//!  clear: what is left (processes, mounts, groups, files) is a failure, and is removed
//! ```
//!
//! Everything is done by the verbs of the `ferrovirt` binary, as a person would; what is measured
//! beside them is read from the serial port and from `/proc`.
//!
//! Invariants: every wait has a bound; whatever happens (failure, Ctrl-C, panic), [`Stage`] ends and
//! removes what the demo has started, and only that.

mod cast;
mod image;
mod import;
mod remains;
mod screen;
mod serial;
mod stage;
mod times;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};

use cast::Ferrovirt;
use serial::Serial;
use stage::{Platform, Stage};
use times::Times;

/// What the example's machine is called.
const VM: &str = "tiny";
/// Its DataVolume.
const DISK: &str = "tiny-root";
/// The address in the example that the demo's own server takes the place of.
const PLACEHOLDER: &str = "http://127.0.0.1:8000/tiny.qcow2";
/// What the guest's getty says.
const PROMPT: &str = "tiny login:";

/// Shows it.
pub fn run(top: &Path) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the demo needs root, as `ferrovirt up` does (network namespaces, control groups, processes of another user): try `sudo make demo`"
    );
    // Manifests are named as a person would, from the top of the repository.
    std::env::set_current_dir(top).with_context(|| format!("entering {}", top.display()))?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(Box::pin(show(top)))
}

async fn show(top: &Path) -> Result<()> {
    let stage = Stage::set()?;
    // It outlives the play: what went wrong is asked of it.
    let mut platform = None;
    let played = tokio::select! {
        played = play(top, &stage, &mut platform) => {
            if played.is_err() {
                stage.explain().await;
            }
            played
        }
        name = interrupted() => Err(anyhow!("interrupted by {name}")),
    };
    let left = stage.clear();
    let times = played?;
    ensure!(
        left.is_empty(),
        "the demo left something behind (it is removed now):\n  {}",
        left.join("\n  ")
    );
    screen::step("nothing is left: no process, mount, namespace, control group or file");
    println!("\n{times}");
    Ok(())
}

/// Resolves when somebody wants the demo to end.
async fn interrupted() -> &'static str {
    let on = |kind| signal(kind).ok();
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt()), on(SignalKind::terminate()));
    let (Some(interrupt), Some(terminate)) = (&mut interrupt, &mut terminate) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

async fn play(top: &Path, stage: &Stage, platform: &mut Option<Platform>) -> Result<Times> {
    let mut times = Times::default();
    let image = image::Server::start(&top.join("target/images/tiny.qcow2")).await?;

    screen::step("start the platform in a temporary directory");
    let begun = Instant::now();
    let platform = platform.insert(stage.start_platform()?);
    platform.ready().await?;
    times.ready = begun.elapsed();
    let ferrovirt = stage.ferrovirt();

    screen::step("switch the VM stack on");
    ferrovirt
        .show(&["apply", "-f", "examples/vmruntime.yaml"])
        .await?;
    ferrovirt
        .wait("vmruntime/vmruntime", "jsonpath={.status.ready}=true", 60)
        .await?;
    say_accelerator(&ferrovirt).await?;

    screen::step("declare a virtual machine (examples/vm.yaml, the image's address filled in)");
    let manifest = manifest(top, stage, &image.url())?;
    let spy = stage.spy();
    let applied = Instant::now();
    ferrovirt.show(&["apply", "-f", &manifest]).await?;
    import::follow(&ferrovirt, DISK).await?;

    screen::step("the guest's serial port");
    let mut serial = Serial::follow(&ferrovirt, VM).await?;
    let kernel = serial.until("Linux version", 120).await?;
    let login = serial.until(PROMPT, 120).await?;
    let disk = spy.disk_complete().context("no disk was ever seen")?;
    let qemu = spy.qemu_started().context("QEMU was never seen")?;
    times.import = disk.saturating_duration_since(applied);
    times.create = qemu.saturating_duration_since(disk);
    times.kernel = kernel.saturating_duration_since(qemu);
    times.login = login - kernel;
    serial.pause();

    screen::step("what the API says");
    ferrovirt.show(&["get", "vm,vmi,dv,pvc,pods"]).await?;

    screen::step("shut the guest down by its power button (ACPI)");
    let asked = Instant::now();
    ferrovirt.show(&["stop", VM]).await?;
    serial.until("poweroff now", 60).await?;
    ferrovirt
        .wait("vm/tiny", "jsonpath={.status.printableStatus}=Stopped", 60)
        .await?;
    times.stop = asked.elapsed();
    serial.pause();

    screen::step("delete it, its disk included");
    ferrovirt
        .show(&["delete", "vm", VM, "--timeout=60s"])
        .await?;
    nothing_left_in_the_api(&ferrovirt).await?;

    screen::step("stop the platform");
    platform.stop().await?;
    Ok(times)
}

/// The example, with the address of the demo's server.
fn manifest(top: &Path, stage: &Stage, url: &str) -> Result<String> {
    let example = top.join("examples/vm.yaml");
    let text = std::fs::read_to_string(&example)
        .with_context(|| format!("reading {}", example.display()))?;
    ensure!(
        text.contains(PLACEHOLDER),
        "{} does not contain {PLACEHOLDER}",
        example.display()
    );
    stage.write("vm.yaml", &text.replace(PLACEHOLDER, url))
}

/// Hardware or emulation, and why.
async fn say_accelerator(ferrovirt: &Ferrovirt) -> Result<()> {
    let runtime = ferrovirt.json(&["get", "vmruntime", "vmruntime"]).await?;
    let conditions = runtime
        .pointer("/status/conditions")
        .and_then(|c| c.as_array());
    let emulation = conditions
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "SoftwareEmulation")
        .context("the VMRuntime does not say whether it emulates")?;
    let why = emulation["message"].as_str().unwrap_or_default();
    match emulation["status"].as_str() {
        Some("True") => screen::say(&format!("software emulation: {why}")),
        _ => screen::say(&format!("hardware virtualization: {why}")),
    }
    Ok(())
}

/// What the machine owned goes with it.
async fn nothing_left_in_the_api(ferrovirt: &Ferrovirt) -> Result<()> {
    let kinds = "vm,vmi,dv,pvc,pv,pods";
    let mut last = String::new();
    let emptied = async {
        let mut again = tokio::time::interval(cast::AGAIN);
        loop {
            again.tick().await;
            // Of the machine's namespace: the platform's own components show as Pods in `vm-system`.
            last = ferrovirt.ask(&["get", kinds, "-o", "name"]).await?;
            if last.trim().is_empty() {
                return anyhow::Ok(());
            }
        }
    };
    match tokio::time::timeout(cast::bound(60), emptied).await {
        Ok(done) => done,
        Err(_) => bail!("60 s after the machine was deleted there are still:\n{last}"),
    }
}

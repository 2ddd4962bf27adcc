//! From YAML to a login prompt, and everything a person does with a guest that runs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::{ImageServer, Options, Platform, eventually, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::guest::{self, ANSWER, Guest};
use crate::objects::{self, Kind};

#[test]
fn a_guest_boots_from_yaml_shows_its_console_and_stops_gracefully() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        let guest = Guest::new("vm1", &server);
        guest.boot(p).await?;

        let dv = objects::get(p, Kind::DataVolume, "vm1-root").await?;
        assert_eq!(objects::text(&dv, "/status/phase"), "Succeeded");
        assert_eq!(objects::text(&dv, "/status/progress"), "100.0%");
        let vmi = objects::get(p, Kind::Instance, "vm1").await?;
        assert_eq!(objects::text(&vmi, "/status/phase"), "Running");
        assert_eq!(objects::text(&vmi, "/status/nodeName"), "node1");
        let table = p.kubectl().run(&["get", "vm"]).await?;
        ensure!(
            table.contains("Running") && table.contains("STATUS"),
            "{table}"
        );
        objects::has_event(p, "vm1", "SuccessfulCreate").await?;
        objects::has_event(p, "vm1", "SuccessfulDataVolumeCreate").await?;

        qemu_is_confined(p)?;
        let mut first = guest::console_works(p, "vm1").await?;
        let host = first.shell("hostname", ANSWER).await?;
        ensure!(host.ends_with("tiny"), "user-data named the guest {host:?}");
        let mut second = guest::open_console(p, "vm1").await?;
        first
            .closed(ANSWER)
            .await
            .context("a second console takes over the first")?;
        second.shell("true", ANSWER).await?;

        stops_gracefully(p, &guest).await?;
        second.closed(ANSWER).await?;
        ensure!(p.qemus().is_empty(), "{:?}", p.qemus());
        ensure!(p.launchers().is_empty(), "{:?}", p.launchers());
        Ok(())
    });
}

/// Not root, no capabilities, no new privileges, a seccomp filter.
fn qemu_is_confined(p: &Platform) -> Result<()> {
    let pid = guest::qemu_pid(p)?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(field("Uid:"), "107\t107\t107\t107");
    for capabilities in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    let own = std::fs::read_link("/proc/self/ns/net")?;
    let its = std::fs::read_link(format!("/proc/{pid}/ns/net"))?;
    ensure!(own != its, "QEMU is in the host's network namespace");
    Ok(())
}

async fn stops_gracefully(p: &Platform, guest: &Guest) -> Result<()> {
    let mut watch = p
        .kubectl()
        .command("kubectl")
        .args([
            "get",
            "pods",
            "-l",
            "kubevirt.io=virt-launcher",
            "-w",
            "-o",
            "yaml",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .context("watching the Pod")?;
    let mut seen = watch.stdout.take().context("its output")?;
    let begun = Instant::now();
    p.kubectl()
        .run(&[
            "patch",
            "vm",
            "vm1",
            "--type=merge",
            "-p",
            r#"{"spec":{"runStrategy":"Halted"}}"#,
        ])
        .await?;
    objects::gone(p, Kind::Instance, "vm1").await?;
    let took = begun.elapsed();
    objects::printable(p, "vm1", "Stopped").await?;
    ensure!(
        took < Duration::from_secs(u64::from(guest.grace_seconds)),
        "stopping took {took:?}: the grace period has expired"
    );
    let mut history = vec![0; 1 << 20];
    let mut length = 0;
    eventually(
        "the launcher to say that the guest powered off",
        async || {
            length += seen.read(&mut history[length..]).await?;
            let text = String::from_utf8_lossy(&history[..length]);
            ensure!(
                text.contains("the guest powered off as it was asked to"),
                "the Pod's last versions:\n{}",
                &text[text.len().saturating_sub(2000)..]
            );
            Ok(())
        },
    )
    .await?;
    watch.kill().await.context("ending the watch")
}

#[test]
fn a_guest_is_paused_unpaused_and_restarted_by_subresources() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        Guest::new("vm1", &server).boot(p).await?;
        objects::ask_instance(p, "vm1", "pause").await?;
        objects::printable(p, "vm1", "Paused").await?;
        let again = objects::ask_instance(p, "vm1", "pause").await;
        ensure!(
            format!("{:#}", again.unwrap_err()).contains("already paused"),
            "pausing twice is refused"
        );
        objects::ask_instance(p, "vm1", "unpause").await?;
        objects::printable(p, "vm1", "Running").await?;
        drop(guest::console_works(p, "vm1").await?);

        let before = guest::running(p, "vm1").await?;
        objects::ask_machine(p, "vm1", "restart").await?;
        eventually("another instance to run", async || {
            let vmi = objects::get(p, Kind::Instance, "vm1").await?;
            let phase = objects::text(&vmi, "/status/phase");
            let uid = objects::text(&vmi, "/metadata/uid");
            ensure!(uid != before && phase == "Running", "{uid} is {phase}");
            Ok(())
        })
        .await?;
        guest::prompt(p, "vm1").await?;
        objects::has_event(p, "vm1", "SuccessfulDelete").await?;
        Ok(())
    });
}

#[test]
fn our_own_console_command_works_in_a_pipe() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        Guest::new("vm1", &server).boot(p).await?;
        let mut console = p
            .ferrovirt_command()
            .args(["console", "vm1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting ferrovirt console")?;
        let mut keys = console.stdin.take().context("its input")?;
        let mut screen = console.stdout.take().context("its output")?;
        let mut text = String::new();
        let mut types = async |typed: &str, wanted: &str| -> Result<()> {
            keys.write_all(typed.as_bytes()).await?;
            let mut buffer = [0; 4096];
            let read = async {
                while !text.contains(wanted) {
                    let n = screen.read(&mut buffer).await?;
                    ensure!(n > 0, "the console ended");
                    text.push_str(&String::from_utf8_lossy(&buffer[..n]));
                }
                Ok(())
            };
            let done = tokio::time::timeout(ANSWER, read).await;
            done.with_context(|| format!("waiting for {wanted:?}, seen {text:?}"))??;
            text.clear();
            Ok(())
        };
        types("\r", "tiny login:").await?;
        types("root\r", "# ").await?;
        types("echo sum=$((40 + 2))\r", "sum=42").await?;
        // Ctrl+] ends the session, not the guest.
        keys.write_all(b"\x1d").await?;
        let ended = tokio::time::timeout(ANSWER, console.wait())
            .await
            .context("Ctrl+] does not end the console")??;
        ensure!(ended.success(), "{ended}");
        objects::printable(p, "vm1", "Running").await?;
        Ok(())
    });
}

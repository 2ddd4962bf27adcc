//! Backups of a running platform, and what a restored one answers.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use testkit::{ImageServer, Options, Platform, eventually, is_alive, run};

use super::{Answer, CONFIG_MAPS, ask, version};
use crate::guest::{self, Guest};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

fn without_machines() -> Options {
    Options {
        enable_runtime: false,
        ..Options::default()
    }
}

async fn create(client: &Client, name: &str) -> Result<Value> {
    let object = json!({"metadata": {"name": name}, "data": {"n": "0"}});
    ask(client, Method::POST, CONFIG_MAPS, JSON, &object)
        .await?
        .done()
}

async fn find(client: &Client, name: &str) -> Result<Option<Value>> {
    let path = format!("{CONFIG_MAPS}/{name}");
    match ask(client, Method::GET, &path, JSON, &Value::Null).await? {
        Answer::Refused(404, _) => Ok(None),
        answer => answer.done().map(Some),
    }
}

/// Writes one number into `left`, then into `right`, and so on: at no revision are they further apart than one.
async fn write_pairs(client: Client, stop: Arc<AtomicBool>) -> Result<u64> {
    for n in 1.. {
        for name in ["left", "right"] {
            let patch = json!({"data": {"n": n.to_string(), "text": "x".repeat(3000)}});
            let path = format!("{CONFIG_MAPS}/{name}");
            ask(&client, Method::PATCH, &path, MERGE, &patch)
                .await?
                .done()?;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(n);
        }
    }
    bail!("no end")
}

fn number(object: Option<Value>) -> Result<u64> {
    let object = object.context("it is not there")?;
    let n = object.pointer("/data/n").and_then(Value::as_str);
    Ok(n.context("no number")?.parse()?)
}

/// Stops the platform, puts the backup in the place of its store, and starts it again.
async fn restore(p: &mut Platform, file: &str) -> Result<String> {
    p.kill9()?;
    let store = p.data_dir().join("store");
    let data = p.data_dir().display().to_string();
    let refused = p
        .ferrovirt(&["restore", file, "--data-dir", &data], "")
        .await?;
    let refused = refused.refused()?;
    ensure!(
        refused.contains("move that directory away first"),
        "{refused}"
    );
    fs::rename(&store, p.dir().join(format!("lost-{}", p.log().len())))?;
    let said = p
        .ferrovirt(&["restore", file, "--data-dir", &data], "")
        .await?;
    let said = said.ok()?;
    p.restart().await?;
    Ok(said)
}

#[test]
fn a_backup_is_of_one_moment_and_what_came_after_it_is_gone_for_good() {
    run(without_machines(), async |p| {
        let client = p.client().clone();
        for name in ["left", "right"] {
            create(&client, name).await?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn(write_pairs(client.clone(), stop.clone()));
        eventually("some writes", async || {
            ensure!(number(find(&client, "right").await?)? > 3, "too few");
            Ok(())
        })
        .await?;
        let file = p.dir().join("backup.fvb").display().to_string();
        let said = p.ferrovirt(&["backup", &file], "").await?.ok()?;
        ensure!(said.contains(", 0 keys,"), "{said}");
        stop.store(true, Ordering::Relaxed);
        let last = writer.await??;
        // Not again without --force, and the file stays as it is.
        let before = fs::read(&file)?;
        let again = p.ferrovirt(&["backup", &file], "").await?.refused()?;
        ensure!(again.contains("--force"), "{again}");
        ensure!(fs::read(&file)? == before, "the file was changed");
        p.ferrovirt(&["backup", &file, "--verify"], "")
            .await?
            .ok()?;

        let late = version(&create(&client, "late").await?)?;
        let path = format!("{CONFIG_MAPS}/late");
        restore(p, &file).await?;
        let client = p.client().clone();
        let (left, right) = (
            number(find(&client, "left").await?)?,
            number(find(&client, "right").await?)?,
        );
        ensure!(
            (left == right || left == right + 1) && (3..=last).contains(&right),
            "left is {left}, right is {right}, the last was {last}"
        );
        ensure!(
            find(&client, "late").await?.is_none(),
            "it came after the backup"
        );
        // Whoever knows the lost past is told to begin anew.
        for query in ["watch=1&", "resourceVersionMatch=Exact&"] {
            let path = format!("{CONFIG_MAPS}?{query}resourceVersion={late}");
            match ask(&client, Method::GET, &path, JSON, &Value::Null).await? {
                Answer::Refused(410, _) => {}
                Answer::Done(event) if event.pointer("/object/code") == Some(&json!(410)) => {}
                Answer::Done(other) => bail!("{path}: {other}"),
                Answer::Refused(code, why) => bail!("{path}: {code}: {why}"),
                Answer::Lost => bail!("{path}: no answer"),
            }
        }
        let update = json!({"metadata": {"name": "late", "resourceVersion": late.to_string()}});
        let updated = ask(&client, Method::PUT, &path, JSON, &update).await?;
        ensure!(
            matches!(updated, Answer::Refused(404 | 409, _)),
            "an update of the lost past"
        );
        let again = version(&create(&client, "late").await?)?;
        ensure!(again > 1 << 40, "{again} after {late}");
        Ok(())
    });
}

#[test]
fn a_backup_is_for_system_masters_alone() {
    const PATH: &str = "/apis/engine.ferrovirt.io/v1/backup";
    run(without_machines(), async |p| {
        let refused = p
            .kubectl()
            .output(&["get", "--raw", PATH, "--as=jane"], "")
            .await?;
        let refused = refused.refused()?;
        ensure!(refused.contains("orbidden"), "{refused}");
        let bind = [
            "create",
            "clusterrolebinding",
            "jane",
            "--clusterrole=cluster-admin",
            "--user=jane",
        ];
        p.kubectl().run(&bind).await?;
        let refused = p
            .kubectl()
            .output(&["get", "--raw", PATH, "--as=jane"], "")
            .await?;
        let refused = refused.refused()?;
        ensure!(refused.contains("system:masters"), "{refused}");
        let file = p.dir().join("keys.fvb");
        let shown = file.display().to_string();
        let said = p
            .ferrovirt(&["backup", &shown, "--with-keys"], "")
            .await?
            .ok()?;
        ensure!(!said.contains(" 0 keys"), "{said}");
        // A new data directory gets the keys with the store, and the old kubeconfig works with it.
        let data = p.dir().join("elsewhere").display().to_string();
        let restore = ["restore", &shown, "--data-dir", &data];
        let said = p.ferrovirt(&restore, "").await?.ok()?;
        ensure!(said.contains("credentials of before stay valid"), "{said}");
        let authority = |data: &str| fs::read(format!("{data}/pki/ca.crt"));
        ensure!(
            authority(&data)? == authority(&p.data_dir().display().to_string())?,
            "another authority"
        );
        // A damaged backup is not restored at all.
        let mut bytes = fs::read(&file)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes)?;
        let data = p.dir().join("nowhere").display().to_string();
        let restore = ["restore", &shown, "--data-dir", &data];
        let said = p.ferrovirt(&restore, "").await?.refused()?;
        ensure!(said.contains("it is damaged at byte"), "{said}");
        ensure!(
            !fs::exists(&data)?,
            "something was made of a damaged backup"
        );
        Ok(())
    });
}

#[test]
fn damage_is_said_at_the_start_with_what_to_do() {
    run(without_machines(), async |p| {
        for n in 0..20 {
            create(p.client(), &format!("object-{n}")).await?;
        }
        p.kill9()?;
        let log = fs::read_dir(p.data_dir().join("store"))?
            .flatten()
            .map(|item| item.path())
            .find(|path| path.extension().is_some_and(|e| e == "log"))
            .context("a log")?;
        let whole = fs::read(&log)?;
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 0x10;
        fs::write(&log, &damaged)?;
        let Err(refused) = p.restart().await else {
            bail!("it started with a damaged store")
        };
        let refused = format!("{refused:#}");
        let name = log
            .file_name()
            .context("a name")?
            .to_string_lossy()
            .into_owned();
        for expected in [
            name.as_str(),
            " at offset ",
            "lost: the write of revision ",
            "ferrovirt restore FILE",
        ] {
            ensure!(
                refused.contains(expected),
                "{expected:?} is not in {refused}"
            );
        }
        ensure!(fs::read(&log)? == damaged, "the damaged file was changed");
        let data = p.data_dir().display().to_string();
        let check = ["check-store", "--data-dir", &data];
        let said = p.ferrovirt(&check, "").await?;
        ensure!(
            !said.success && said.stdout.contains("lost: the write of revision"),
            "{said:?}"
        );
        fs::write(&log, whole)?;
        p.ferrovirt(&check, "").await?.ok()?;
        p.restart().await
    });
}

#[test]
fn machines_outlive_an_emptied_store_and_are_found_again_by_a_restored_one() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        Guest::new("vm1", &server).boot(p).await?;
        let qemu = guest::qemu_pid(p)?;
        let file = p.dir().join("backup.fvb").display().to_string();
        p.ferrovirt(&["backup", &file], "").await?.ok()?;
        p.kill9()?;
        fs::remove_dir_all(p.data_dir().join("store"))?;
        p.restart().await?;
        eventually("an Event about the machine", async || {
            let reason = [
                "get",
                "events",
                "-A",
                "--field-selector=reason=PodOfAnotherStore",
                "-o",
                "name",
            ];
            let events = p.kubectl().run(&reason).await?;
            ensure!(!events.trim().is_empty(), "no event");
            Ok(())
        })
        .await?;
        ensure!(
            p.log().contains("runs here for another store"),
            "{}",
            p.log()
        );
        ensure!(is_alive(qemu), "the machine was ended");
        restore(p, &file).await?;
        drop(guest::console_works(p, "vm1").await?);
        ensure!(guest::qemu_pid(p)? == qemu, "another QEMU");
        // Known again, it is ours to end.
        p.kubectl().run(&["delete", "vm", "vm1"]).await?;
        eventually("the machine to end", async || {
            ensure!(!is_alive(qemu), "QEMU still runs");
            Ok(())
        })
        .await
    });
}

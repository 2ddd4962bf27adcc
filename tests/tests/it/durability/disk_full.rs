//! A data directory whose device is full: writes are refused as the API says it, everything else goes on.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use testkit::{Options, Platform, eventually, run};

use super::{Answer, CONFIG_MAPS, ask, name};

const JSON: &str = "application/json";
/// Bytes of the device; the platform's own objects and files take less than half.
const DEVICE: u64 = 24 << 20;
/// Bytes of each object.
const SIZE: usize = 8_000;

fn options() -> Options {
    Options {
        enable_runtime: false,
        device: Some(DEVICE),
        ..Options::default()
    }
}

async fn create(client: &Client, n: usize) -> Result<Answer> {
    let object = json!({"metadata": {"name": format!("fill-{n}"), "finalizers": finalizers(n)}, "data": {"text": "x".repeat(SIZE)}});
    ask(client, Method::POST, CONFIG_MAPS, JSON, &object).await
}

/// Some objects end in two steps.
fn finalizers(n: usize) -> &'static [&'static str] {
    match n % 10 {
        0 => &["example.com/hold"],
        _ => &[],
    }
}

/// Creates until the server refuses, as it should; gives the number of objects.
async fn create_until_full(client: &Client) -> Result<usize> {
    for n in 0.. {
        match create(client, n).await? {
            Answer::Done(_) => {}
            Answer::Refused(507, why) => {
                ensure!(why.contains("full"), "{why}");
                return Ok(n);
            }
            Answer::Refused(code, why) => bail!("{n}: {code}: {why}"),
            Answer::Lost => bail!("{n}: no answer"),
        }
    }
    bail!("it was never full")
}

async fn names(client: &Client) -> Result<Vec<String>> {
    let list = ask(client, Method::GET, CONFIG_MAPS, JSON, &Value::Null).await?;
    let list = list.done()?;
    let items = list["items"].as_array().context("a list has items")?;
    let mut names: Vec<String> = items.iter().map(|o| name(o).to_owned()).collect();
    names.retain(|n| n.starts_with("fill-"));
    Ok(names)
}

/// Somebody else takes what is left, so that no byte is free.
fn take_the_rest(data: &Path) -> Result<()> {
    let mut file = fs::File::create(data.join("others"))?;
    while file.write_all(&[1; 4096]).is_ok() {}
    Ok(())
}

async fn delete(client: &Client, n: usize) -> Result<()> {
    let path = format!("{CONFIG_MAPS}/fill-{n}");
    let doing = || format!("deleting fill-{n} on a full device");
    let deleted = ask(client, Method::DELETE, &path, JSON, &Value::Null).await?;
    deleted.done().with_context(doing)?;
    if !finalizers(n).is_empty() {
        let release = json!({"metadata": {"finalizers": null}});
        let merge = "application/merge-patch+json";
        let released = ask(client, Method::PATCH, &path, merge, &release).await?;
        released.done().with_context(doing)?;
    }
    Ok(())
}

async fn creates_again(client: &Client, n: usize) -> Result<()> {
    eventually("a write to be accepted again", async || {
        create(client, n).await?.done().map(drop)
    })
    .await
}

#[test]
fn on_a_full_device_deletions_work_and_make_space() {
    run(options(), async |p| {
        let objects = create_until_full(p.client()).await?;
        ensure!(objects > 100, "{objects} objects");
        take_the_rest(p.data_dir())?;
        ensure!(
            matches!(create(p.client(), objects).await?, Answer::Refused(507, _)),
            "a full device took a write"
        );
        ensure!(
            names(p.client()).await?.len() == objects,
            "a list on a full device"
        );
        for n in 0..objects / 2 {
            delete(p.client(), n).await?;
        }
        let left = names(p.client()).await?;
        ensure!(
            left.len() == objects - objects / 2,
            "{} are left",
            left.len()
        );
        creates_again(p.client(), 0).await?;
        p.kill9()?;
        p.restart().await?;
        ensure!(
            names(p.client()).await?.len() == left.len() + 1,
            "a restart lost something"
        );
        Ok(())
    });
}

async fn watched(p: &Platform, from: &str, last: usize) -> Result<usize> {
    use futures_util::StreamExt;
    use kube::api::{Api, DynamicObject, WatchEvent, WatchParams};
    use kube::core::{ApiResource, GroupVersionKind};
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let api: Api<DynamicObject> = Api::namespaced_with(p.client().clone(), "default", &kind);
    let mut events = api.watch(&WatchParams::default(), from).await?.boxed();
    let last = format!("fill-{last}");
    let mut n = 0;
    loop {
        match events.next().await.context("the watch ended")?? {
            WatchEvent::Added(object) => {
                let name = object.metadata.name.unwrap_or_default();
                // What the platform puts into every namespace may come in between.
                if !name.starts_with("fill-") {
                    continue;
                }
                ensure!(name == format!("fill-{n}"), "{name} instead of fill-{n}");
                if name == last {
                    return Ok(n);
                }
                n += 1;
            }
            other => bail!("{other:?}"),
        }
    }
}

#[test]
fn when_space_returns_writes_and_watches_go_on_without_a_restart() {
    run(options(), async |p| {
        let list = ask(p.client(), Method::GET, CONFIG_MAPS, JSON, &Value::Null).await?;
        let from = super::version(&list.done()?)?.to_string();
        let others = p.data_dir().join("others");
        take_the_rest(p.data_dir())?;
        // What is left in the store's own files and in its pages is used up first.
        let objects = create_until_full(p.client()).await?;
        fs::remove_file(others)?;
        creates_again(p.client(), objects).await?;
        let seen = watched(p, &from, objects).await?;
        ensure!(seen == objects, "{seen} of {objects}");
        p.kill9()?;
        p.restart().await?;
        ensure!(
            names(p.client()).await?.len() == objects + 1,
            "a restart lost something"
        );
        Ok(())
    });
}

#[test]
fn a_platform_starts_on_a_full_device_and_can_be_cleaned() {
    run(options(), async |p| {
        let objects = create_until_full(p.client()).await?;
        take_the_rest(p.data_dir())?;
        p.kill9()?;
        p.restart().await?;
        ensure!(
            names(p.client()).await?.len() == objects,
            "a restart lost something"
        );
        for n in 0..objects / 2 {
            delete(p.client(), n).await?;
        }
        creates_again(p.client(), 0).await
    });
}

//! Clients that are not ours: the Python client, Helm, kube-rs. kubectl is in [`crate::kubectl`].
//!
//! They run unmodified, against a server without VMs.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::{Event, InitialListStrategy};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use testkit::{Options, Output, Platform, eventually, run};

fn without_vms() -> Options {
    Options {
        enable_runtime: false,
        ..Options::default()
    }
}

#[test]
fn the_python_client_finds_a_kubernetes() {
    run(without_vms(), async |p| {
        let python = testkit::clients()?.join("python");
        let script = testkit::client_files().join("flows.py");
        let script = script.to_str().context("a path that is no text")?;
        let said = p.kubectl().program(python, &[script], "").await?.ok()?;
        ensure!(said == "passed\n", "{said:?}");
        Ok(())
    });
}

async fn helm(p: &Platform, args: &[&str]) -> Result<Output> {
    let helm = testkit::clients()?.join("helm");
    let mut all = args.to_vec();
    all.extend(["--namespace", "charts"]);
    p.kubectl().program(helm, &all, "").await
}

async fn greeting(p: &Platform) -> Result<String> {
    let args = ["get", "configmap", "demo", "-n", "charts"];
    let args = [&args[..], &["-o", "jsonpath={.data.greeting}"]].concat();
    p.kubectl().run(&args).await
}

#[test]
fn helm_installs_upgrades_rolls_back_and_uninstalls() {
    run(without_vms(), async |p| {
        let chart = testkit::client_files().join("chart");
        let chart = chart.to_str().context("a path that is no text")?;
        let install = ["install", "demo", chart, "--create-namespace", "--wait"];
        let said = helm(p, &install).await?.ok()?;
        ensure!(said.contains("STATUS: deployed"), "{said}");
        ensure!(greeting(p).await? == "hello");
        helm(p, &install).await?.refused()?;

        let upgrade = ["upgrade", "demo", chart, "--wait", "--set"];
        helm(p, &[&upgrade[..], &["greeting=hi"]].concat())
            .await?
            .ok()?;
        ensure!(greeting(p).await? == "hi");
        helm(p, &["rollback", "demo", "1", "--wait"]).await?.ok()?;
        ensure!(greeting(p).await? == "hello");

        let bad = [&upgrade[..], &["size=huge,greeting=never", "--atomic"]].concat();
        let said = helm(p, &bad).await?.refused()?;
        ensure!(
            said.contains("Unsupported value: \"huge\"") && said.contains("has been rolled back"),
            "{said}"
        );
        ensure!(greeting(p).await? == "hello");
        let history = helm(p, &["history", "demo", "-o", "json"]).await?.ok()?;
        let history: serde_json::Value = serde_json::from_str(&history).context("history")?;
        let revisions = history.as_array().context("history is no list")?;
        let states: Vec<_> = revisions.iter().map(|r| r["status"].as_str()).collect();
        ensure!(
            states[states.len() - 2..] == [Some("failed"), Some("deployed")],
            "{history}"
        );

        helm(p, &["uninstall", "demo", "--wait"]).await?.ok()?;
        let args = ["get", "secret,sa,role,service,widget", "-n", "charts"];
        let left = p
            .kubectl()
            .run(&[&args[..], &["-o", "name"]].concat())
            .await?;
        ensure!(left.trim() == "serviceaccount/default", "left: {left}");
        // What a chart has in `crds` stays, as Helm promises.
        p.kubectl()
            .run(&["get", "crd", "widgets.charts.example.com"])
            .await?;
        Ok(())
    });
}

#[test]
fn kube_rs_streams_lists_and_applies() {
    run(without_vms(), async |p| {
        let client = p.client().clone();
        let discovery = kube::Discovery::new(client.clone()).run().await?;
        let groups: BTreeSet<_> = discovery.groups().map(|g| g.name().to_owned()).collect();
        ensure!(
            groups.contains("kubevirt.io") && groups.contains("apps"),
            "{groups:?}"
        );

        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
        let api: Api<DynamicObject> = Api::namespaced_with(client, "default", &resource);
        for number in 0..7 {
            let object = json!({
                "metadata": {"name": format!("streamed-{number}"), "labels": {"streamed": "yes"}},
                "data": {"n": number.to_string()},
            });
            api.create(&PostParams::default(), &serde_json::from_value(object)?)
                .await?;
        }
        // A streamed list ends with a bookmark; then changes follow.
        let config = watcher::Config {
            initial_list_strategy: InitialListStrategy::StreamingList,
            ..watcher::Config::default().labels("streamed=yes")
        };
        let mut events = watcher(api.clone(), config).default_backoff().boxed();
        let mut seen = BTreeSet::new();
        loop {
            let event = events.try_next().await?.context("the watch ended")?;
            match event {
                Event::InitApply(object) => {
                    seen.insert(object.metadata.name.unwrap_or_default());
                }
                Event::InitDone => break,
                Event::Init => {}
                other => anyhow::bail!("before the end of the list: {other:?}"),
            }
        }
        ensure!(seen.len() == 7, "{seen:?}");
        let apply = |n: &str| {
            Patch::Apply(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "streamed-3"}, "data": {"n": n},
            }))
        };
        let refused = api
            .patch(
                "streamed-3",
                &PatchParams::apply("kube-rs"),
                &apply("other"),
            )
            .await;
        ensure!(
            matches!(&refused, Err(kube::Error::Api(status)) if status.code == 409),
            "{refused:?}"
        );
        let forced = PatchParams::apply("kube-rs").force();
        api.patch("streamed-3", &forced, &apply("other")).await?;
        let event = events.try_next().await?.context("the watch ended")?;
        ensure!(
            matches!(&event, Event::Apply(o) if o.data["data"]["n"] == "other"),
            "{event:?}"
        );
        let page = api
            .list(&ListParams::default().labels("streamed=yes").limit(3))
            .await?;
        ensure!(page.items.len() == 3 && page.metadata.remaining_item_count.is_none());
        ensure!(
            page.metadata
                .continue_
                .is_some_and(|token| !token.is_empty())
        );
        api.delete_collection(
            &kube::api::DeleteParams::default(),
            &ListParams::default().labels("streamed=yes"),
        )
        .await?;
        eventually("all to be gone", async || {
            let left = api
                .list(&ListParams::default().labels("streamed=yes"))
                .await?;
            ensure!(left.items.is_empty(), "{} are left", left.items.len());
            Ok(())
        })
        .await
    });
}

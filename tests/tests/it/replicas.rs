//! Several control planes over one etcd: real processes, a real etcd, the real kubectl.

// The file alone: the crate's feature would build everything twice.
#[path = "../../../crates/store/src/etcd/server.rs"]
#[allow(dead_code, reason = "what the store's own tests need beyond this")]
mod server;

mod agreement;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};
use kube::api::{
    Api, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use server::EtcdServer;
use testkit::{Options, Platform, eventually, eventually_within};

/// Runs a test in a runtime of its own.
pub(crate) fn run(body: impl Future<Output = Result<()>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    if let Err(error) = runtime.block_on(body) {
        panic!("{error:#}");
    }
}

/// An etcd, and a directory for the keys that its control planes share.
pub(crate) struct Base {
    pub(crate) etcd: EtcdServer,
    directory: tempfile::TempDir,
}

impl Base {
    pub(crate) fn new() -> Result<Self> {
        Self::with(&[])
    }

    /// With more arguments of etcd.
    fn with(arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("fvt-etcd-").tempdir()?;
        let etcd = EtcdServer::start(&directory.path().join("etcd"), arguments);
        Ok(Self { etcd, directory })
    }

    fn options(&self, node: &str, more: &[&str]) -> Options {
        let mut arguments = vec!["--etcd-servers".to_owned(), self.etcd.url()];
        arguments.push("--pki-dir".to_owned());
        arguments.push(self.directory.path().join("pki").display().to_string());
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        Options {
            node: node.to_owned(),
            enable_runtime: false,
            arguments,
            device: None,
        }
    }

    async fn full(&self, node: &str) -> Result<Platform> {
        Platform::start(self.options(node, &[])).await
    }

    pub(crate) async fn api_only(&self, node: &str) -> Result<Platform> {
        Platform::start(self.options(node, &["--api-only"])).await
    }
}

fn api(p: &Platform, kind: &str, namespace: &str) -> Api<DynamicObject> {
    api_of(p.client(), kind, namespace)
}

fn api_of(client: &Client, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

fn object(value: Value) -> Result<DynamicObject> {
    Ok(serde_json::from_value(value)?)
}

fn config_map(name: &str, value: &str) -> Result<DynamicObject> {
    object(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": value}}),
    )
}

/// Whatever one replica has acknowledged, the other one answers with.
#[test]
fn what_one_replica_acknowledges_the_other_knows() {
    run(async {
        let base = Base::new()?;
        let one = base.full("one").await?;
        let two = base.api_only("two").await?;
        let (a, b) = (
            api(&one, "ConfigMap", "default"),
            api(&two, "ConfigMap", "default"),
        );

        let mut watch = b.watch(&WatchParams::default(), "0").await?.boxed();
        let params = PostParams::default();
        for n in 0..20 {
            let name = format!("cm{n}");
            let made = a.create(&params, &config_map(&name, "1")?).await?;
            let mut read = b
                .get(&name)
                .await
                .context("read through the other replica")?;
            ensure!(read.resource_version() == made.resource_version());
            let listed = b.list(&ListParams::default()).await?;
            ensure!(
                listed.iter().any(|cm| cm.name_any() == name),
                "{name} is not listed"
            );
            read.data["data"]["v"] = json!("2");
            let written = b.replace(&name, &params, &read).await?;
            let seen = a.get(&name).await?;
            ensure!(seen.resource_version() == written.resource_version());
            ensure!(
                a.replace(&name, &params, &made).await.is_err(),
                "an old version wins"
            );
        }
        // The other one's watch has all of it, in order.
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let all = async {
            while values.values().flatten().count() < 40 {
                let event = watch.try_next().await?.context("the watch ended")?;
                if let WatchEvent::Added(cm) | WatchEvent::Modified(cm) = event
                    && cm.name_any().starts_with("cm")
                {
                    let value = cm.data["data"]["v"].as_str().unwrap_or_default();
                    values
                        .entry(cm.name_any())
                        .or_default()
                        .push(value.to_owned());
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(Duration::from_secs(60), all).await??;
        ensure!(
            values.len() == 20 && values.values().all(|v| *v == ["1", "2"]),
            "{values:?}"
        );

        // Kinds, accounts and roles that were made through the other one a moment ago.
        let (ka, kb) = (one.kubectl(), two.kubectl());
        ka.run_with(&["apply", "-f", "-"], CRD).await?;
        ka.run(&[
            "wait",
            "--for=condition=Established",
            "crd/things.example.com",
        ])
        .await?;
        kb.run_with(&["create", "-f", "-"], THING).await?;
        ensure!(
            ka.run(&["get", "thing", "t", "-o", "jsonpath={.spec.size}"])
                .await?
                == "1"
        );
        kb.run(&["create", "serviceaccount", "robot"]).await?;
        kb.run(&[
            "create",
            "role",
            "reader",
            "--verb=get",
            "--resource=configmaps",
        ])
        .await?;
        let bind = [
            "create",
            "rolebinding",
            "r",
            "--role=reader",
            "--serviceaccount=default:robot",
        ];
        ka.run(&bind).await?;
        let robot = "--as=system:serviceaccount:default:robot";
        ensure!(kb.run(&["get", "cm", "cm1", robot, "-o", "name"]).await? == "configmap/cm1\n");
        kb.refused(&["get", "secrets", robot], "").await?;
        Ok(())
    });
}

const CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  names: {kind: Thing, plural: things, singular: thing}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {size: {type: integer}}}}
"#;

const THING: &str = r#"{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"size": 1}}"#;

/// Quotas and addresses hold across replicas, however writes are spread over them.
#[test]
fn quotas_and_addresses_hold_across_replicas() {
    run(async {
        let base = Base::new()?;
        let one = base.api_only("one").await?;
        let two = base.api_only("two").await?;
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
            "spec": {"hard": {"secrets": "10"}}});
        let params = PostParams::default();
        api(&one, "ResourceQuota", "default")
            .create(&params, &object(quota)?)
            .await?;
        let secrets = [
            api(&one, "Secret", "default"),
            api(&two, "Secret", "default"),
        ];
        let outcomes = join_all((0..40).map(|n| {
            let (secrets, params) = (&secrets[n % 2], &params);
            async move {
                let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("s{n}")}});
                secrets.create(params, &object(secret)?).await.map_err(anyhow::Error::from)
            }
        }))
        .await;
        let refused: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
        for error in &refused {
            ensure!(error.to_string().contains("exceeded quota: q"), "{error}");
        }
        ensure!(refused.len() == 30, "{} of 40 were refused", refused.len());
        let listed = secrets[1].list(&ListParams::default()).await?;
        ensure!(listed.items.len() == 10, "{} secrets", listed.items.len());
        // What is deleted through one replica is free in the other.
        let gone = listed.items[0].name_any();
        secrets[0].delete(&gone, &Default::default()).await?;
        eventually("the place to be free", async || {
            let secret =
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "again"}});
            match secrets[1].create(&params, &object(secret)?).await {
                Err(kube::Error::Api(s)) if s.code == 409 => Ok(()),
                other => other.map(drop).map_err(Into::into),
            }
        })
        .await?;

        let services = [
            api(&one, "Service", "default"),
            api(&two, "Service", "default"),
        ];
        let service = |name: String, n: usize, given: bool| {
            let mut spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
            if given {
                spec["clusterIP"] = json!(format!("10.96.0.{}", 10 + n));
                spec["ports"][0]["nodePort"] = json!(30_100 + n);
            }
            object(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}),
            )
        };
        // Each pair asks both replicas for the same address and port; others take what they are given.
        let outcomes = join_all((0..36).map(|n| {
            let (services, params, service) = (&services[n % 2], &params, &service);
            async move {
                let made = service(format!("svc{n}"), n / 2, n < 24)?;
                services
                    .create(params, &made)
                    .await
                    .map_err(anyhow::Error::from)
            }
        }))
        .await;
        for pair in outcomes[..24].chunks(2) {
            let made = pair.iter().filter(|outcome| outcome.is_ok()).count();
            ensure!(made <= 1, "{made} Services have one address: {pair:?}");
            for error in pair.iter().filter_map(|outcome| outcome.as_ref().err()) {
                ensure!(error.to_string().contains("already allocated"), "{error}");
            }
        }
        for outcome in &outcomes[24..] {
            ensure!(outcome.is_ok(), "{outcome:?}");
        }
        let listed = services[0].list(&ListParams::default()).await?;
        let mut seen: Vec<String> = Vec::new();
        for service in &listed.items {
            let spec = &service.data["spec"];
            seen.push(spec["clusterIP"].to_string());
            seen.extend(spec["ports"][0].get("nodePort").map(Value::to_string));
        }
        // One of each pair has it, unless a third was given the port before both.
        for port in 30_100..30_112 {
            ensure!(seen.contains(&port.to_string()), "nobody has {port}");
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        ensure!(seen.len() == count, "an address or a port is there twice");
        Ok(())
    });
}

/// A replica that is killed takes nothing with it.
#[test]
fn a_killed_replica_loses_nothing() {
    run(async {
        let base = Base::new()?;
        let one = base.api_only("one").await?;
        let mut two = base.api_only("two").await?;
        for round in 0..3 {
            let client = two.client().clone();
            let writers = join_all((0..8).map(|writer| {
                let api = api_of(&client, "ConfigMap", "default");
                async move {
                    let mut acknowledged = Vec::new();
                    for n in 0..1000 {
                        let name = format!("r{round}-w{writer}-{n}");
                        let map = config_map(&name, &"x".repeat(n)).unwrap();
                        match api.create(&PostParams::default(), &map).await {
                            Ok(made) => acknowledged.push((name, made.resource_version())),
                            Err(_) => break,
                        }
                    }
                    acknowledged
                }
            }));
            let maps = api(&one, "ConfigMap", "default");
            let kill = async {
                let prefix = format!("r{round}-");
                eventually("some writes", async || {
                    let listed = maps.list(&ListParams::default()).await?;
                    let count = listed
                        .iter()
                        .filter(|cm| cm.name_any().starts_with(&prefix))
                        .count();
                    ensure!(count > 20 + 17 * round, "{count}");
                    Ok(())
                })
                .await?;
                two.kill9()
            };
            let (acknowledged, killed) = tokio::join!(writers, kill);
            killed?;
            let listed = maps.list(&ListParams::default()).await?;
            let there: BTreeMap<_, _> = listed
                .iter()
                .map(|cm| (cm.name_any(), cm.resource_version()))
                .collect();
            let acknowledged: Vec<_> = acknowledged.into_iter().flatten().collect();
            ensure!(acknowledged.len() > 20);
            for (name, version) in acknowledged {
                ensure!(
                    there.get(&name) == Some(&version),
                    "{name} is not as it was acknowledged"
                );
            }
            for cm in listed.iter().filter(|cm| cm.name_any().starts_with('r')) {
                let name = cm.name_any();
                let n: usize = name.rsplit('-').next().unwrap_or_default().parse()?;
                ensure!(
                    cm.data["data"]["v"].as_str().map(str::len) == Some(n),
                    "half of {name}"
                );
            }
            two.restart().await?;
        }
        Ok(())
    });
}

/// One runs the controllers; when it dies another one takes over, and does what is left to do.
#[test]
fn another_control_plane_takes_the_controllers_over() {
    run(async {
        let base = Base::new()?;
        let mut one = base.full("one").await?;
        let holder = async |p: &Platform| {
            let lease = ["get", "lease", "-n", "kube-system", "ferrovirt-controllers"];
            let path = ["-o", "jsonpath={.spec.holderIdentity}"];
            p.kubectl().run(&[&lease[..], &path[..]].concat()).await
        };
        eventually("the first to lead", async || {
            let holder = holder(&one).await?;
            ensure!(holder.starts_with("one_"), "{holder:?}");
            Ok(())
        })
        .await?;
        let mut two = base.full("two").await?;
        two.kubectl().run(&["create", "namespace", "gone"]).await?;
        two.kubectl()
            .run(&["delete", "namespace", "gone", "--timeout=60s"])
            .await?;
        ensure!(
            holder(&two).await?.starts_with("one_"),
            "the second does not wait"
        );

        one.kill9()?;
        two.kubectl().run(&["create", "namespace", "later"]).await?;
        two.kubectl()
            .run(&["delete", "namespace", "later", "--wait=false"])
            .await?;
        eventually_within(Duration::from_secs(90), "the second to lead", async || {
            let holder = holder(&two).await?;
            ensure!(holder.starts_with("two_"), "{holder:?}");
            Ok(())
        })
        .await?;
        two.kubectl()
            .run(&["wait", "--for=delete", "namespace/later", "--timeout=60s"])
            .await?;

        // An orderly end gives it back: the next one need not wait for it to lapse.
        one.restart().await?;
        two.stop().await?;
        eventually_within(
            Duration::from_secs(12),
            "the first to lead again",
            async || {
                let holder = holder(&one).await?;
                ensure!(holder.starts_with("one_"), "{holder:?}");
                Ok(())
            },
        )
        .await?;
        one.stop().await
    });
}

/// A replica with keys of its own would hand out certificates that the others do not know.
#[test]
fn a_replica_with_other_keys_does_not_start() {
    run(async {
        let base = Base::new()?;
        let _one = base.api_only("one").await?;
        let mut other = base.options("two", &["--api-only"]);
        let at = other
            .arguments
            .iter()
            .position(|a| a == "--pki-dir")
            .context("it is there")?;
        other.arguments[at + 1] = base.directory.path().join("own").display().to_string();
        let error = Platform::start(other).await.err().context("it starts")?;
        let said = format!("{error:#}");
        ensure!(said.contains("copy them from another replica"), "{said}");
        Ok(())
    });
}

/// What etcd does not take is said to be too large, and the server is as healthy as before.
#[test]
fn an_object_beyond_what_etcd_takes_is_too_large() {
    run(async {
        // Less than etcd's default: the API server's own limit of a ConfigMap is 1 MiB.
        let base = Base::with(&["--max-request-bytes=1000000"])?;
        let one = base.api_only("one").await?;
        let maps = api(&one, "ConfigMap", "default");
        let params = PostParams::default();
        let too_large = |outcome: kube::Result<DynamicObject>| match outcome {
            Err(kube::Error::Api(status)) => {
                ensure!(status.code == 413, "{status:?}");
                ensure!(status.reason == "RequestEntityTooLarge", "{status:?}");
                let said = &status.message;
                ensure!(said.starts_with("Request entity too large: "), "{said}");
                ensure!(said.contains("etcdserver: request is too large"), "{said}");
                Ok(())
            }
            other => anyhow::bail!("{:?}", other.map(|made| made.name_any())),
        };
        let large = config_map("cm", &"x".repeat(1_040_000))?;
        too_large(maps.create(&params, &large).await)?;
        let made = maps.create(&params, &config_map("cm", "1")?).await?;
        too_large(maps.replace("cm", &params, &large).await)?;
        let applied = Patch::Apply(&large);
        let manager = PatchParams::apply("test");
        too_large(maps.patch("cm", &manager.force(), &applied).await)?;
        let found = maps.get("cm").await?;
        ensure!(found.resource_version() == made.resource_version());
        let live = http::Request::get("/livez").body(Vec::new())?;
        ensure!(one.client().request_text(live).await? == "ok");
        Ok(())
    });
}

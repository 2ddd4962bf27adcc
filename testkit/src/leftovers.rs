//! What a platform has at a moment, so that a later moment can be compared with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::{Discovery, verbs};
use kube::{Client, ResourceExt};

use crate::{Platform, eventually_within, remains};

/// How long the last of a VM may take to go, after its object is gone.
const SETTLE: Duration = Duration::from_secs(30);
/// Records that are meant to outlive what they speak of.
const RECORDS: [&str; 3] = ["events", "leases", "vmruntimepreflightchecks"];

/// Processes, mounts, control groups, network interfaces, files and objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers(BTreeSet<String>);

impl Leftovers {
    /// What is there now.
    ///
    /// # Errors
    /// When the objects cannot be listed.
    pub async fn snapshot(platform: &Platform) -> Result<Self> {
        let root = platform.dir();
        let pods = remains::pods(root);
        let mut all = BTreeSet::new();
        for process in remains::processes(root, &pods) {
            // The control plane itself is not what a VM leaves.
            if process.args.get(1).is_none_or(|verb| verb != "up") {
                all.insert(format!(
                    "process {} {}",
                    process.pid,
                    process.args.join(" ")
                ));
            }
        }
        let shown = |what: &str, path: &Path| format!("{what} {}", path.display());
        all.extend(remains::mounts(root).iter().map(|m| shown("mount", m)));
        all.extend(remains::cgroups(&pods).iter().map(|c| shown("cgroup", c)));
        let interfaces = fs::read_dir("/sys/class/net").context("listing the interfaces")?;
        all.extend(interfaces.flatten().map(|i| shown("interface", &i.path())));
        let data = platform.data_dir();
        all.extend(entries(data).iter().map(|e| shown("file", e)));
        for below in ["pods", "volumes"] {
            walk(&data.join(below), &mut |path| {
                all.insert(shown("file", path));
            });
        }
        for object in objects(platform.client()).await? {
            all.insert(format!("object {object}"));
        }
        Ok(Self(all))
    }

    /// Waits until nothing is there that was not there at this snapshot.
    ///
    /// # Errors
    /// With a list of what is left.
    pub async fn assert_none_since(&self, platform: &Platform) -> Result<()> {
        eventually_within(SETTLE, "nothing to be left behind", async || {
            let now = Self::snapshot(platform).await?;
            let left: Vec<&str> = now.0.difference(&self.0).map(String::as_str).collect();
            ensure!(
                left.is_empty(),
                "{} left:\n  {}",
                left.len(),
                left.join("\n  ")
            );
            Ok(())
        })
        .await
    }
}

fn entries(dir: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect()
}

fn walk(dir: &Path, see: &mut impl FnMut(&Path)) {
    for path in entries(dir) {
        see(&path);
        if fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
            walk(&path, see);
        }
    }
}

/// Every object that can be listed, as `resource.group namespace/name`.
async fn objects(client: &Client) -> Result<BTreeSet<String>> {
    let discovery = Discovery::new(client.clone())
        .run()
        .await
        .context("discovering the kinds")?;
    let mut all = BTreeSet::new();
    for group in discovery.groups() {
        for (kind, capabilities) in group.recommended_resources() {
            if !capabilities.supports_operation(verbs::LIST) || RECORDS.contains(&&*kind.plural) {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
            let list = api
                .list_metadata(&ListParams::default())
                .await
                .with_context(|| format!("listing {}", kind.plural))?;
            for object in list {
                let namespace = object.namespace().unwrap_or_default();
                let name = object.name_any();
                all.insert(format!("{}.{} {namespace}/{name}", kind.plural, kind.group));
            }
        }
    }
    Ok(all)
}

//! What control planes over one etcd must have alike, and what each must have for itself.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use testkit::{Options, Platform};

use super::{Base, run};

/// A second host that has the name of the first is told so; the first may be killed and come back.
#[test]
fn a_node_name_that_another_control_plane_has_is_refused() {
    run(async {
        let base = Base::new()?;
        let mut one = base.full("same").await?;
        let error = base.full("same").await.err().context("it starts")?;
        let said = format!("{error:#}");
        ensure!(
            said.contains("the control plane of node \"same\" on host")
                && said.contains("give this one a node name of its own (--node-name)"),
            "{said}"
        );
        // What only serves the API has no node.
        let _api = base.api_only("same").await?;
        one.kill9()?;
        one.restart().await?;
        let node = one.kubectl().run(&["get", "nodes", "-o", "name"]).await?;
        ensure!(node == "node/same\n", "{node}");
        one.stop().await
    });
}

impl Base {
    /// An encryption configuration for Secrets, with keys of repeated bytes (base64 of 32 of them).
    fn sealing(&self, file: &str, keys: &[(&str, &str)]) -> Result<PathBuf> {
        let path = self.directory.path().join(file);
        let keys: Vec<_> = keys
            .iter()
            .map(|(name, secret)| format!("{{name: {name}, secret: {secret}}}"))
            .collect();
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers: [{{aesgcm: {{keys: [{}]}}}}]\n",
            keys.join(", ")
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }

    fn sealed(&self, node: &str, file: &std::path::Path) -> Options {
        let file = file.display().to_string();
        self.options(node, &["--api-only", "--encryption-provider-config", &file])
    }
}

const ONES: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const TWOS: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// What one seals the other one must be able to open.
#[test]
fn a_replica_with_other_keys_for_what_is_sealed_is_refused() {
    run(async {
        let base = Base::new()?;
        let first = base.sealing("first", &[("k1", ONES)])?;
        let one = Platform::start(base.sealed("one", &first)).await?;
        let secret = ["create", "secret", "generic", "s", "--from-literal=a=b"];
        one.kubectl().run(&secret).await?;

        let other = base.sealing("other", &[("k1", TWOS)])?;
        for (options, why) in [
            (
                base.sealed("two", &other),
                "secrets: the key \"k1\" has another secret there",
            ),
            (
                base.options("two", &["--api-only"]),
                "secrets: sealed with the key \"k1\" there, which is not known here",
            ),
        ] {
            let error = Platform::start(options).await.err().context("it starts")?;
            let said = format!("{error:#}");
            ensure!(
                said.contains(why)
                    && said.contains("the API server \"one\" on host")
                    && said.contains("--encryption-provider-config"),
                "{said}"
            );
        }
        // The next step of a rotation: it reads what the other one seals.
        let next = base.sealing("next", &[("k1", ONES), ("k2", TWOS)])?;
        let two = Platform::start(base.sealed("two", &next)).await?;
        let read = ["get", "secret", "s", "-o", "jsonpath={.data.a}"];
        ensure!(two.kubectl().run(&read).await? == "Yg==");
        Ok(())
    });
}

//! The settings beside `enabled` (G-X01): what is in effect is in the status, and nothing is ignored silently.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::{Platform, eventually, run};

use super::{fresh, ready, runtime, says};
use crate::objects::{self, Kind};

async fn patch(p: &Platform, spec: &Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    let args = [
        "patch",
        "vmruntime",
        "vmruntime",
        "--type",
        "merge",
        "-p",
        &patch,
    ];
    p.kubectl().run(&args).await.map(drop)
}

async fn refused(p: &Platform, spec: &Value) -> Result<String> {
    let patch = json!({"spec": spec}).to_string();
    let args = [
        "patch",
        "vmruntime",
        "vmruntime",
        "--type",
        "merge",
        "-p",
        &patch,
    ];
    p.kubectl().refused(&args, "").await
}

#[test]
fn what_is_set_is_in_effect_or_said_not_to_be() {
    run(fresh(), async |p| {
        // One field at a time: none touches another.
        let fields = [
            json!({"useEmulation": true}),
            json!({"vmImageFormat": "qcow2"}),
            json!({"evictionPolicy": {}}),
            json!({"featureGates": {"EjectableCDROMs": "Enabled", "Unheard": "Enabled"}}),
            json!({"storage": {"defaultStorageClass": "fast"}}),
            json!({"enableGPU": false}),
            json!({"disableCDIUploadProxyVIP": true}),
        ];
        let mut wanted = serde_json::Map::new();
        for field in &fields {
            patch(p, field).await?;
            wanted.extend(field.as_object().context("an object")?.clone());
            assert_eq!(runtime(p).await?["spec"], Value::Object(wanted.clone()));
        }
        says(p, "ImageFormatHonoured", "Qcow2NotHonoured").await?;
        says(p, "EvictionPolicyHonoured", "LiveMigrationNotAvailable").await?;
        let gates = says(p, "FeatureGatesHonoured", "NotHonoured").await?;
        ensure!(gates.contains("Unheard is not known"), "{gates}");
        let missing = says(p, "StorageClassesFound", "NotFound").await?;
        ensure!(missing.contains("\"fast\" does not exist"), "{missing}");
        let status = runtime(p).await?["status"].clone();
        assert_eq!(status["effectiveVMImageFormat"], "raw");
        assert_eq!(status["featureGates"]["EjectableCDROMs"], "Disabled");
        assert_eq!(status["storage"]["defaultStorageClass"], "fast");
        let scratch = &status["storage"]["defaultScratchSpaceStorageClass"];
        ensure!(
            scratch
                .as_str()
                .is_some_and(|c| !c.is_empty() && c != "fast"),
            "{scratch}"
        );

        for (wrong, field) in [
            (json!({"enableGPU": true}), "spec.enableGPU"),
            (
                json!({"installNvidiaDriver": true}),
                "spec.installNvidiaDriver",
            ),
            (
                json!({"cdiUploadProxyVIP": "10.0.0.1"}),
                "spec.cdiUploadProxyVIP",
            ),
            (json!({"haPolicy": {}}), "spec.haPolicy"),
            (json!({"vmImageFormat": "vmdk"}), "\"raw\", \"qcow2\""),
            (
                json!({"evictionPolicy": {"maxMigrationAttemptsPerVM": 6}}),
                "maxMigrationAttemptsPerVM",
            ),
            (
                json!({"evictionPolicy": {"migrationTargetInitializationTimeout": "soon"}}),
                "migrationTargetInitializationTimeout",
            ),
            (
                json!({"featureGates": {"EjectableCDROMs": "Maybe"}}),
                "EjectableCDROMs",
            ),
        ] {
            let said = refused(p, &wrong).await?;
            ensure!(said.contains(field), "{wrong}: {said}");
        }
        assert_eq!(runtime(p).await?["spec"], Value::Object(wanted));

        // null unsets, as in every patch.
        patch(
            p,
            &json!({"evictionPolicy": null, "featureGates": null, "vmImageFormat": null}),
        )
        .await?;
        says(p, "EvictionPolicyHonoured", "NotSet").await?;
        says(p, "FeatureGatesHonoured", "Honoured").await?;
        says(p, "ImageFormatHonoured", "Raw").await?;
        Ok(())
    });
}

#[test]
fn the_default_storage_class_is_that_of_disks_that_name_none() {
    run(testkit::Options::default(), async |p| {
        ready(p).await?;
        let said = p
            .kubectl()
            .run(&["get", "storageclass", "-o", "json"])
            .await?;
        let all: Value = serde_json::from_str(&said)?;
        let mut class = all["items"][0].clone();
        let default = objects::text(&class, "/metadata/name");
        class["metadata"] = json!({"name": "fast"});
        p.kubectl()
            .run_with(&["apply", "-f", "-"], &class.to_string())
            .await?;
        patch(p, &json!({"storage": {"defaultStorageClass": "fast"}})).await?;
        says(p, "StorageClassesFound", "Found").await?;
        for (name, class, wanted) in [
            ("unnamed", None, "fast"),
            ("named", Some(default.as_str()), default.as_str()),
        ] {
            let disk = json!({
                "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
                "metadata": {"name": name},
                "spec": {"source": {"blank": {}}, "storage": {
                    "storageClassName": class, "resources": {"requests": {"storage": "1Mi"}},
                }},
            });
            p.kubectl()
                .run_with(&["apply", "-f", "-"], &disk.to_string())
                .await?;
            eventually(&format!("the claim of {name}"), async || {
                let claim = objects::get(p, Kind::Claim, name).await?;
                assert_eq!(objects::text(&claim, "/spec/storageClassName"), wanted);
                let phase = objects::text(&claim, "/status/phase");
                ensure!(phase == "Bound", "{phase}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    });
}

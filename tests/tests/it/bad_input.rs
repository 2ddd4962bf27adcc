//! What is wrong is said: which field, why, what to do. And nothing is half-created.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use testkit::{ImageServer, Options, Platform, Serving, eventually, run};

use crate::guest::{self, Guest};
use crate::objects::{self, Kind};

const MACHINES: &str = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines";

/// Without the switch on nothing runs: these tests are about what is refused.
fn quiet() -> Options {
    Options {
        enable_runtime: false,
        ..Options::default()
    }
}

/// Sends a body as it is; returns the Status that comes back.
async fn post(p: &Platform, content_type: &str, body: &str) -> Result<Value> {
    let request = Request::post(MACHINES)
        .header("content-type", content_type)
        .body(Body::from(body.as_bytes().to_vec()))
        .context("making the request")?;
    let response = p.client().send(request).await.context("sending it")?;
    let code = response.status().as_u16();
    let answer = response.into_body().collect_bytes().await?;
    let status: Value = serde_json::from_slice(&answer)
        .with_context(|| format!("{code}: {}", String::from_utf8_lossy(&answer)))?;
    assert_eq!(status["kind"], "Status", "{status}");
    assert_eq!(status["status"], "Failure", "{status}");
    assert_eq!(status["code"], code, "{status}");
    Ok(status)
}

async fn nothing_was_made(p: &Platform) -> Result<()> {
    for kind in [
        Kind::Machine,
        Kind::Instance,
        Kind::DataVolume,
        Kind::Claim,
        Kind::Pod,
    ] {
        let all = objects::list(p, kind).await?;
        ensure!(all.is_empty(), "{kind:?}: {all:?}");
    }
    Ok(())
}

/// A VM in JSON, to be made wrong.
fn machine() -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "vm1"},
        "spec": {
            "runStrategy": "Halted",
            "template": {"spec": {
                "domain": {"cpu": {"cores": 1}, "memory": {"guest": "64Mi"}, "devices": {}},
            }},
        },
    })
}

/// The VM with one thing different.
fn with(pointer: &str, value: Value) -> Value {
    let mut vm = machine();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    vm.pointer_mut(parent).unwrap()[key] = value;
    vm
}

#[test]
fn what_is_no_object_at_all_is_refused_as_a_bad_request() {
    run(quiet(), async |p| {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let not_objects = [
            ("application/json", "{\"kind\": "),
            ("application/json", ""),
            ("application/json", "[]"),
            ("application/json", "\"vm\""),
            ("application/json", "{}"),
            ("application/json", deep.as_str()),
            ("application/yaml", "kind: [unclosed"),
            ("application/yaml", "a: b: c"),
            ("application/yaml", "\tkind: VirtualMachine"),
            ("application/yaml", "a: &a [*a, *a]"),
        ];
        for (content_type, body) in not_objects {
            let status = post(p, content_type, body).await?;
            let shown = body.chars().take(40).collect::<String>();
            assert_eq!(status["code"], 400, "{shown:?}: {status}");
            assert_eq!(status["reason"], "BadRequest", "{shown:?}: {status}");
            let message = objects::text(&status, "/message");
            ensure!(message.len() > 10, "{shown:?}: {status}");
        }
        let unknown = post(p, "text/plain", "hello").await?;
        assert_eq!(unknown["code"], 415, "{unknown}");
        nothing_was_made(p).await
    });
}

#[test]
fn wrong_fields_are_refused_by_their_paths() {
    run(quiet(), async |p| {
        let cases = [
            (
                "/spec/template/spec/domain/cpu/corez",
                json!(2),
                "spec.template.spec.domain.cpu.corez",
            ),
            ("/spec/colour", json!("red"), "spec.colour"),
            (
                "/spec/template/spec/domain/cpu/cores",
                json!("two"),
                "spec.template.spec.domain.cpu.cores",
            ),
            (
                "/spec/template/spec/domain/cpu/cores",
                json!(0),
                "spec.template.spec.domain.cpu.cores",
            ),
            (
                "/spec/template/spec/domain/cpu/cores",
                json!(-1),
                "spec.template.spec.domain.cpu.cores",
            ),
            (
                "/spec/template/spec/domain/cpu/cores",
                json!(1.5),
                "spec.template.spec.domain.cpu.cores",
            ),
            (
                "/spec/template/spec/domain/cpu/cores",
                json!(4_294_967_296_u64),
                "spec.template.spec.domain.cpu.cores",
            ),
            (
                "/spec/template/spec/domain/cpu/cores",
                json!(513),
                "spec.template.spec.domain.cpu",
            ),
            (
                "/spec/template/spec/domain/memory/guest",
                json!("much"),
                "spec.template.spec.domain.memory.guest",
            ),
            (
                "/spec/template/spec/domain/memory/guest",
                json!([]),
                "spec.template.spec.domain.memory.guest",
            ),
            (
                "/spec/template/spec/domain/devices",
                json!([]),
                "spec.template.spec.domain.devices",
            ),
            (
                "/spec/template/spec/domain/devices",
                json!({"disks": [{"name": "root", "disk": {}}]}),
                "spec.template.spec.domain.devices.disks[0].name",
            ),
            (
                "/spec/template/spec/domain/devices",
                json!({"gpus": [{"name": "g", "deviceName": "d"}]}),
                "spec.template.spec.domain.devices.gpus",
            ),
            (
                "/spec/template/spec/networks",
                json!([{"name": "default", "pod": {}}]),
                "spec.template.spec.networks",
            ),
            ("/spec/runStrategy", json!("Sometimes"), "spec.runStrategy"),
            ("/spec/runStrategy", json!(true), "spec.runStrategy"),
            ("/spec/template", json!(null), "spec.template"),
            ("/metadata/name", json!("Not_A_Name"), "metadata.name"),
        ];
        let mut unclear = Vec::new();
        for (pointer, value, field) in cases {
            let body = with(pointer, value.clone()).to_string();
            let status = post(p, "application/json", &body).await?;
            let code = status["code"].as_u64().unwrap_or_default();
            let causes = status.pointer("/details/causes").and_then(Value::as_array);
            let named = causes.is_some_and(|all| all.iter().any(|c| c["field"] == field));
            let told = !objects::text(&status, "/message").is_empty();
            if !(named && told && [400, 422].contains(&code)) {
                unclear.push(format!("{pointer}={value} does not name {field}: {status}"));
            }
        }
        ensure!(unclear.is_empty(), "{}", unclear.join("\n"));
        nothing_was_made(p).await
    });
}

#[test]
fn kubectl_shows_what_is_wrong_with_a_manifest() {
    run(quiet(), async |p| {
        let apply = ["apply", "-f", "-"];
        let text = machine().to_string();
        let broken = &text[..text.len() - 3];
        let said = p.kubectl().refused(&apply, broken).await?;
        ensure!(said.contains("error"), "{said}");

        let unknown = with("/spec/template/spec/domain/cpu/corez", json!(2)).to_string();
        for args in [
            &apply[..],
            &["create", "-f", "-"],
            &["apply", "--server-side", "-f", "-"],
        ] {
            let said = p.kubectl().refused(args, &unknown).await?;
            ensure!(
                said.contains("corez") && said.contains("spec.template.spec.domain.cpu.corez"),
                "{args:?}: {said}"
            );
        }
        let zero = with("/spec/template/spec/domain/cpu/cores", json!(0)).to_string();
        let said = p.kubectl().refused(&apply, &zero).await?;
        ensure!(
            said.contains("spec.template.spec.domain.cpu.cores must be at least 1"),
            "{said}"
        );
        nothing_was_made(p).await
    });
}

/// A VM of one volume that is not there.
fn with_volume(volume: &Value) -> Value {
    let mut vm = machine();
    vm["spec"]["runStrategy"] = "Always".into();
    let spec = &mut vm["spec"]["template"]["spec"];
    spec["domain"]["devices"] = json!({"disks": [{"name": "root", "disk": {"bus": "virtio"}}]});
    let mut volume = volume.clone();
    volume["name"] = "root".into();
    spec["volumes"] = json!([volume]);
    vm
}

#[test]
fn a_vm_whose_disk_is_not_there_says_so_and_starts_when_it_comes() {
    run(Options::default(), async |p| {
        for (volume, what) in [
            (
                json!({"dataVolume": {"name": "nowhere"}}),
                "DataVolume nowhere",
            ),
            (
                json!({"persistentVolumeClaim": {"claimName": "nowhere"}}),
                "PVC nowhere",
            ),
        ] {
            let vm = with_volume(&volume).to_string();
            p.kubectl().run_with(&["apply", "-f", "-"], &vm).await?;
            let message = objects::waits_because(p, "vm1", "FailedPvcNotFound").await?;
            ensure!(message.contains(what), "{message}");
            objects::printable(p, "vm1", "ErrorPvcNotFound").await?;
            ensure!(
                objects::list(p, Kind::Pod).await?.is_empty(),
                "a Pod was made"
            );
            p.kubectl().run(&["delete", "vm", "vm1"]).await?;
        }
        let server = ImageServer::tiny().await?;
        let vm = with_volume(&json!({"dataVolume": {"name": "late"}})).to_string();
        p.kubectl().run_with(&["apply", "-f", "-"], &vm).await?;
        objects::waits_because(p, "vm1", "FailedPvcNotFound").await?;
        let dv = json!({
            "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
            "metadata": {"name": "late"},
            "spec": {
                "source": {"http": {"url": server.url()}},
                "storage": {"resources": {"requests": {"storage": "128Mi"}}},
            },
        });
        p.kubectl()
            .run_with(&["apply", "-f", "-"], &dv.to_string())
            .await?;
        guest::running(p, "vm1").await.map(drop)
    });
}

#[test]
fn a_vm_that_fits_on_no_node_says_so() {
    run(Options::default(), async |p| {
        let mut vm = with("/spec/template/spec/domain/memory/guest", json!("8Ti"));
        vm["spec"]["runStrategy"] = "Always".into();
        p.kubectl()
            .run_with(&["apply", "-f", "-"], &vm.to_string())
            .await?;
        let vm = objects::printable(p, "vm1", "ErrorUnschedulable").await?;
        let (status, reason, message) =
            objects::condition(&vm, "PodScheduled").context("no condition PodScheduled")?;
        assert_eq!(
            (status.as_str(), reason.as_str()),
            ("False", "Unschedulable")
        );
        ensure!(message.contains("memory"), "{message}");
        let pod = objects::launcher_pod(p, "vm1").await?;
        let event = objects::has_event(p, &pod, "FailedScheduling").await?;
        ensure!(event.contains("memory"), "{event}");
        Ok(())
    });
}

/// Images on the volumes of a platform.
fn images(p: &Platform) -> Vec<PathBuf> {
    let volumes = std::fs::read_dir(p.data_dir().join("volumes"));
    volumes
        .into_iter()
        .flatten()
        .flatten()
        .flat_map(|v| std::fs::read_dir(v.path()).into_iter().flatten().flatten())
        .map(|f| f.path())
        .collect()
}

/// Waits until the import says why it fails: on the DataVolume, the VM, and in an Event.
async fn import_fails(p: &Platform, name: &str, words: &[&str]) -> Result<()> {
    let dv_name = format!("{name}-root");
    let says_all = |text: &str| words.iter().all(|w| text.contains(w));
    eventually(
        &format!("DataVolume {dv_name} to say {words:?}"),
        async || {
            let dv = objects::get(p, Kind::DataVolume, &dv_name).await?;
            let running = objects::condition(&dv, "Running").context("no condition Running")?;
            ensure!(
                running.1 == "Error" && says_all(&running.2),
                "Running is {running:?}"
            );
            Ok(())
        },
    )
    .await?;
    let event = objects::has_event(p, &dv_name, "ImportFailed").await?;
    ensure!(says_all(&event), "the Event says {event:?}");
    eventually(&format!("VM {name} to say {words:?}"), async || {
        let vm = objects::get(p, Kind::Machine, name).await?;
        let ready = objects::condition(&vm, "Ready").context("no condition Ready")?;
        ensure!(
            ready.0 == "False" && says_all(&ready.2),
            "Ready is {ready:?}"
        );
        Ok(())
    })
    .await?;
    ensure!(
        images(p).is_empty(),
        "something was half-created: {:?}",
        images(p)
    );
    ensure!(
        objects::launcher_pod(p, name).await.is_err(),
        "a launcher was made without a disk"
    );
    Ok(())
}

#[test]
fn an_image_that_is_not_found_is_told_and_imported_when_it_appears() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        server.serve(Serving::NotFound);
        Guest::new("vm1", &server).apply(p).await?;
        import_fails(p, "vm1", &["404", &server.url()]).await?;
        server.serve(Serving::Well);
        guest::running(p, "vm1").await.map(drop)
    });
}

#[test]
fn an_image_that_is_truncated_is_told() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        server.serve(Serving::Short(5 << 20));
        Guest::new("vm1", &server).apply(p).await?;
        import_fails(p, "vm1", &["truncated"]).await
    });
}

#[test]
fn a_connection_that_keeps_breaking_is_told() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        server.serve(Serving::Broken(5 << 20));
        Guest::new("vm1", &server).apply(p).await?;
        import_fails(p, "vm1", &[&server.url(), "gave up after", "connection"]).await
    });
}

#[test]
fn a_disk_that_is_too_small_for_its_image_is_told_with_the_size_it_needs() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        Guest::new("vm1", &server).storage("16Mi").apply(p).await?;
        import_fails(
            p,
            "vm1",
            &[
                "disk too small",
                "spec.storage.resources.requests.storage",
                "64Mi",
            ],
        )
        .await
    });
}

#[test]
fn progress_is_told_while_an_import_takes_its_time_and_survives_the_control_plane() {
    run(Options::default(), async |p| {
        let server = ImageServer::tiny().await?;
        server.serve(Serving::Slow(2 << 20));
        Guest::new("vm1", &server).apply(p).await?;
        let progress = async |p: &Platform| {
            eventually("progress between 0 and 100 %", async || {
                let dv = objects::get(p, Kind::DataVolume, "vm1-root").await?;
                let text = objects::text(&dv, "/status/progress");
                let percent = text.strip_suffix('%').and_then(|n| n.parse::<f64>().ok());
                ensure!(
                    percent.is_some_and(|n| n > 0.0 && n < 100.0),
                    "progress {text:?}, phase {}",
                    objects::text(&dv, "/status/phase")
                );
                Ok(())
            })
            .await
        };
        progress(p).await?;
        objects::printable(p, "vm1", "Provisioning").await?;
        p.kill9()?;
        p.restart().await?;
        server.serve(Serving::Well);
        guest::running(p, "vm1").await?;
        guest::prompt(p, "vm1").await
    });
}

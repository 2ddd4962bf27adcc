//! The unmodified kubectl does what people do with it.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::{Options, Platform, run};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::objects::{self, Kind};

/// Nothing runs: these tests are about objects.
fn quiet() -> Options {
    Options {
        enable_runtime: false,
        ..Options::default()
    }
}

/// A VM without disks, halted.
const MACHINE: &str = "apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: vm1
spec:
  runStrategy: Halted
  template:
    spec:
      domain:
        cpu:
          cores: 1
        memory:
          guest: 96Mi
        devices: {}
";

/// Makes it.
async fn halted(p: &Platform) -> Result<()> {
    p.kubectl().run_with(&["apply", "-f", "-"], MACHINE).await?;
    objects::printable(p, "vm1", "Stopped").await.map(drop)
}

async fn says(p: &Platform, args: &[&str], words: &[&str]) -> Result<String> {
    let said = p.kubectl().run(args).await?;
    for word in words {
        ensure!(
            said.contains(word),
            "kubectl {} lacks {word:?}:\n{said}",
            args.join(" ")
        );
    }
    Ok(said)
}

#[test]
fn kubectl_explores_the_kinds() {
    run(quiet(), async |p| {
        ensure!(p.ready_line().contains(" in "), "{}", p.ready_line());
        says(
            p,
            &["api-resources"],
            &[
                "virtualmachines",
                "vm,vms",
                "kubevirt.io/v1",
                "datavolumes",
                "vmruntimes",
                "configmaps",
            ],
        )
        .await?;
        says(
            p,
            &["api-resources", "--api-group=kubevirt.io", "-o", "name"],
            &["virtualmachineinstances.kubevirt.io"],
        )
        .await?;
        says(
            p,
            &["api-versions"],
            &["kubevirt.io/v1", "cdi.kubevirt.io/v1beta1", "v1"],
        )
        .await?;
        says(
            p,
            &["explain", "vm.spec"],
            &["runStrategy", "dataVolumeTemplates", "KIND:"],
        )
        .await?;
        says(
            p,
            &["explain", "vmi.spec.domain.cpu", "--recursive"],
            &["cores", "sockets", "threads"],
        )
        .await?;
        says(p, &["explain", "dv.spec.source.http"], &["url"]).await?;
        says(p, &["explain", "pod.spec.containers"], &["image"]).await?;
        says(p, &["version"], &["Server Version"]).await?;
        says(p, &["cluster-info"], &["is running at"]).await?;
        says(p, &["get", "nodes", "-o", "wide"], &["node1", "Ready"]).await?;
        says(
            p,
            &["get", "ns"],
            &["default", "kube-system", "vm-system", "Active"],
        )
        .await?;
        says(p, &["auth", "can-i", "create", "vm"], &["yes"]).await?;
        says(
            p,
            &["auth", "whoami"],
            &["kubernetes-admin", "system:masters"],
        )
        .await?;
        Ok(())
    });
}

#[test]
fn kubectl_reads_objects_in_every_form() {
    run(quiet(), async |p| {
        halted(p).await?;
        let get = |form: &'static str| ["get", "vm", "vm1", "-o", form];
        says(
            p,
            &["get", "vm"],
            &["NAME", "AGE", "STATUS", "READY", "vm1", "Stopped"],
        )
        .await?;
        says(p, &get("wide"), &["vm1", "Stopped"]).await?;
        says(
            p,
            &get("yaml"),
            &["kind: VirtualMachine", "printableStatus: Stopped"],
        )
        .await?;
        let json: Value = serde_json::from_str(&p.kubectl().run(&get("json")).await?)?;
        assert_eq!(json["metadata"]["name"], "vm1");
        says(p, &get("name"), &["virtualmachine.kubevirt.io/vm1"]).await?;
        says(
            p,
            &get("custom-columns=N:.metadata.name,S:.spec.runStrategy"),
            &["vm1", "Halted"],
        )
        .await?;
        says(
            p,
            &["describe", "vm", "vm1"],
            &[
                "Name:",
                "Run Strategy:",
                "Halted",
                "Printable Status:",
                "Events:",
            ],
        )
        .await?;
        says(
            p,
            &["get", "vm,dv", "-A", "--show-labels"],
            &["default", "vm1"],
        )
        .await?;
        let none = p
            .kubectl()
            .output(&["get", "vm", "-l", "no=such"], "")
            .await?;
        ensure!(
            none.success && none.stderr.contains("No resources found"),
            "{none:?}"
        );
        let said = p.kubectl().refused(&["get", "vm", "vm2"], "").await?;
        ensure!(
            said.contains(
                r#"Error from server (NotFound): virtualmachines.kubevirt.io "vm2" not found"#
            ),
            "{said}"
        );
        Ok(())
    });
}

#[test]
fn kubectl_changes_objects_in_every_way() {
    run(quiet(), async |p| {
        let kubectl = p.kubectl();
        let created = kubectl.run_with(&["create", "-f", "-"], MACHINE).await?;
        assert_eq!(created.trim(), "virtualmachine.kubevirt.io/vm1 created");
        let twice = kubectl.refused(&["create", "-f", "-"], MACHINE).await?;
        ensure!(twice.contains("(AlreadyExists)"), "{twice}");
        let dry = kubectl
            .run_with(
                &["create", "--dry-run=server", "-f", "-"],
                &MACHINE.replace("name: vm1\n", "name: vm2\n"),
            )
            .await?;
        ensure!(dry.contains("created (server dry run)"), "{dry}");
        ensure!(objects::find(p, Kind::Machine, "vm2").await?.is_none());
        kubectl.run(&["delete", "vm", "vm1"]).await?;

        applies(p).await?;
        applies_server_side(p).await?;
        edits_and_patches(p).await?;

        kubectl.run(&["label", "vm", "vm1", "tier=gold"]).await?;
        kubectl
            .run(&["annotate", "vm", "vm1", "note=hello"])
            .await?;
        let vm = objects::get(p, Kind::Machine, "vm1").await?;
        assert_eq!(objects::text(&vm, "/metadata/labels/tier"), "gold");
        assert_eq!(objects::text(&vm, "/metadata/annotations/note"), "hello");
        says(p, &["get", "vm", "-l", "tier=gold"], &["vm1"]).await?;
        kubectl.run(&["label", "vm", "vm1", "tier-"]).await?;
        let vm = objects::get(p, Kind::Machine, "vm1").await?;
        assert_eq!(objects::text(&vm, "/metadata/labels/tier"), "");
        let gone = kubectl.run(&["delete", "vm", "--all"]).await?;
        ensure!(
            gone.contains(r#"virtualmachine.kubevirt.io "vm1" deleted"#),
            "{gone}"
        );
        ensure!(objects::find(p, Kind::Machine, "vm1").await?.is_none());
        Ok(())
    });
}

/// Client-side apply: creates, changes nothing, changes, and removes what is no longer there.
async fn applies(p: &Platform) -> Result<()> {
    let apply = ["apply", "-f", "-"];
    let labelled = MACHINE.replace(
        "  name: vm1\n",
        "  name: vm1\n  labels:\n    keep: me\n    drop: me\n",
    );
    let kubectl = p.kubectl();
    for (yaml, word) in [
        (labelled.clone(), "created"),
        (labelled.clone(), "unchanged"),
        (
            labelled
                .replace("    drop: me\n", "")
                .replace("cores: 1", "cores: 2"),
            "configured",
        ),
    ] {
        let said = kubectl.run_with(&apply, &yaml).await?;
        ensure!(said.trim_end().ends_with(word), "not {word}: {said}");
    }
    let vm = objects::get(p, Kind::Machine, "vm1").await?;
    assert_eq!(vm["metadata"]["labels"], serde_json::json!({"keep": "me"}));
    assert_eq!(
        vm.pointer("/spec/template/spec/domain/cpu/cores"),
        Some(&2.into())
    );
    let diff = kubectl
        .output(
            &["diff", "-f", "-"],
            &labelled.replace("cores: 1", "cores: 3"),
        )
        .await?;
    ensure!(
        diff.stdout.contains("+") && diff.stdout.contains("cores: 3"),
        "{diff:?}"
    );
    kubectl.run(&["delete", "vm", "vm1"]).await.map(drop)
}

/// Server-side apply: two owners, a conflict, force.
async fn applies_server_side(p: &Platform) -> Result<()> {
    let apply = |manager: &'static str| ["apply", "--server-side", manager, "-f", "-"];
    let kubectl = p.kubectl();
    let said = kubectl
        .run_with(&apply("--field-manager=anna"), MACHINE)
        .await?;
    ensure!(said.contains("serverside-applied"), "{said}");
    let other = MACHINE.replace("cores: 1", "cores: 2");
    let said = kubectl
        .refused(&apply("--field-manager=bert"), &other)
        .await?;
    ensure!(
        said.contains(r#"conflict with "anna""#)
            && said.contains(".spec.template.spec.domain.cpu.cores"),
        "{said}"
    );
    let forced = [
        "apply",
        "--server-side",
        "--field-manager=bert",
        "--force-conflicts",
        "-f",
        "-",
    ];
    kubectl.run_with(&forced, &other).await?;
    let vm = objects::get(p, Kind::Machine, "vm1").await?;
    assert_eq!(
        vm.pointer("/spec/template/spec/domain/cpu/cores"),
        Some(&2.into())
    );
    let managers = vm
        .pointer("/metadata/managedFields")
        .context("no managedFields")?;
    let managers: Vec<&Value> = managers
        .as_array()
        .into_iter()
        .flatten()
        .map(|m| &m["manager"])
        .collect();
    ensure!(
        managers.iter().any(|m| *m == "anna") && managers.iter().any(|m| *m == "bert"),
        "{managers:?}"
    );
    Ok(())
}

async fn edits_and_patches(p: &Platform) -> Result<()> {
    let kubectl = p.kubectl();
    let editor = p.dir().join("home/editor");
    std::fs::write(
        &editor,
        "#!/bin/sh\nsed -i 's/guest: 96Mi/guest: 80Mi/' \"$1\"\n",
    )?;
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755))?;
    let edited = kubectl
        .command("kubectl")
        .args(["edit", "vm", "vm1"])
        .env("KUBE_EDITOR", &editor)
        .output()
        .await
        .context("kubectl edit")?;
    let said = String::from_utf8_lossy(&edited.stdout);
    ensure!(
        said.contains("edited"),
        "{said}{}",
        String::from_utf8_lossy(&edited.stderr)
    );
    let guest = |vm: &Value| objects::text(vm, "/spec/template/spec/domain/memory/guest");
    assert_eq!(guest(&objects::get(p, Kind::Machine, "vm1").await?), "80Mi");

    let merge = r#"{"spec":{"template":{"spec":{"domain":{"memory":{"guest":"81Mi"}}}}}}"#;
    kubectl
        .run(&["patch", "vm", "vm1", "--type=merge", "-p", merge])
        .await?;
    assert_eq!(guest(&objects::get(p, Kind::Machine, "vm1").await?), "81Mi");
    let json = r#"[{"op":"test","path":"/spec/template/spec/domain/memory/guest","value":"81Mi"},{"op":"replace","path":"/spec/template/spec/domain/memory/guest","value":"82Mi"}]"#;
    kubectl
        .run(&["patch", "vm", "vm1", "--type=json", "-p", json])
        .await?;
    assert_eq!(guest(&objects::get(p, Kind::Machine, "vm1").await?), "82Mi");
    let refused = kubectl
        .refused(&["patch", "vm", "vm1", "--type=json", "-p", json], "")
        .await?;
    ensure!(refused.contains("test"), "{refused}");
    // A list merged by its key: what only a strategic patch can do. Kinds from CRDs have none.
    for name in ["one", "two"] {
        let patch = format!(r#"{{"secrets":[{{"name":"{name}"}}]}}"#);
        kubectl
            .run(&[
                "patch",
                "serviceaccount",
                "default",
                "--type=strategic",
                "-p",
                &patch,
            ])
            .await?;
    }
    says(
        p,
        &[
            "get",
            "serviceaccount",
            "default",
            "-o",
            "jsonpath={.secrets[*].name}",
        ],
        &["one", "two"],
    )
    .await?;
    let refused = kubectl
        .refused(&["patch", "vm", "vm1", "--type=strategic", "-p", merge], "")
        .await?;
    ensure!(refused.contains("unknown format"), "{refused}");

    let read = kubectl.run(&["get", "vm", "vm1", "-o", "json"]).await?;
    let written = read.replace(r#""82Mi""#, r#""83Mi""#);
    kubectl.run_with(&["replace", "-f", "-"], &written).await?;
    assert_eq!(guest(&objects::get(p, Kind::Machine, "vm1").await?), "83Mi");
    // What was read before is out of date now.
    let stale = kubectl.refused(&["replace", "-f", "-"], &written).await?;
    ensure!(
        stale.contains("the object has been modified"),
        "optimistic concurrency: {stale}"
    );
    Ok(())
}

#[test]
fn kubectl_watches_and_waits() {
    run(quiet(), async |p| {
        let mut watch = p
            .kubectl()
            .command("kubectl")
            .args(["get", "vm", "-w", "--output-watch-events"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("watching")?;
        let mut lines = BufReader::new(watch.stdout.take().context("its output")?).lines();
        // The watch may begin before or after: either way it tells of the VM.
        halted(p).await?;
        let mut next = async |wanted: &str| -> Result<()> {
            let read = async {
                loop {
                    let line = lines.next_line().await?.context("the watch ended")?;
                    if line.contains("vm1") && line.contains(wanted) {
                        return Ok(());
                    }
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(20), read)
                .await
                .with_context(|| format!("no {wanted} came"))?
        };
        next("ADDED").await?;
        p.kubectl().run(&["label", "vm", "vm1", "a=b"]).await?;
        next("MODIFIED").await?;
        let wait = |what: &'static str| ["wait", "vm/vm1", what, "--timeout=20s"];
        p.kubectl()
            .run(&wait("--for=jsonpath={.status.printableStatus}=Stopped"))
            .await?;
        p.kubectl()
            .run(&wait("--for=condition=Ready=false"))
            .await?;
        let late = p
            .kubectl()
            .refused(
                &["wait", "vm/vm1", "--for=condition=Ready", "--timeout=1s"],
                "",
            )
            .await?;
        ensure!(late.contains("timed out"), "{late}");
        p.kubectl()
            .run(&["delete", "vm", "vm1", "--wait=false"])
            .await?;
        p.kubectl().run(&wait("--for=delete")).await?;
        next("DELETED").await?;
        watch.kill().await.context("ending the watch")
    });
}

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::{Server, eventually};

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {app: x}\ndata:\n  k: before\n";

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_documentation() {
    let server = Server::start().await;
    let resources = server.kubectl(&["api-resources", "-o", "wide"]).await;
    for word in [
        "configmaps",
        "customresourcedefinitions",
        "leases",
        "poddisruptionbudgets",
        "storageclasses",
    ] {
        assert!(resources.contains(word), "{word} in {resources}");
    }
    assert!(
        server
            .kubectl(&["api-versions"])
            .await
            .contains("rbac.authorization.k8s.io/v1")
    );
    let text = server
        .kubectl(&["explain", "pod.spec.terminationGracePeriodSeconds"])
        .await;
    assert!(
        text.contains("<integer>") && text.contains("DESCRIPTION"),
        "{text}"
    );
    let text = server
        .kubectl(&["explain", "persistentvolumeclaims.spec", "--recursive"])
        .await;
    assert!(text.contains("storageClassName"), "{text}");
    assert!(server.kubectl(&["version"]).await.contains("v1.36"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_from_creation_to_deletion() {
    let server = Server::start().await;
    server
        .kubectl_with(&["create", "-f", "-"], CONFIG_MAP)
        .await;
    assert!(
        server
            .kubectl_fails(&["create", "-f", "-"], CONFIG_MAP)
            .await
            .contains("already exists")
    );
    let wide = server.kubectl(&["get", "cm", "-o", "wide"]).await;
    assert!(
        wide.contains("NAME") && wide.contains("DATA") && wide.contains("a      1"),
        "{wide}"
    );
    assert!(
        server
            .kubectl(&["get", "cm", "a", "-o", "yaml"])
            .await
            .contains("k: before")
    );
    assert!(
        server
            .kubectl(&["get", "cm", "-o", "json"])
            .await
            .contains("\"kind\": \"List\"")
    );
    assert!(
        server
            .kubectl(&["describe", "cm", "a"])
            .await
            .contains("before")
    );
    server.kubectl(&["label", "cm", "a", "tier=one"]).await;
    server.kubectl(&["annotate", "cm", "a", "note=two"]).await;
    assert!(
        server
            .kubectl(&["get", "cm", "-l", "tier=one", "-o", "name"])
            .await
            .contains("configmap/a")
    );
    assert!(
        server
            .kubectl(&["get", "cm", "-l", "tier=two", "-o", "name"])
            .await
            .is_empty()
    );
    server.kubectl(&["edit", "cm", "a"]).await;
    let data = ["get", "cm", "a", "-o", "jsonpath={.data.k}"];
    assert_eq!(server.kubectl(&data).await, "after");
    server
        .kubectl(&["patch", "cm", "a", "-p", r#"{"data":{"k":"strategic"}}"#])
        .await;
    server
        .kubectl(&[
            "patch",
            "cm",
            "a",
            "--type=merge",
            "-p",
            r#"{"data":{"m":"merge"}}"#,
        ])
        .await;
    server
        .kubectl(&[
            "patch",
            "cm",
            "a",
            "--type=json",
            "-p",
            r#"[{"op":"replace","path":"/data/k","value":"json"}]"#,
        ])
        .await;
    assert_eq!(server.kubectl(&data).await, "json");
    assert!(
        server
            .kubectl_fails(
                &[
                    "patch",
                    "cm",
                    "a",
                    "--type=json",
                    "-p",
                    r#"[{"op":"test","path":"/data/k","value":"no"}]"#
                ],
                ""
            )
            .await
            .contains("test")
    );
    assert!(
        server
            .kubectl(&["delete", "cm", "a"])
            .await
            .contains("deleted")
    );
    assert!(
        server
            .kubectl_fails(&["get", "cm", "a"], "")
            .await
            .contains("configmaps \"a\" not found")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_creates_send_protobuf() {
    let server = Server::start().await;
    server.kubectl(&["create", "namespace", "n"]).await;
    server
        .kubectl(&["create", "configmap", "c", "-n", "n", "--from-literal=k=v"])
        .await;
    server
        .kubectl(&[
            "create",
            "secret",
            "generic",
            "s",
            "-n",
            "n",
            "--from-literal=p=q",
        ])
        .await;
    assert_eq!(
        server
            .kubectl(&["get", "secret", "s", "-n", "n", "-o", "jsonpath={.data.p}"])
            .await,
        "cQ=="
    );
    server
        .kubectl(&["create", "serviceaccount", "bot", "-n", "n"])
        .await;
    server
        .kubectl(&[
            "create",
            "role",
            "r",
            "-n",
            "n",
            "--verb=get,list",
            "--resource=pods",
        ])
        .await;
    server
        .kubectl(&[
            "create",
            "rolebinding",
            "rb",
            "-n",
            "n",
            "--role=r",
            "--serviceaccount=n:bot",
        ])
        .await;
    assert_eq!(
        server
            .kubectl(&[
                "auth",
                "can-i",
                "list",
                "pods",
                "-n",
                "n",
                "--as=system:serviceaccount:n:bot"
            ])
            .await
            .trim(),
        "yes"
    );
    assert_eq!(
        server
            .kubectl(&["create", "token", "bot", "-n", "n"])
            .await
            .matches('.')
            .count(),
        2
    );
    server
        .kubectl(&["create", "quota", "q", "-n", "n", "--hard=pods=3"])
        .await;
    server
        .kubectl(&["create", "priorityclass", "high", "--value=1000"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_twice_changes_nothing_and_thrice_something() {
    let server = Server::start().await;
    assert!(
        server
            .kubectl_with(&["apply", "-f", "-"], CONFIG_MAP)
            .await
            .contains("created")
    );
    assert!(
        server
            .kubectl_with(&["apply", "-f", "-"], CONFIG_MAP)
            .await
            .contains("unchanged")
    );
    let changed = CONFIG_MAP.replace("k: before", "k: after");
    assert!(
        server
            .kubectl_with(&["diff", "-f", "-"], CONFIG_MAP)
            .await
            .is_empty()
    );
    assert!(
        server
            .kubectl_with(&["apply", "-f", "-"], &changed)
            .await
            .contains("configured")
    );
    let dry = server
        .kubectl_with(&["apply", "--dry-run=server", "-f", "-"], CONFIG_MAP)
        .await;
    assert!(dry.contains("server dry run"), "{dry}");
    assert_eq!(
        server
            .kubectl(&["get", "cm", "a", "-o", "jsonpath={.data.k}"])
            .await,
        "after"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_knows_owners() {
    let server = Server::start().await;
    let apply = ["apply", "--server-side", "--field-manager=one", "-f", "-"];
    assert!(
        server
            .kubectl_with(&apply, CONFIG_MAP)
            .await
            .contains("serverside-applied")
    );
    let other = ["apply", "--server-side", "--field-manager=two", "-f", "-"];
    let changed = CONFIG_MAP.replace("before", "other");
    let conflict = server.kubectl_fails(&other, &changed).await;
    assert!(
        conflict.contains("conflict with \"one\"") && conflict.contains(".data.k"),
        "{conflict}"
    );
    let forced = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=two",
        "-f",
        "-",
    ];
    server.kubectl_with(&forced, &changed).await;
    let owners = server
        .kubectl(&[
            "get",
            "cm",
            "a",
            "-o",
            "jsonpath={.metadata.managedFields[*].manager}",
            "--show-managed-fields",
        ])
        .await;
    assert!(owners.contains("one") && owners.contains("two"), "{owners}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_named() {
    let server = Server::start().await;
    let unknown = CONFIG_MAP.replace("data:", "dota:");
    assert!(
        server
            .kubectl_fails(&["create", "-f", "-"], &unknown)
            .await
            .contains("unknown field \"dota\"")
    );
    let wrong = CONFIG_MAP.replace("k: before", "k: [1]");
    server.kubectl_fails(&["create", "-f", "-"], &wrong).await;
    let name = CONFIG_MAP.replace("name: a", "name: A_");
    assert!(
        server
            .kubectl_fails(&["create", "-f", "-"], &name)
            .await
            .contains("metadata.name: Invalid value: \"A_\"")
    );
    assert!(
        server
            .kubectl_fails(&["create", "cm", "x", "-n", "nowhere"], "")
            .await
            .contains("namespaces \"nowhere\" not found")
    );
    assert!(
        server
            .kubectl_fails(&["delete", "ns", "default"], "")
            .await
            .contains("this namespace may not be deleted")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_and_watching_see_changes() {
    let server = Server::start().await;
    server.kubectl_with(&["apply", "-f", "-"], CONFIG_MAP).await;
    let mut watch = server.spawn_kubectl(&[
        "get",
        "cm",
        "-w",
        "-l",
        "app=x",
        "-o",
        "custom-columns=N:.metadata.name,K:.data.k",
        "--no-headers",
    ]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(std::time::Duration::from_secs(30), lines.next_line());
        line.await.unwrap().unwrap().unwrap()
    };
    assert_eq!(
        next().await.split_whitespace().collect::<Vec<_>>(),
        ["a", "before"]
    );
    server
        .kubectl(&["patch", "cm", "a", "-p", r#"{"data":{"k":"then"}}"#])
        .await;
    assert_eq!(
        next().await.split_whitespace().collect::<Vec<_>>(),
        ["a", "then"]
    );
    let wait = server.spawn_kubectl(&[
        "wait",
        "cm/a",
        "--for=jsonpath={.data.k}=done",
        "--timeout=30s",
    ]);
    server
        .kubectl(&["patch", "cm", "a", "-p", r#"{"data":{"k":"done"}}"#])
        .await;
    assert!(wait.wait_with_output().await.unwrap().status.success());
    let wait = server.spawn_kubectl(&["wait", "cm/a", "--for=delete", "--timeout=30s"]);
    server.kubectl(&["delete", "cm", "a"]).await;
    assert!(wait.wait_with_output().await.unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_watch_shows_rows() {
    let server = Server::start().await;
    let mut watch = server.spawn_kubectl(&["get", "cm", "-w", "--output-watch-events"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    server
        .kubectl(&["create", "cm", "late", "--from-literal=a=b"])
        .await;
    let mut seen = String::new();
    while !seen.contains("ADDED") || !seen.contains("late") {
        let line = tokio::time::timeout(std::time::Duration::from_secs(30), lines.next_line());
        seen.push_str(&line.await.unwrap().unwrap().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_bound_evicted_and_end() {
    let server = Server::start().await;
    server.default_account().await;
    server
        .kubectl(&["run", "p", "--image=example.com/x:1"])
        .await;
    assert!(
        server
            .kubectl(&["get", "pods", "-o", "wide"])
            .await
            .contains("Pending")
    );
    let binding = r#"{"apiVersion":"v1","kind":"Binding","metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}}"#;
    server
        .kubectl_with(
            &[
                "create",
                "--raw",
                "/api/v1/namespaces/default/pods/p/binding",
                "-f",
                "-",
            ],
            binding,
        )
        .await;
    assert_eq!(
        server
            .kubectl(&["get", "pod", "p", "-o", "jsonpath={.spec.nodeName}"])
            .await,
        "n"
    );
    let again = server
        .kubectl_fails(
            &[
                "create",
                "--raw",
                "/api/v1/namespaces/default/pods/p/binding",
                "-f",
                "-",
            ],
            binding,
        )
        .await;
    assert!(again.contains("already assigned"), "{again}");
    // A bound Pod waits for its node to end it.
    server
        .kubectl(&["delete", "pod", "p", "--wait=false"])
        .await;
    assert!(
        server
            .kubectl(&["get", "pods"])
            .await
            .contains("Terminating")
    );
    server
        .kubectl(&["delete", "pod", "p", "--grace-period=0", "--force"])
        .await;
    eventually("the end of the Pod", async || {
        server
            .kubectl(&["get", "pods", "-o", "name"])
            .await
            .is_empty()
    })
    .await;
}

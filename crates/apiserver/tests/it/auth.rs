use ferrovirt_apiserver::parse_token_file;

use crate::harness::Server;

const TOKENS: &str = "joe-token,joe,7\n";

#[tokio::test(flavor = "multi_thread")]
async fn rights_come_from_rbac_at_once() {
    let server =
        Server::with(|config| config.static_tokens = parse_token_file(TOKENS).unwrap()).await;
    server.write_kubeconfig("joe", "token: joe-token");
    let list = ["get", "cm"];
    let denied = server.run("joe", &list, "").await;
    let text = String::from_utf8_lossy(&denied.stderr).into_owned();
    assert!(text.contains("User \"joe\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""), "{text}");
    server
        .kubectl(&[
            "create",
            "rolebinding",
            "joe-views",
            "--clusterrole=view",
            "--user=joe",
        ])
        .await;
    assert!(server.run("joe", &list, "").await.status.success());
    // Nobody grants what they do not hold.
    server
        .kubectl(&[
            "create",
            "rolebinding",
            "joe-binds",
            "--clusterrole=edit",
            "--user=joe",
        ])
        .await;
    let escalation = server
        .run(
            "joe",
            &["create", "role", "r", "--verb=*", "--resource=secrets"],
            "",
        )
        .await;
    assert!(!escalation.status.success());
    server
        .kubectl(&["delete", "rolebinding", "joe-views", "joe-binds"])
        .await;
    assert!(!server.run("joe", &list, "").await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_nobody() {
    let server = Server::start().await;
    server.write_kubeconfig("wrong", "token: nonsense");
    let output = server.run("wrong", &["get", "cm"], "").await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("Unauthorized") || text.contains("must be logged in"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_dies_with_its_account() {
    let server = Server::start().await;
    server.kubectl(&["create", "serviceaccount", "bot"]).await;
    server
        .kubectl(&[
            "create",
            "rolebinding",
            "bot-views",
            "--clusterrole=view",
            "--serviceaccount=default:bot",
        ])
        .await;
    let token = server.kubectl(&["create", "token", "bot"]).await;
    server.write_kubeconfig("bot", &format!("token: {}", token.trim()));
    assert!(server.run("bot", &["get", "cm"], "").await.status.success());
    let who = server
        .run(
            "bot",
            &[
                "auth",
                "whoami",
                "-o",
                "jsonpath={.status.userInfo.username}",
            ],
            "",
        )
        .await;
    assert_eq!(
        String::from_utf8_lossy(&who.stdout),
        "system:serviceaccount:default:bot"
    );
    server.kubectl(&["delete", "serviceaccount", "bot"]).await;
    assert!(!server.run("bot", &["get", "cm"], "").await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn impersonation_needs_its_verb() {
    let server =
        Server::with(|config| config.static_tokens = parse_token_file(TOKENS).unwrap()).await;
    server.write_kubeconfig("joe", "token: joe-token");
    let raw = "/api/v1/namespaces/default/configmaps";
    let as_admin = [
        "get",
        "--raw",
        raw,
        "--as=root",
        "--as-group=system:masters",
    ];
    let output = server.run("joe", &as_admin, "").await;
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("cannot impersonate resource \"users\"")
    );
    assert!(
        server
            .kubectl_fails(&["get", "cm", "--as=ann"], "")
            .await
            .contains("User \"ann\" cannot list")
    );
}

/// What is authorized in one namespace says nothing of another one's object, however the path is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespaced_grant_ends_at_its_namespace() {
    let server =
        Server::with(|config| config.static_tokens = parse_token_file(TOKENS).unwrap()).await;
    server.write_kubeconfig("joe", "token: joe-token");
    let joe = server
        .run(
            "joe",
            &[
                "auth",
                "whoami",
                "-o",
                "jsonpath={.status.userInfo.username}",
            ],
            "",
        )
        .await;
    let user = format!("--user={}", String::from_utf8_lossy(&joe.stdout));
    for namespace in ["mine", "other"] {
        server.kubectl(&["create", "namespace", namespace]).await;
        for name in ["allowed", "hidden"] {
            server
                .kubectl(&["create", "secret", "generic", name, "-n", namespace])
                .await;
        }
    }
    let admin = [
        "create",
        "rolebinding",
        "all",
        "-n",
        "mine",
        "--clusterrole=cluster-admin",
    ];
    server
        .kubectl(&[&admin[..], &[user.as_str()]].concat())
        .await;
    let get = async |path: &str| {
        let output = server.run("joe", &["get", "--raw", path], "").await;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert!(get("/api/v1/namespaces/mine").await.is_some());
    assert!(
        get("/api/v1/namespaces/mine/namespaces/other")
            .await
            .is_none()
    );
    assert!(get("/api/v1/namespaces/mine/namespaces").await.is_none());

    let role = ["create", "role", "one", "-n", "other", "--verb=list,watch"];
    let what = ["--resource=secrets", "--resource-name=allowed"];
    server.kubectl(&[&role[..], &what[..]].concat()).await;
    let binding = ["create", "rolebinding", "one", "-n", "other", "--role=one"];
    server
        .kubectl(&[&binding[..], &[user.as_str()]].concat())
        .await;
    let secrets = "/api/v1/namespaces/other/secrets?fieldSelector=";
    let one = get(&format!("{secrets}metadata.name%3Dallowed")).await;
    assert!(one.is_some_and(|list| list.contains("allowed") && !list.contains("hidden")));
    for trick in [
        "type!%3Da%5C%2Cmetadata.name%3Dallowed",
        "metadata.name!%3Dallowed",
    ] {
        assert!(get(&format!("{secrets}{trick}")).await.is_none(), "{trick}");
    }
    let watched = get("/api/v1/%77atch/namespaces/other/secrets/allowed?timeoutSeconds=1").await;
    assert!(watched.is_none_or(|events| !events.contains("hidden")));
}

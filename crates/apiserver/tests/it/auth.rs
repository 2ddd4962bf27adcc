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

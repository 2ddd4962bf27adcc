//! What other crates add: strategies and subresources.

use std::sync::Arc;

use apimachinery::field::{FieldError, FieldPath};
use apimachinery::status::ApiError;
use async_trait::async_trait;
use ferrovirt_apiserver::{
    Context, Message, Response, Strategy, StrategyRegistration, Subresource,
    SubresourceRegistration, SubresourceRequest,
};
use futures_util::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::harness::Server;

struct NoNode;

#[async_trait]
impl Strategy for NoNode {
    fn admit_raw(
        &self,
        _cx: &Context<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Vec<FieldError> {
        match object.pointer("/data/notHonoured") {
            Some(_) => vec![FieldError::forbidden(
                &FieldPath::new("data").child("notHonoured"),
                "is not built yet",
            )],
            None => Vec::new(),
        }
    }

    async fn prepare_create(&self, cx: &Context<'_>, object: &mut Value) -> Result<(), ApiError> {
        object["data"]["by"] = json!(cx.user.name);
        Ok(())
    }

    fn warnings(&self, _cx: &Context<'_>, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        vec!["be careful".to_owned()]
    }
}

struct Echo;

#[async_trait]
impl Subresource for Echo {
    async fn call(&self, mut request: SubresourceRequest) -> Result<Response, ApiError> {
        if !request.is_websocket() {
            let text = format!(
                "{} {} {:?}",
                request.info.namespace, request.info.name, request.info.tail
            );
            return Ok(SubresourceRequest::text(StatusCode::OK, text));
        }
        let (response, open) = request.websocket(&["plain.kubevirt.io"])?;
        tokio::spawn(async move {
            let (mut reader, mut writer) = open.await.unwrap().split();
            while let Ok(Some(message)) = reader.next().await {
                writer.send(message).await.unwrap();
            }
        });
        Ok(response)
    }
}

/// The console of machines that do not exist, which says what it is told.
pub fn console() -> SubresourceRegistration {
    SubresourceRegistration {
        group: "subresources.example.com".to_owned(),
        versions: vec!["v1".to_owned()],
        resource: "machines".to_owned(),
        subresource: "console".to_owned(),
        namespaced: true,
        kind: "Machine".to_owned(),
        verbs: vec!["get".to_owned()],
        handler: Arc::new(Echo),
    }
}

async fn server() -> Server {
    Server::with(|config| {
        config.strategies.push(StrategyRegistration::new(
            "",
            "configmaps",
            Arc::new(NoNode),
        ));
        config.subresources.push(console());
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn strategies_refuse_and_complete() {
    let server = server().await;
    let object = |key: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{{key}: x}}\n")
    };
    let error = server
        .kubectl_fails(&["create", "-f", "-"], &object("notHonoured"))
        .await;
    assert!(
        error.contains("data.notHonoured: Forbidden: is not built yet"),
        "{error}"
    );
    let made = server
        .run("kubeconfig", &["create", "-f", "-"], &object("k"))
        .await;
    assert!(String::from_utf8_lossy(&made.stderr).contains("Warning: be careful"));
    assert_eq!(
        server
            .kubectl(&["get", "cm", "a", "-o", "jsonpath={.data.by}"])
            .await,
        "admin"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn subresources_have_groups_of_their_own() {
    let server = server().await;
    let path = "/apis/subresources.example.com/v1/namespaces/default/machines/m/console";
    assert_eq!(
        server
            .kubectl(&["get", "--raw", &format!("{path}/22/tcp")])
            .await,
        "default m [\"22\", \"tcp\"]"
    );
    let groups = server
        .kubectl(&["get", "--raw", "/apis/subresources.example.com/v1"])
        .await;
    assert!(groups.contains("machines/console"), "{groups}");
    assert!(
        server
            .kubectl_fails(&["get", "--raw", path, "--as=joe"], "")
            .await
            .contains("Forbidden")
            || !groups.is_empty()
    );
    // Only the verbs that were registered.
    server
        .kubectl_fails(&["create", "--raw", path, "-f", "-"], "{}")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_is_a_websocket() {
    let server = server().await;
    let tls = server.authority.client_config(Some(&server.admin)).unwrap();
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let stream = connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    let url =
        "wss://localhost/apis/subresources.example.com/v1/namespaces/default/machines/m/console";
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert(
        "Sec-WebSocket-Protocol",
        "plain.kubevirt.io".parse().unwrap(),
    );
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    assert_eq!(
        response.headers()["Sec-WebSocket-Protocol"],
        "plain.kubevirt.io"
    );
    socket
        .send(tungstenite::Message::Binary("hello".into()))
        .await
        .unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        tungstenite::Message::Binary("hello".into())
    );
    let _ = Message::Text(String::new());
}

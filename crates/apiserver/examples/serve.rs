//! Serves the API on loopback TLS, alone, for kubectl and the conformance replayer:
//! `serve DIR [--listen ADDR:PORT] [--token-auth-file CSV]`; prints the URL and the kubeconfig's path.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ferrovirt_apiserver as apiserver;
use ferrovirt_apiserver::{ApiServer, Config};
use tokio_util::sync::CancellationToken;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let mut arguments = std::env::args().skip(1);
    let (mut dir, mut listen, mut tokens) = (None, "127.0.0.1:0".to_owned(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--listen" => listen = arguments.next().ok_or("--listen needs a value")?,
            "--token-auth-file" => tokens = arguments.next(),
            other => dir = Some(PathBuf::from(other)),
        }
    }
    let dir = dir.ok_or("usage: serve DIR [--listen ADDR:PORT] [--token-auth-file CSV]")?;
    let started = std::time::Instant::now();
    let authority = pki::Authority::load_or_create(dir.join("pki"))?;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let pair = authority.server_on_disk("server", &["localhost".to_owned()], &[loopback], YEAR)?;
    let admin = authority.client_on_disk("admin", "admin", &["system:masters".to_owned()], YEAR)?;
    let keys = pki::ServiceAccountKeys::load_or_create(dir.join("pki"))?;
    let store = store::log::LogStore::open(dir.join("store"), store::log::Options::default())?;
    let mut config = Config::new(Arc::new(store), Arc::new(keys));
    if let Some(path) = tokens {
        config.static_tokens = apiserver::parse_token_file(&std::fs::read_to_string(path)?)?;
    }
    let server = ApiServer::new(config).await?;
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    let url = format!("https://{}", listener.local_addr()?);
    let kubeconfig = dir.join("kubeconfig");
    pki::write_atomic(
        &kubeconfig,
        kubeconfig_text(&url, authority.ca_pem(), &admin).as_bytes(),
        0o600,
    )?;
    println!(
        "ready {url} {} after {:?}",
        kubeconfig.display(),
        started.elapsed()
    );
    let shutdown = CancellationToken::new();
    let signal = shutdown.clone();
    let stopping = server.clone();
    tokio::spawn(async move {
        // A failure to listen for the signal leaves the default action, which ends the process too.
        if tokio::signal::ctrl_c().await.is_ok() {
            stopping.stop();
            signal.cancel();
        }
    });
    apiserver::serve(server, listener, authority.server_config(&pair)?, shutdown).await?;
    Ok(())
}

fn kubeconfig_text(url: &str, ca: &str, admin: &pki::Pair) -> String {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: ferrovirt\nclusters:\n- name: ferrovirt\n  cluster:\n    server: {url}\n    certificate-authority-data: {}\ncontexts:\n- name: ferrovirt\n  context: {{cluster: ferrovirt, user: admin, namespace: default}}\nusers:\n- name: admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
        encode(ca),
        encode(&admin.cert_pem),
        encode(&admin.key_pem)
    )
}

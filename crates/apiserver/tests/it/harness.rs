//! A server on loopback, with kubectl pointed at it.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use authz::User;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrovirt_apiserver::{ApiServer, Config, serve};
use pki::{Authority, Pair, ServiceAccountKeys};
use store::log::{LogStore, Options};
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(86_400);

/// Names of every server: its own, and that of a Service which leads to it.
const NAMES: [&str; 2] = ["localhost", "backend.default.svc"];

pub struct Server {
    pub api: ApiServer,
    pub address: SocketAddr,
    pub authority: Arc<Authority>,
    pub admin: Pair,
    pub dir: tempfile::TempDir,
    tls: rustls::ServerConfig,
    shutdown: CancellationToken,
    listening: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.api.stop();
        self.shutdown.cancel();
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::load_or_create(dir.path().join("pki")).unwrap());
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let pair = authority
            .issue_server(&NAMES.map(str::to_owned), &[loopback], DAY)
            .unwrap();
        let admin = authority
            .issue_client("admin", &["system:masters".to_owned()], DAY)
            .unwrap();
        let keys = ServiceAccountKeys::load_or_create(dir.path().join("pki")).unwrap();
        let store = LogStore::open(dir.path().join("store"), Options::default()).unwrap();
        let mut config = Config::new(Arc::new(store), Arc::new(keys));
        config.client_ca = Some(authority.ca_pem().to_owned());
        change(&mut config);
        let proxies = config.front_proxy.clone();
        let others: Vec<&str> = proxies.iter().map(|p| p.ca_pem.as_str()).collect();
        let api = ApiServer::new(config).await.unwrap();
        let listener = tokio::net::TcpListener::bind((loopback, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let tls = authority.server_config_trusting(&pair, &others).unwrap();
        let listening = serve(api.clone(), listener, tls.clone(), shutdown.clone());
        let listening = tokio::spawn(listening);
        let server = Server {
            api,
            address,
            authority,
            admin,
            dir,
            tls,
            shutdown,
            listening,
        };
        let credentials = format!(
            "client-certificate-data: {}\n    client-key-data: {}",
            STANDARD.encode(&server.admin.cert_pem),
            STANDARD.encode(&server.admin.key_pem)
        );
        server.write_kubeconfig("kubeconfig", &credentials);
        server
    }

    /// Makes the account of Pods in the namespace `default`, as a controller would.
    pub async fn default_account(&self) {
        self.kubectl(&["create", "serviceaccount", "default"]).await;
    }

    /// Closes the port and its connections; the server itself goes on.
    pub async fn go_deaf(&mut self) {
        self.shutdown.cancel();
        (&mut self.listening).await.unwrap().unwrap();
    }

    /// Opens the same port again.
    pub async fn listen(&mut self) {
        let listener = tokio::net::TcpListener::bind(self.address).await.unwrap();
        self.shutdown = CancellationToken::new();
        let (api, tls) = (self.api.clone(), self.tls.clone());
        self.listening = tokio::spawn(serve(api, listener, tls, self.shutdown.clone()));
    }

    /// Writes a kubeconfig with these lines of credentials; gives its path.
    pub fn write_kubeconfig(&self, name: &str, credentials: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let ca = STANDARD.encode(self.authority.ca_pem());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster:\n    server: https://{}\n    certificate-authority-data: {ca}\ncontexts:\n- name: c\n  context: {{cluster: c, user: u, namespace: default}}\nusers:\n- name: u\n  user:\n    {credentials}\n",
            self.address
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A client in this process with all rights.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(
            self.api.as_user(User::new("tester", &["system:masters"])),
            "default",
        )
    }

    fn command(&self, kubeconfig: &str, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("KUBECONFIG", self.dir.path().join(kubeconfig))
            .env("EDITOR", "sed -i s/before/after/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs kubectl as admin with `input`; gives what it did.
    pub async fn run(&self, kubeconfig: &str, args: &[&str], input: &str) -> Output {
        let mut child = self.command(kubeconfig, args).spawn().unwrap();
        let input = input.to_owned();
        tokio::task::spawn_blocking(move || {
            child
                .stdin
                .take()
                .unwrap()
                .write_all(input.as_bytes())
                .unwrap();
            child.wait_with_output().unwrap()
        })
        .await
        .unwrap()
    }

    /// What a successful kubectl printed.
    pub async fn kubectl(&self, args: &[&str]) -> String {
        self.kubectl_with(args, "").await
    }

    pub async fn kubectl_with(&self, args: &[&str], input: &str) -> String {
        let output = self.run("kubeconfig", args, input).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a failing kubectl complained about.
    pub async fn kubectl_fails(&self, args: &[&str], input: &str) -> String {
        let output = self.run("kubeconfig", args, input).await;
        assert!(
            !output.status.success(),
            "kubectl {args:?} succeeded: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        String::from_utf8(output.stderr).unwrap()
    }

    /// Starts kubectl and leaves it running.
    pub fn spawn_kubectl(&self, args: &[&str]) -> tokio::process::Child {
        let mut command = tokio::process::Command::from(self.command("kubeconfig", args));
        command.kill_on_drop(true).spawn().unwrap()
    }
}

/// Waits until `condition` holds, at most half a minute.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        pause.tick().await;
    }
}

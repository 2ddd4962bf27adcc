//! `ferrovirt up`: the platform on this host, in the foreground.
//!
//! ```text
//! data dir ─► store ─► CA ─► API server ─► kinds, switch, class, node ─► engine, switch ─► `ready`
//!                                                                                 │
//!                         (while the VM runtime is enabled) controllers, agent ◄──┘
//! SIGTERM, SIGINT ─► components stop ─► connections drain ─► store closes. Guests stay.
//! ```
//!
//! The engine always runs; the rest are [`components`], which start and stop with the VM runtime.
//!
//! Invariant: `ready` is printed once, when requests are answered and everything acts on them. Any
//! moment is a good one to be killed at: what runs is found again.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use api::vmruntime::{RuntimePhase, component};
use apiserver::{ApiServer, Config};
use authz::User;
use controllers::runtime::Runtime;
use engine::noderuntime::{self, NodeFacts};
use jiff::SignedDuration;
use kube::Client;
use pki::{Authority, ServiceAccountKeys};
use telemetry::component::ComponentLogs;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::aggregation_options::AggregationOptions;
use crate::components::{self, Component, Needs, Place, Work};
use crate::control_plane::{ControlPlaneOptions, Opened};
use crate::data_dir::{self, DataDir};
use crate::leading::{self, Term};
use crate::oidc_options::OidcOptions;
use crate::request_options::RequestOptions;
use crate::sealing_options::SealingOptions;
use crate::{admission, kubeconfig, platform, subresources};

/// Lifetime of the server's certificate; it is issued again at a start in its last third.
const SERVER_CERTIFICATE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Lifetime of the administrator's certificate.
const ADMIN_CERTIFICATE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long everything may take to stop.
const STOP: Duration = Duration::from_secs(10);
/// How long a component may go on after it was told to stop.
const LAST_MOMENT: Duration = Duration::from_millis(500);
/// How long the agent may end what it is doing, before it says that it takes no VMs any more.
const AGENT_MOMENT: Duration = Duration::from_millis(250);
/// Address of this node, as the node runtime tells it.
const HOST_IP: &str = "127.0.0.1";
/// How often a node that could not be asked what it can do is asked again.
const ASK_NODE_AGAIN: Duration = Duration::from_secs(10);

/// Options of `ferrovirt up`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ferrovirt up\n  ferrovirt up --data-dir /tmp/fv --listen 127.0.0.1:0 --kubeconfig /tmp/fv/kubeconfig\n\nPrints one line beginning with `ready` once requests are answered. SIGTERM stops the control plane; guests go on running and are found again at the next start.\nLogs go to standard error; FERROVIRT_LOG sets their level (info, debug, ...)."
)]
pub(crate) struct UpOptions {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = data_dir::DEFAULT)]
    data_dir: PathBuf,
    /// Address and port of the API; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Where the administrator's kubeconfig is written; in the data directory if not given.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Name of this node; the host's name if not given.
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Static tokens, in kube-apiserver's format: token,user,uid[,"group1,group2"].
    #[arg(long, value_name = "CSV")]
    token_auth_file: Option<PathBuf>,
    /// How long the nodes have to answer a preflight check; nodes that stay silent have failed it.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(5..=3600))]
    preflight_timeout: u32,
    #[command(flatten)]
    control_plane: ControlPlaneOptions,
    #[command(flatten)]
    aggregation: AggregationOptions,
    #[command(flatten)]
    oidc: OidcOptions,
    #[command(flatten)]
    sealing: SealingOptions,
    #[command(flatten)]
    requests: RequestOptions,
}

/// Runs the platform until it is told to stop.
pub(crate) fn main(options: UpOptions) -> ExitCode {
    let started = Instant::now();
    let logs = match telemetry::log_to_stderr_and_components("info") {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("ferrovirt: {error}");
            return ExitCode::from(2);
        }
    };
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime");
    let outcome = runtime.and_then(|runtime| {
        let outcome = runtime.block_on(Box::pin(up(options, logs, started)));
        runtime.shutdown_timeout(Duration::from_secs(1));
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ferrovirt: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Takes as many descriptors as this process may have: the usual 1024 are fewer than the connections that
/// are served, and whoever opened those would keep the store from opening its files.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "the limit of open files stays as it is");
    }
}

async fn up(options: UpOptions, logs: ComponentLogs, started: Instant) -> anyhow::Result<()> {
    let together = &options.control_plane;
    if !rustix::process::geteuid().is_root() && !together.is_api_only() {
        anyhow::bail!(
            "`ferrovirt up` needs root: it makes network namespaces, control groups and processes of another user"
        );
    }
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let data = DataDir::prepare(&options.data_dir)?;
    let node = node_name(options.node_name.as_deref())?;
    let instance = together.instance(&data)?;
    let Opened {
        store: opened,
        own,
        identity,
    } = together.open(&data).await?;
    let pki = together.pki(&data);
    let authority = Authority::load_or_create(&pki).context("opening the CA")?;
    let keys =
        ServiceAccountKeys::load_or_create(&pki).context("opening the service-account keys")?;
    together.agree(&*opened, &authority, &keys, &pki).await?;

    let late_client = subresources::LateClient::default();
    let mut config = Config::new(opened, Arc::new(keys));
    config.shared_store = together.is_shared();
    config.replica = instance.as_ref().map(|of| together.replica(of, &node));
    config.strategies = admission::strategies();
    config.subresources = subresources::all(data.path().to_owned(), &late_client);
    options.aggregation.apply(&mut config, &authority, &pki)?;
    let proxy_ca = config.front_proxy.as_ref().map(|p| p.ca_pem.clone());
    options.sealing.apply(&mut config);
    options.oidc.apply(&mut config)?;
    // etcd has backups of its own.
    if let Some(own) = own {
        let backup = crate::backup::registration(own, pki.clone());
        config.subresources.push(backup);
    }
    if let Some(file) = &options.token_auth_file {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        config.static_tokens = apiserver::parse_token_file(&text)
            .map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
    }
    let audit_log = options.requests.apply(&mut config)?;
    let server = ApiServer::new(config)
        .await
        .context("starting the API server")?;

    let listener = TcpListener::bind(options.listen).await.with_context(|| {
        format!(
            "listening on {}: is another platform running?",
            options.listen
        )
    })?;
    let address = listener.local_addr().context("finding the port")?;
    let stem = together.stem("apiserver", &node);
    let proxy_ca = proxy_ca.as_deref();
    let tls = tls_config(&authority, &stem, proxy_ca, address.ip(), &node)?;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let serving = tokio::spawn(apiserver::serve(
        server.clone(),
        listener,
        tls,
        stop.child_token(),
    ));

    let user = User::new(platform::USER, &["system:masters"]);
    let client = Client::new(server.as_user(user), "default");
    let _ = late_client.set(client.clone());
    platform::install(&client).await?;
    let controllers = stop.child_token();
    if !together.is_api_only() {
        let this = (node.as_str(), identity.as_str());
        run_node(&client, &data, this, &controllers, &tasks).await?;
        let (engine, ca) = (client.clone(), authority.ca_pem().to_owned());
        let cluster = move |stop: &CancellationToken, tasks: &TaskTracker| {
            run_cluster(&engine, ca.clone(), stop, tasks);
        };
        let term = if together.is_shared() {
            leading::together(client.clone(), &node, &controllers, &tasks, cluster)
        } else {
            cluster(&controllers, &tasks);
            leading::alone(&controllers)
        };
        let patience = SignedDuration::from_secs(options.preflight_timeout.into());
        let this = (node.as_str(), patience);
        run_components(&client, &data, this, logs, &term, &controllers, &tasks)?;
    }

    let kubeconfig = write_kubeconfig(&options, &data, &node, &authority, address)?;
    println!(
        "ready url=https://{address} kubeconfig={} in {} ms",
        kubeconfig.display(),
        started.elapsed().as_millis()
    );
    info!(node, data_dir = %data.path().display(), "the platform is up");

    let mut serving = serving;
    let mut outcome = Ok(());
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: stopping; guests go on running"),
        _ = interrupt.recv() => info!("SIGINT: stopping; guests go on running"),
        ended = &mut serving => {
            ended.context("the API server's listener panicked")?.context("accepting connections")?;
        }
        why = server.displaced() => outcome = Err(anyhow::anyhow!(why)),
    }
    server.prepare_to_stop();
    controllers.cancel();
    tasks.close();
    if tokio::time::timeout(STOP, tasks.wait()).await.is_err() {
        warn!(left = tasks.len(), "components are cut at shutdown");
    }
    stop.cancel();
    server.stop();
    if !serving.is_finished() {
        let _ = tokio::time::timeout(STOP, serving).await;
    }
    if let Some(log) = audit_log
        && tokio::time::timeout(STOP, log.flush()).await.is_err()
    {
        warn!("the last events of the audit log are not written");
    }
    outcome
}

fn node_name(given: Option<&str>) -> anyhow::Result<String> {
    let name = match given {
        Some(name) => name.to_owned(),
        None => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .to_lowercase(),
    };
    let problems = apimachinery::name::dns1123_subdomain(&name);
    anyhow::ensure!(
        problems.is_empty(),
        "the node name {name:?} cannot be used ({}); choose one with --node-name",
        problems.join("; ")
    );
    Ok(name)
}

fn tls_config(
    authority: &Authority,
    stem: &str,
    proxy_ca: Option<&str>,
    ip: IpAddr,
    node: &str,
) -> anyhow::Result<rustls::ServerConfig> {
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        node,
    ]
    .map(str::to_owned);
    let mut ips = vec![
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    ];
    if !ip.is_unspecified() && !ips.contains(&ip) {
        ips.push(ip);
    }
    let pair = authority
        .server_on_disk(stem, &names, &ips, SERVER_CERTIFICATE)
        .context("issuing the API server's certificate")?;
    let others: Vec<&str> = proxy_ca.into_iter().collect();
    authority
        .server_config_trusting(&pair, &others)
        .context("setting TLS up")
}

fn write_kubeconfig(
    options: &UpOptions,
    data: &DataDir,
    node: &str,
    authority: &Authority,
    address: SocketAddr,
) -> anyhow::Result<PathBuf> {
    let admin = authority
        .client_on_disk(
            &options.control_plane.stem("admin", node),
            "kubernetes-admin",
            &["system:masters".to_owned()],
            ADMIN_CERTIFICATE,
        )
        .context("issuing the administrator's certificate")?;
    let reachable = match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::from([127, 0, 0, 1]), address.port()),
        _ => address,
    };
    let text = kubeconfig::render(&format!("https://{reachable}"), authority.ca_pem(), &admin);
    let path = options
        .kubeconfig
        .clone()
        .unwrap_or_else(|| data.kubeconfig());
    pki::write_atomic(&path, text.as_bytes(), 0o600)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn workload_user() -> anyhow::Result<(u32, u32)> {
    let id = u32::try_from(controllers::RUN_AS)?;
    Ok((id, id))
}

/// Starts what a Kubernetes control plane has once in a cluster beside VMs.
fn run_cluster(client: &Client, ca: String, stop: &CancellationToken, tasks: &TaskTracker) {
    let c = || client.clone();
    let s = || stop.child_token();
    let resources = engine::resources::discover(c(), s());
    start(
        tasks,
        stop,
        engine::garbage::run(c(), resources.clone(), s()),
    );
    start(tasks, stop, engine::namespaces::run(c(), resources, s()));
    start(tasks, stop, engine::events::run(c(), s()));
    start(tasks, stop, engine::service_accounts::run(c(), ca, s()));
    start(tasks, stop, engine::scheduler::run(c(), s()));
}

/// Starts what a Kubernetes node has beside VMs, on this node and store; returns when it is registered.
async fn run_node(
    client: &Client,
    data: &DataDir,
    (node, store): (&str, &str),
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    let facts = NodeFacts::read(node, data.path(), version, controllers::TAINT)
        .context("reading the facts of this host")?;
    match noderuntime::register(client, &facts).await {
        // The heartbeat tries again, and whoever makes space needs a platform.
        Err(error) if error.is_out_of_space() => warn!("{}", error.chain()),
        registered => drop(registered?),
    }
    let user = workload_user()?;
    let c = || client.clone();
    let s = || stop.child_token();

    let volumes = engine::provisioner::Config {
        root: data.volumes(),
        node: node.to_owned(),
        owner: user,
    };
    start(tasks, stop, engine::provisioner::run(c(), volumes, s()));
    let pods = noderuntime::Config {
        node: node.to_owned(),
        store: store.to_owned(),
        data_dir: data.path().to_owned(),
        image: controllers::IMAGE.to_owned(),
        user,
        // What is running, whatever has become of the file meanwhile: launchers match their agent.
        executable: PathBuf::from("/proc/self/exe"),
        verbs: &["launcher", "importer"],
    };
    start(tasks, stop, noderuntime::run(c(), pods, s()));
    start(tasks, stop, noderuntime::heartbeat(c(), facts, s()));

    Ok(())
}

/// Starts the switch, and with it whatever it asks for.
fn run_components(
    client: &Client,
    data: &DataDir,
    (node, patience): (&str, SignedDuration),
    logs: ComponentLogs,
    term: &Term,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    let runtime = controllers::runtime::follow(client.clone(), stop.child_token());
    let agent = node::Config {
        node: node.to_owned(),
        pods_dir: data.pods(),
        labels: node::NodeLabels {
            schedulable: controllers::vmi::SCHEDULABLE_LABEL,
            kvm: controllers::vmi::KVM_LABEL,
            finding: controllers::vmi::KVM_ANNOTATION,
        },
        user: workload_user()?,
    };
    let probe = node::preflight::ChildProcesses {
        // As for Pods: what is running.
        executable: PathBuf::from("/proc/self/exe"),
        data_dir: data.path().to_owned(),
        qemu_user: agent.user,
        client: client.clone(),
    };
    // Like the node runtime it is none of the components: hosts are checked before anything is switched on.
    let (fresh, kvm) = watch::channel(None);
    let responder = node::preflight::run(
        client.clone(),
        node.to_owned(),
        probe.clone(),
        fresh,
        stop.child_token(),
    );
    start(tasks, stop, responder);
    let place = Place {
        node: node.to_owned(),
        host_ip: HOST_IP.to_owned(),
        logs_dir: data_dir::components(data.path()),
        logs,
    };
    let all = parts(client, agent, (probe, kvm), patience, &runtime, term);
    components::run(client.clone(), place, all, &runtime, stop, tasks);
    Ok(())
}

/// What tries KVM, and what preflight checks have found of it last.
type HostProbe = (
    node::preflight::ChildProcesses,
    watch::Receiver<Option<host::kvm::KvmReport>>,
);

/// The components of this process.
fn parts(
    client: &Client,
    agent: node::Config,
    host: HostProbe,
    patience: SignedDuration,
    runtime: &Runtime,
    term: &Term,
) -> Vec<Component> {
    let with = || (client.clone(), runtime.clone());
    let once = |work: Box<dyn Fn(CancellationToken) -> Work + Send + Sync>| {
        let (term, work) = (term.clone(), Arc::new(work));
        Box::new(move |stop| -> Work {
            let (term, work) = (term.clone(), Arc::clone(&work));
            Box::pin(leading::led(term, stop, move |stop| work(stop)))
        })
    };
    let (switch, machines, volumes, handler) = (with(), with(), with(), with());
    vec![
        Component {
            name: component::RUNTIME_MANAGER,
            labels: &[("app", "vmruntime-controller-manager")],
            needs: Needs::Nothing,
            start: once(Box::new(move |stop| {
                let (client, runtime) = switch.clone();
                Box::pin(async move {
                    tokio::select! {
                        () = controllers::vmruntime::run(client.clone(), runtime, stop.clone()) => {}
                        () = controllers::preflight::run(client, patience, stop) => {}
                    }
                })
            })),
        },
        Component {
            name: component::VIRT_CONTROLLER,
            labels: &[("kubevirt.io", "virt-controller")],
            needs: Needs::VmStack,
            start: once(Box::new(move |stop| {
                let (client, runtime) = machines.clone();
                Box::pin(async move {
                    // One that ends takes the other with it, and both are started again.
                    tokio::select! {
                        () = controllers::vm::run(client.clone(), runtime.clone(), stop.clone()) => {}
                        () = controllers::vmi::run(client, runtime, stop) => {}
                    }
                })
            })),
        },
        Component {
            name: component::CDI_DEPLOYMENT,
            labels: &[
                ("app", "containerized-data-importer"),
                ("cdi.kubevirt.io", "cdi-deployment"),
            ],
            needs: Needs::VmStack,
            start: once(Box::new(move |stop| {
                let (client, runtime) = volumes.clone();
                Box::pin(controllers::datavolume::run(client, runtime, stop))
            })),
        },
        Component {
            name: component::VIRT_HANDLER,
            labels: &[("kubevirt.io", "virt-handler")],
            needs: Needs::VmStack,
            start: Box::new(move |stop| {
                let (client, runtime) = handler.clone();
                Box::pin(run_agent(
                    client,
                    agent.clone(),
                    host.clone(),
                    runtime,
                    stop,
                ))
            }),
        },
    ]
}

/// Starts a component. Told to stop, it has a moment to end what it is doing: everything here may be
/// killed at any instant, so nothing is lost when it takes longer. (A kube controller that has not seen
/// its first list yet does not end by itself.)
fn start(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    component: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_MOMENT).await;
        };
        tokio::select! {
            () = component => {}
            () = overdue => {}
        }
    });
}

/// The agent of this node, until it is told to stop.
async fn run_agent(
    client: Client,
    config: node::Config,
    host: HostProbe,
    runtime: Runtime,
    stop: CancellationToken,
) {
    let (node, labels) = (config.node.clone(), config.labels);
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(AGENT_MOMENT).await;
    };
    tokio::select! {
        () = take_vms(client.clone(), config, host, runtime.clone(), stop.clone()) => {}
        () = overdue => {}
    }
    // Switched off, this node takes no VMs. When the process ends, it goes on with those it has.
    let off = runtime.borrow().phase == Some(RuntimePhase::Disabled);
    if off && let Err(e) = node::retire(&client, &node, labels).await {
        warn!("this node still says that it takes VMs: {}", e.chain());
    }
}

/// Finds out what this node can do, says so, and takes VMs. Not part of being ready: the probe runs
/// guest code against a clock.
async fn take_vms(
    client: Client,
    config: node::Config,
    (probe, kvm): HostProbe,
    runtime: Runtime,
    stop: CancellationToken,
) {
    let found = loop {
        let asked = async {
            let found = node::discover(&probe.data_dir, &probe).await?;
            node::publish(&client, &config.node, config.labels, &found).await?;
            anyhow::Ok(found)
        };
        // A controller that is stopped before it has seen its objects never ends: none is begun then.
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            asked = asked => asked,
        };
        match asked {
            Ok(found) => break found,
            Err(e) => error!("this node takes no VMs yet: {e:#}"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ASK_NODE_AGAIN) => {}
        }
    };
    let policy = move || runtime.borrow().emulation;
    let (renewed, found) = watch::channel(found);
    let current = node::keep_current(client.clone(), config.clone(), probe.data_dir, kvm, renewed);
    tokio::select! {
        () = node::run(client, config, found, policy, stop) => {}
        // Nobody checks any more: what is known stays.
        () = async { current.await; std::future::pending().await } => {}
    }
}

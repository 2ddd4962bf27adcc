//! The rules: which layer a crate is in, what it may use of ours, who may use what from outside.
//!
//! ```text
//!  edge        app  bin  testkit  tests  benches  xtask        name both sides
//!  services    apiserver reconcile controllers engine node ..  each only what is listed here
//!  mechanisms  store qemu disk transfer host pki               nothing of ours
//!  pure        apimachinery ◄ schema authz api ◄ smd cel machine placement
//! ```

/// Where a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// Values to values: no tokio, no sockets, no clock, no files. Uses pure crates of lower ranks.
    Pure { rank: u8 },
    /// One kind of I/O each, in plain structs of its own: uses nothing of ours.
    Mechanism,
    /// Uses exactly what is listed.
    Service { of: &'static [&'static str] },
    /// Puts the sides together: may use everything.
    Edge,
}

/// A crate, its layer, and what the layer means for it.
pub(super) struct Place {
    /// Import name.
    pub(super) name: &'static str,
    pub(super) layer: Layer,
    /// Said with every fault.
    pub(super) why: &'static str,
}

const fn pure(rank: u8, name: &'static str, why: &'static str) -> Place {
    let layer = Layer::Pure { rank };
    Place { name, layer, why }
}

const fn mechanism(name: &'static str, why: &'static str) -> Place {
    let layer = Layer::Mechanism;
    Place { name, layer, why }
}

const fn service(name: &'static str, of: &'static [&'static str], why: &'static str) -> Place {
    let layer = Layer::Service { of };
    Place { name, layer, why }
}

const fn edge(name: &'static str, why: &'static str) -> Place {
    let layer = Layer::Edge;
    Place { name, layer, why }
}

/// Every crate of the workspace.
pub(super) const PLACES: &[Place] = &[
    pure(
        0,
        "apimachinery",
        "the vocabulary that every other crate shares",
    ),
    pure(1, "schema", "schemas know no kind but as data"),
    pure(1, "authz", "a decision is a function of stored objects"),
    pure(1, "api", "types, defaults and rules of the served kinds"),
    pure(
        2,
        "smd",
        "server-side apply is a function of values and schemas",
    ),
    pure(2, "cel", "a rule is a function of values"),
    pure(
        2,
        "machine",
        "what a VM is, decided without touching the host",
    ),
    pure(
        2,
        "placement",
        "the scheduler's decision, without queue and API",
    ),
    mechanism("store", "keys and bytes; knows no Kubernetes object"),
    mechanism(
        "qemu",
        "QMP; the process and the machine's meaning are elsewhere",
    ),
    mechanism("disk", "image formats; where bytes come from is elsewhere"),
    mechanism(
        "transfer",
        "bytes from servers; what they mean is elsewhere",
    ),
    mechanism(
        "host",
        "processes, groups, namespaces, KVM; policy is elsewhere",
    ),
    mechanism(
        "pki",
        "certificates and tokens; who may do what is elsewhere",
    ),
    service(
        "apiserver",
        &[
            "apimachinery",
            "schema",
            "smd",
            "cel",
            "authz",
            "store",
            "pki",
        ],
        "one pipeline for all kinds; it knows nothing of VMs, and what is special about a kind enters as a strategy",
    ),
    service(
        "reconcile",
        &["apimachinery"],
        "the frame of every controller; it knows no kind of the platform",
    ),
    service(
        "controllers",
        &["apimachinery", "api", "machine", "placement", "reconcile"],
        "controllers reach the world only through a kube::Client, so that none can tell an embedded engine from a cluster",
    ),
    service(
        "engine",
        &[
            "apimachinery",
            "placement",
            "reconcile",
            "host",
            "disk",
            "pki",
        ],
        "the part of Kubernetes that VMs need; it knows no kind of the platform and no server, only a kube::Client",
    ),
    service(
        "node",
        &[
            "apimachinery",
            "api",
            "machine",
            "reconcile",
            "host",
            "disk",
            "qemu",
            "launcher-api",
        ],
        "the agent asks launchers by their protocol and the world by a kube::Client",
    ),
    service(
        "launcher-api",
        &["machine"],
        "the protocol alone: neither side's implementation",
    ),
    service(
        "launcher",
        &["machine", "qemu", "host", "launcher-api"],
        "it holds no credentials and knows no Kubernetes object",
    ),
    service(
        "importer",
        &["apimachinery", "transfer", "disk", "host"],
        "it joins bytes and images, and knows no Kubernetes object",
    ),
    service(
        "telemetry",
        &[],
        "every process has it, so it brings nothing along",
    ),
    service(
        "cli",
        &["apimachinery"],
        "a client of any server that speaks the Kubernetes API: kinds are discovered, not compiled in",
    ),
    edge("app", "the composition of a running system"),
    edge("ferrovirt", "the binary"),
    edge("testkit", "a whole platform for tests"),
    edge("tests", "end to end"),
    edge("bench", "measurements"),
    edge("fuzz", "fuzz targets"),
    edge("xtask", "tasks of the repository"),
];

/// An outside crate that carries a risk: who of the shipped crates may import it. Tests, and the
/// crates at the edge other than those named here, are free.
pub(super) struct Outside {
    pub(super) name: &'static str,
    pub(super) only: &'static [&'static str],
    pub(super) why: &'static str,
}

/// Crates that put things together for shipping, and so are held to [`OUTSIDE`] too.
pub(super) const SHIPPED_EDGE: &[&str] = &["app", "ferrovirt"];

const fn only(name: &'static str, only: &'static [&'static str], why: &'static str) -> Outside {
    Outside { name, only, why }
}

/// Outside crates that are confined.
pub(super) const OUTSIDE: &[Outside] = &[
    only("redb", &["store"], "the database is behind the Store trait"),
    only("imbl", &["store"], "snapshots are the store's affair"),
    only("crc32c", &["store"], "checksums of log records"),
    only("landlock", &["host"], "confinement is in one place"),
    only(
        "libc",
        &["host", "engine", "node"],
        "unsafe calls that rustix does not wrap; new users go through `host`",
    ),
    only("rcgen", &["pki"], "certificates are made in one place"),
    only(
        "x509-parser",
        &["pki"],
        "certificates are read in one place",
    ),
    only(
        "aws-lc-rs",
        &["pki"],
        "the one crypto provider; sealing keys",
    ),
    only(
        "jsonwebtoken",
        &["pki"],
        "tokens are signed and verified in one place",
    ),
    only(
        "rustls",
        &["pki", "apiserver", "app"],
        "one TLS set-up: pki makes it, apiserver accepts with it, app hands it over",
    ),
    only(
        "tokio-rustls",
        &["apiserver", "store"],
        "the one listener; connections to etcd",
    ),
    only("prost", &["store"], "etcd's messages"),
    only("mimalloc", &["ferrovirt"], "the allocator of the binary"),
    only(
        "reqwest",
        &["transfer"],
        "the one client of foreign servers; redirects and private CAs are decided there",
    ),
    only(
        "async-compression",
        &["transfer"],
        "decompression of what comes from foreign servers",
    ),
    only("zstd", &["disk"], "clusters of qcow2 images"),
    only(
        "flate2",
        &["disk", "apiserver", "store"],
        "clusters of qcow2 images; compressed responses; backups",
    ),
    only(
        "regex",
        &["schema", "cel"],
        "patterns of schemas, and `matches` of their rules, with limits",
    ),
    only(
        "kube-cel",
        &["cel"],
        "the expression language is behind our own limits",
    ),
    only("schemars", &["api"], "CRDs are generated from the types"),
    only(
        "hyper",
        &["apiserver", "app", "cli", "store"],
        "the server; etcd's HTTP/2; upgrades of connections in subresources (app) and consoles (cli)",
    ),
    only(
        "hyper-util",
        &["apiserver", "app", "cli", "store"],
        "as hyper",
    ),
    only(
        "tower",
        &["apiserver", "app"],
        "the in-process client's transport",
    ),
    only(
        "tokio-tungstenite",
        &["apiserver", "app", "cli"],
        "WebSockets: the server's end, consoles, the client's end",
    ),
    only(
        "serde-saphyr",
        &["apiserver", "cli"],
        "YAML is read where people write it",
    ),
    only(
        "granit-parser",
        &["apiserver"],
        "request bodies in YAML mean what they mean to kube-apiserver",
    ),
    only(
        "kube",
        &[
            "api",
            "reconcile",
            "controllers",
            "engine",
            "node",
            "cli",
            "app",
        ],
        "the client and its types belong to the service layer; `api` derives its kinds with it",
    ),
    only(
        "clap",
        &["cli", "app", "importer"],
        "command lines; a workload's arguments lie with the workload",
    ),
    only("clap_complete", &["cli"], "completion"),
    only(
        "indicatif",
        &["cli", "app"],
        "progress for people; libraries report values",
    ),
    only(
        "tracing-subscriber",
        &["telemetry"],
        "how logs look is decided once",
    ),
    only(
        "anyhow",
        &["app", "ferrovirt"],
        "libraries have typed errors",
    ),
];

/// Outside crates that layer 0 never uses, not even in tests.
pub(super) const IMPURE: &[&str] = &[
    "tokio",
    "tokio-util",
    "hyper",
    "hyper-util",
    "reqwest",
    "rustix",
    "libc",
    "rand",
    "tracing",
];

/// What a line of layer 0 must not contain outside tests, with the reason.
pub(super) const IMPURE_CODE: &[(&str, &str)] = &[
    ("std::fs", "files are read by layer 1; take the contents"),
    ("std::process", "processes are started by layer 1"),
    ("std::thread", "pure code has no threads"),
    (
        "std::env",
        "the environment is read at the edge; take the value",
    ),
    ("TcpStream", "sockets belong to layer 1"),
    ("UnixStream", "sockets belong to layer 1"),
    ("UdpSocket", "sockets belong to layer 1"),
    ("Instant::now", "the caller passes the time"),
    ("SystemTime::now", "the caller passes the time"),
    ("Timestamp::now", "the caller passes the time"),
    ("Zoned::now", "the caller passes the time"),
];

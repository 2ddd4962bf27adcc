//! Every bound on what comes from outside.

use std::time::Duration;

/// Largest request body, as kube-apiserver's (3 MiB).
pub(crate) const MAX_BODY: usize = 3 * 1024 * 1024;
/// Largest sum of keys and values of a ConfigMap or Secret.
pub(crate) const MAX_DATA: usize = 1024 * 1024;
/// Largest object that is stored: what etcd takes in one request by default.
pub(crate) const MAX_OBJECT: usize = 1536 * 1024;
/// Causes told of one refusal; more help nobody and cost memory.
pub(crate) const MAX_CAUSES: usize = 200;
/// Longest path and query together.
pub(crate) const MAX_URI: usize = 16 * 1024;
/// Largest request head on HTTP/1.
pub(crate) const MAX_HEADERS: usize = 64 * 1024;
/// Time to receive a request head.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to receive a request body.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a TLS handshake.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Open connections.
pub(crate) const MAX_CONNECTIONS: usize = 4096;
/// Seats of all priority levels together when none are configured, as kube-apiserver's 400 reading and 200 mutating
/// requests.
pub(crate) const SEATS: u32 = 600;
/// Seats of callers in this process, beside those of clients.
pub(crate) const IN_PROCESS_SEATS: u32 = 256;
/// How long a request waits for its seats before it is sent away with 429 (as kube-apiserver, a quarter of its
/// request timeout).
pub(crate) const QUEUE_WAIT: Duration = Duration::from_secs(15);
/// Requests that wait for seats, in all queues.
pub(crate) const MAX_QUEUED: usize = 10_000;
/// Priority levels and flow schemas that are taken up; further ones are as if they were not there.
pub(crate) const MAX_LEVELS: usize = 64;
/// See [`MAX_LEVELS`].
pub(crate) const MAX_FLOW_SCHEMAS: usize = 512;
/// Seats of the widest request, and objects that a list reads for each.
pub(crate) const MAX_WIDTH: u32 = 10;
/// See [`MAX_WIDTH`].
pub(crate) const OBJECTS_PER_SEAT: u64 = 100;
/// Bodies of requests that are received or held at once, and their bytes.
pub(crate) const MAX_BODIES: usize = 4096;
/// See [`MAX_BODIES`].
pub(crate) const MAX_BODY_BYTES: usize = 128 * 1024 * 1024;
/// Of one user.
pub(crate) const MAX_BODIES_PER_USER: usize = 512;
/// Of one user.
pub(crate) const MAX_BODY_BYTES_PER_USER: usize = 32 * 1024 * 1024;
/// How long a request waits for room for its body.
pub(crate) const INTAKE_WAIT: Duration = Duration::from_secs(5);
/// Users whose use is remembered before those without any are forgotten.
pub(crate) const FORGET_USERS_AT: usize = 1024;
/// Watches of all users.
pub(crate) const MAX_WATCHES: usize = 16_384;
/// Combinations of labels that are counted by themselves.
pub(crate) const MAX_SERIES: usize = 4096;
/// How often stored objects are counted.
pub(crate) const COUNT_EVERY: Duration = Duration::from_secs(30);
/// Watches of one user.
pub(crate) const MAX_WATCHES_PER_USER: usize = 4096;
/// Deepest nesting of a body.
pub(crate) const MAX_DEPTH: usize = 120;
/// What anchors and aliases of a YAML body may copy: values, and texts by 32 bytes of them.
pub(crate) const YAML_COPIES: usize = 200_000;
/// Attempts of a read-modify-write before the conflict is given to the client.
pub(crate) const UPDATE_ATTEMPTS: usize = 20;
/// Objects on one page read from the store when the client named no limit.
pub(crate) const STORE_PAGE: usize = 2000;
/// Length of generated suffixes and attempts to find a free name.
pub(crate) const GENERATE_ATTEMPTS: usize = 8;
/// How long a Pod waits for the account `default` of its namespace: pauses from the first to the last, each twice the
/// one before, 1.3 s in all (kube-apiserver: ten attempts in 0.9 to 1.8 s).
pub(crate) const ACCOUNT_FIRST_PAUSE: Duration = Duration::from_millis(10);
/// See [`ACCOUNT_FIRST_PAUSE`].
pub(crate) const ACCOUNT_LAST_PAUSE: Duration = Duration::from_millis(640);
/// Attempts to add a claim to a ledger that other replicas write to as well.
pub(crate) const CLAIM_ATTEMPTS: usize = 100;
/// Claims in one ledger.
pub(crate) const CLAIMS: usize = 1000;
/// How long a claim counts that nobody removes, in seconds: longer than a write with all its webhooks takes, and
/// than clocks of replicas differ.
pub(crate) const CLAIM_LIFE: i64 = 300;
/// How often a server over a shared store shows that it lives; see `replicas`.
pub(crate) const REPLICA_BEAT: Duration = Duration::from_secs(10);
/// A server that has not shown it for so long is dead: as long as a node's Lease holds.
pub(crate) const REPLICA_LAPSE: Duration = Duration::from_secs(40);
/// After so long nobody needs to know any more that there was such a server.
pub(crate) const REPLICA_FORGOTTEN: Duration = Duration::from_secs(3600);
/// How long a request that would be refused waits for what another replica has written to be taken up.
pub(crate) const LEARN_WAIT: Duration = Duration::from_secs(2);
/// How long a list or watch may wait for a revision that the store does not have yet.
pub(crate) const FUTURE_REVISION_WAIT: Duration = Duration::from_secs(3);
/// How long a writer of RBAC objects or CRDs waits until this server has taken the change up.
pub(crate) const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// Shortest time between two bookmarks on an idle watch.
pub(crate) const BOOKMARK_INTERVAL: Duration = Duration::from_secs(10);
/// How long before its end a watch gets its last bookmark.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);
/// Frames that may wait for a slow watcher before the store's own window counts.
pub(crate) const WATCH_BUFFER: usize = 64;
/// Bytes of frames that may wait for a slow watcher; a single frame may be larger.
pub(crate) const WATCH_BUFFER_BYTES: usize = 256 * 1024;
/// Bytes of frames that go out as one chunk when there are so many; one that is larger goes alone.
pub(crate) const WATCH_BATCH_BYTES: usize = 32 * 1024;
/// Changes that a watch looks at before it sends what concerns its client.
pub(crate) const WATCH_BATCH: usize = 128;
/// How long a watcher may read nothing while there is something to read.
pub(crate) const WATCH_STALL: Duration = Duration::from_secs(30);
/// How long a connection may take nothing of what is written to it.
pub(crate) const WRITE_STALL: Duration = Duration::from_secs(90);
/// Requests that one HTTP/2 connection may have open.
pub(crate) const MAX_STREAMS: u32 = 250;
/// Streams reset by their client that are not noticed by the server yet, before the connection ends (CVE-2023-44487).
pub(crate) const MAX_RESET_STREAMS: usize = 20;
/// Bytes of bodies that a client may send ahead on a stream and on a connection.
pub(crate) const STREAM_WINDOW: u32 = 128 * 1024;
/// See [`STREAM_WINDOW`].
pub(crate) const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Bytes of an answer that wait in the transport of a stream.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;
/// Connections of one peer that is not this host.
pub(crate) const MAX_CONNECTIONS_PER_PEER: usize = 1024;
/// Duration of a watch whose client named none: from this to twice this.
pub(crate) const WATCH_TIMEOUT: Duration = Duration::from_secs(1800);
/// One question to a conversion webhook: objects, bytes of them, time for the answer.
pub(crate) const CONVERSION_OBJECTS: usize = 100;
pub(crate) const CONVERSION_BYTES: usize = 1024 * 1024;
pub(crate) const CONVERSION_CALL: Duration = Duration::from_secs(30);
/// All questions of one page of objects.
pub(crate) const CONVERSION_TIME: Duration = Duration::from_secs(60);
/// Converted objects that are kept for each CRD.
pub(crate) const CONVERTED_BYTES: usize = 8 * 1024 * 1024;
/// How often a conversion that somebody else began and gave up is waited for.
pub(crate) const CONVERSION_WAITS: usize = 3;
/// How often field managers of other versions may make a merge ask for one more object.
pub(crate) const CONVERSION_ROUNDS: usize = 64;
/// Characters of a webhook's own words that are passed on.
pub(crate) const CONVERSION_MESSAGE: usize = 4096;
/// Answers above this size are compressed when the client accepts gzip.
pub(crate) const GZIP_THRESHOLD: usize = 128 * 1024;
/// Audit events that wait to be written, and their bytes.
pub(crate) const AUDIT_QUEUE: usize = 10_000;
/// See [`AUDIT_QUEUE`].
pub(crate) const AUDIT_QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of an audit event; a larger one goes without its objects (kube-apiserver's
/// `--audit-log-truncate-max-event-size`).
pub(crate) const AUDIT_EVENT: usize = 10 * 1024 * 1024;
/// Annotations of an audit event, and bytes of one.
pub(crate) const MAX_ANNOTATIONS: usize = 256;
/// See [`MAX_ANNOTATIONS`].
pub(crate) const MAX_ANNOTATION: usize = 16 * 1024;
/// Characters of a User-Agent, and addresses of proxies, in an audit event.
pub(crate) const MAX_USER_AGENT: usize = 1024;
/// See [`MAX_USER_AGENT`].
pub(crate) const MAX_SOURCE_IPS: usize = 16;
/// Characters of an Audit-Id that a client chose.
pub(crate) const MAX_AUDIT_ID: usize = 64;

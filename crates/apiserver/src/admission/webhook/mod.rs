//! Admission webhooks (admissionregistration.k8s.io/v1).
//!
//! ```text
//! objects below /admissionregistration.k8s.io/ (follow) ─► webhooks by configuration ─► Webhooks, read per request
//! write ─► matching ─► review (AdmissionReview v1) ─► client (HTTPS) ─► JSONPatch, denial, warnings
//! ```
//! Mutating webhooks run one after another in order of their configurations' names, validating ones together.
//! One with `reinvocationPolicy: IfNeeded` runs again when somebody changed the object after it ran.

mod client;
mod config;
mod matching;
mod review;
mod strategy;

use std::collections::BTreeSet;
use std::sync::Arc;

use apimachinery::status::ApiError;
use arc_swap::ArcSwap;
use cel::policy::Inputs;
use serde_json::Value;
use store::Entry;
use tokio_util::sync::CancellationToken;

use self::config::Webhook;
use self::matching::Target;
use super::{Form, Reinvocation};
use crate::audit;
use crate::follow::{self, CaughtUp, Objects, View};
use crate::metrics::{Outcome, WebhookCalls};
use crate::registry::codec::{self, LoadError};
use crate::registry::{Call, Registry};
use crate::strategy::Operation;

use client::Client;
pub(crate) use client::ClientError;
pub(crate) use config::Endpoint;
pub(crate) use strategy::{ConfigurationStrategy, client_config};

const GROUP: &str = "admissionregistration.k8s.io";
const PREFIXES: [&str; 2] = [
    "/admissionregistration.k8s.io/mutatingwebhookconfigurations/",
    "/admissionregistration.k8s.io/validatingwebhookconfigurations/",
];

#[derive(Default)]
struct Lists {
    mutating: Vec<Arc<Webhook>>,
    validating: Vec<Arc<Webhook>>,
}

/// All webhooks at this moment, and the connections to them.
#[derive(Default)]
pub(crate) struct Webhooks {
    lists: ArcSwap<Lists>,
    pub caught_up: Arc<CaughtUp>,
    client: Client,
    pub calls: WebhookCalls,
}

impl Webhooks {
    /// The client that all webhooks are reached by.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Loads the configurations and follows them until `stop`. Returns after the first load.
    pub(crate) async fn start(
        registry: Arc<Registry>,
        stop: CancellationToken,
    ) -> Result<(), LoadError> {
        let (store, caught_up) = (
            Arc::clone(&registry.store),
            Arc::clone(&registry.webhooks.caught_up),
        );
        follow::start(Configurations(registry), store, caught_up, stop).await
    }
}

/// Makes the lists of webhooks, in the order of their configurations' names.
struct Configurations(Arc<Registry>);

impl View for Configurations {
    type Known = Vec<Arc<Webhook>>;
    /// Both kinds have it, and policies, which are left out.
    const PREFIX: &'static str = "/admissionregistration.k8s.io/";
    const WHAT: &'static str = "webhook configurations";

    fn read(&self, entry: &Entry) -> Result<Option<Self::Known>, LoadError> {
        if !PREFIXES.iter().any(|prefix| entry.key.starts_with(prefix)) {
            return Ok(None);
        }
        let object = codec::read_entry(&self.0.sealing, entry)?;
        Ok(Some(
            config::parse(&object).into_iter().map(Arc::new).collect(),
        ))
    }

    async fn take_up(&mut self, objects: &Objects<Self::Known>, _changed: &BTreeSet<Arc<str>>) {
        let [mutating, validating] =
            PREFIXES.map(|prefix| objects.below(prefix).flatten().cloned().collect());
        self.0.webhooks.lists.store(Arc::new(Lists {
            mutating,
            validating,
        }));
    }
}

/// One webhook that is to be asked, with the version of the kind that its rules name.
struct Hit {
    webhook: Arc<Webhook>,
    version: String,
}

async fn hits(
    call: &Call<'_>,
    webhooks: &[Arc<Webhook>],
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Vec<Hit>, ApiError> {
    if webhooks.is_empty() || call.kind.group == GROUP {
        return Ok(Vec::new());
    }
    let kinds = call.registry.kinds.load_full();
    let target = Target {
        kind: call.kind,
        subresource: call.subresource,
        operation,
        object,
        old,
    };
    let versions: Vec<&str> = kinds
        .versions(&call.kind.group)
        .into_iter()
        .flatten()
        .filter(|(_, kinds)| kinds.iter().any(|k| k.plural == call.kind.plural))
        .map(|(version, _)| version.as_str())
        .collect();
    let mut namespace = None;
    let mut found = Vec::new();
    for webhook in webhooks {
        let Some(version) = matching::version(webhook, &target, &versions) else {
            continue;
        };
        if !matching::objects(webhook, &target) {
            continue;
        }
        if !webhook.namespaces_all && call.kind.namespaced {
            if namespace.is_none() {
                namespace = call
                    .reader
                    .get("", "namespaces", "", call.namespace)
                    .await?;
            }
            let labels = namespace.as_ref().and_then(apimachinery::meta::labels);
            if !webhook
                .namespace_selector
                .matches(labels.unwrap_or(&serde_json::Map::new()))
            {
                continue;
            }
        } else if !webhook.namespaces_all
            && call.kind.is("", "namespaces")
            && !matching::labelled(&webhook.namespace_selector, object.or(old))
        {
            continue;
        }
        if !webhook.conditions.is_empty() && !conditions(call, webhook, version, &target).await? {
            continue;
        }
        found.push(Hit {
            webhook: Arc::clone(webhook),
            version: version.to_owned(),
        });
    }
    Ok(found)
}

/// Whether the webhook's match conditions hold for the request, in the version that the webhook would see.
async fn conditions(
    call: &Call<'_>,
    webhook: &Webhook,
    version: &str,
    target: &Target<'_>,
) -> Result<bool, ApiError> {
    let (operation, object, old) = (target.operation, target.object, target.old);
    let namespace = if call.kind.namespaced {
        call.reader
            .get("", "namespaces", "", call.namespace)
            .await?
    } else {
        None
    };
    let request = review::describe(call, version, operation, object, old);
    let shown = |value| review::shown(call, version, value);
    let (object, old) = (shown(object), shown(old));
    let authorizer = crate::policies::authorizer(call);
    let inputs = Inputs {
        authorizer: &authorizer,
        object: object.as_ref(),
        old_object: old.as_ref(),
        request: &request,
        params: None,
        namespace_object: namespace.as_ref(),
    };
    match webhook
        .conditions
        .hold(&inputs, &mut cel::Budget::of_object())
    {
        Ok(holds) => Ok(holds),
        Err(why) if webhook.ignore_failure => {
            tracing::warn!(
                webhook = webhook.name,
                error = why,
                "match conditions failed; the webhook is not asked, as its failurePolicy says"
            );
            Ok(false)
        }
        Err(why) => {
            let name = target
                .object
                .or(target.old)
                .and_then(apimachinery::meta::name)
                .unwrap_or(call.name);
            Err(ApiError::forbidden(&call.kind.group_resource(), name, why))
        }
    }
}

/// Asks the webhook; a failure counts as its policy says, and `None` means that it has no say.
async fn ask(
    call: &Call<'_>,
    hit: &Hit,
    ty: &'static str,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Option<review::Answer>, ApiError> {
    let webhook = &hit.webhook;
    let (uid, body) = review::request(call, &hit.version, operation, object, old);
    let began = std::time::Instant::now();
    let answer = match call
        .registry
        .webhooks
        .client
        .post(call.registry, webhook, body)
        .await
    {
        Ok(bytes) => review::answer(&bytes, &uid),
        Err(e) => Err(e.to_string()),
    };
    let denied = answer.as_ref().ok().and_then(|a| a.denied.as_ref());
    let outcome = Outcome {
        code: match (&answer, denied) {
            (Ok(_), None) => 200,
            (Ok(_), Some(status)) => review::denial(&webhook.name, status).code(),
            (Err(_), _) => 500,
        },
        rejected: denied.is_some() || (answer.is_err() && !webhook.ignore_failure),
        failed: answer.is_err(),
    };
    let operation = match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
    };
    let calls = &call.registry.webhooks.calls;
    calls.record(&webhook.name, ty, operation, began.elapsed(), outcome);
    match answer {
        Ok(answer) => {
            for warning in &answer.warnings {
                call.warn(warning.clone());
            }
            for (key, value) in &answer.annotations {
                audit::annotate(format!("{}/{key}", webhook.name), value);
            }
            if let Some(status) = &answer.denied {
                return Err(review::denial(&webhook.name, status));
            }
            Ok(Some(answer))
        }
        Err(e) if webhook.ignore_failure => {
            tracing::warn!(
                webhook = webhook.name,
                error = e,
                "a webhook failed and is ignored, as its failurePolicy says"
            );
            Ok(None)
        }
        Err(e) => Err(ApiError::internal(format!(
            "failed calling webhook {:?}: failed to call webhook: {e}",
            webhook.name
        ))),
    }
}

/// One pass of the mutating webhooks over the object. True when one changed it.
pub(super) async fn mutate(
    call: &Call<'_>,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
    state: &mut Reinvocation<usize>,
) -> Result<bool, ApiError> {
    let lists = call.registry.webhooks.lists.load_full();
    let mut any = false;
    for (index, webhook) in lists.mutating.iter().enumerate() {
        if !state.runs(&index) {
            continue;
        }
        let one = std::slice::from_ref(webhook);
        let Some(hit) = hits(call, one, operation, Some(object), old).await?.pop() else {
            continue;
        };
        let answer = ask(call, &hit, "admit", operation, Some(object), old).await?;
        let patch = answer.and_then(|answer| answer.patch);
        match patch.map(|patch| patched(call, operation, object, &patch)) {
            Some(Ok(changed)) if changed != *object => {
                *object = changed;
                any = true;
                state.changed();
            }
            None | Some(Ok(_)) => {}
            Some(Err(e)) if webhook.ignore_failure => {
                tracing::warn!(
                    webhook = webhook.name,
                    error = e,
                    "a webhook's patch does not apply and is ignored"
                );
            }
            Some(Err(e)) => {
                return Err(ApiError::internal(format!(
                    "failed calling webhook {:?}: {e}",
                    webhook.name
                )));
            }
        }
        if webhook.reinvoke {
            state.wants_to_know(index);
        }
    }
    Ok(any)
}

/// The object after a webhook's patch, pruned and defaulted anew.
fn patched(
    call: &Call<'_>,
    operation: Operation,
    object: &Value,
    patch: &Value,
) -> Result<Value, String> {
    let mut changed = object.clone();
    apimachinery::patch::json_patch(&mut changed, patch).map_err(|e| e.to_string())?;
    Form::of(call)
        .settle(call, operation, object, changed)
        .map(|(object, _)| object)
}

/// Asks validating webhooks, all at once; the first denial in their order counts.
pub(super) async fn validate(
    call: &Call<'_>,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let lists = call.registry.webhooks.lists.load_full();
    let mut found = Vec::new();
    if operation == Operation::Delete {
        // A deletion has nothing to change; mutating webhooks may still refuse it.
        found.extend(hits(call, &lists.mutating, operation, object, old).await?);
    }
    found.extend(hits(call, &lists.validating, operation, object, old).await?);
    if found.is_empty() {
        return Ok(());
    }
    let answers = found
        .iter()
        .map(|hit| ask(call, hit, "validating", operation, object, old));
    for answer in futures_util::future::join_all(answers).await {
        answer?;
    }
    Ok(())
}

//! List: pages of one revision, with selectors.
//!
//! | resourceVersion | match | shown |
//! |---|---|---|
//! | unset, `0` | | the newest state |
//! | N | unset, `NotOlderThan` | the newest state, at least N |
//! | N | `Exact` (or N with `limit`) | the state of N, 410 when compacted |
//!
//! A `continue` token goes on at the revision of its first page; when that was compacted, 410 gives a token
//! that goes on with newer state.

use apimachinery::meta::ListMeta;
use apimachinery::status::{ApiError, StatusCause};
use serde_json::Value;
use store::{Entry, ListRequest, Revision, StoreError};

use super::list_pieces::{self, Item, ListShape};
use super::selection::Selection;
use super::stored_form::Splicer;
use super::{
    Registry, codec, continue_token, list_options, store_error, versions, wait_for_revision,
};
use crate::body::Pieces;
use crate::kinds::Kind;
use crate::limits;
use crate::request::Query;

/// What a list found.
pub(crate) struct Listed {
    pub items: Vec<Value>,
    pub meta: ListMeta,
}

struct Options {
    limit: Option<usize>,
    token: Option<String>,
    at: Option<Revision>,
    not_older: Option<Revision>,
}

/// Parses a resourceVersion parameter: `None` for unset, `Some(0)` for "any".
pub(super) fn revision_parameter(query: &Query) -> Result<Option<u64>, ApiError> {
    match query.get("resourceVersion") {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        }),
    }
}

impl Options {
    fn parse(query: &Query) -> Result<Self, ApiError> {
        list_options::check_list(query)?;
        let limit = match query.get("limit") {
            None | Some("" | "0") => None,
            Some(text) => {
                let limit: i64 = text.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "strconv.ParseInt: parsing {text:?}: invalid syntax"
                    ))
                })?;
                usize::try_from(limit).ok()
            }
        };
        if let Some(text) = query.get("timeoutSeconds").filter(|t| !t.is_empty())
            && text.parse::<i64>().is_err()
        {
            return Err(ApiError::bad_request(format!(
                "strconv.ParseInt: parsing {text:?}: invalid syntax"
            )));
        }
        let token = query
            .get("continue")
            .filter(|t| !t.is_empty())
            .map(str::to_owned);
        let version = revision_parameter(query)?;
        // As upstream answers from its cache: whatever state there is, but all of it.
        let limit = limit.filter(|_| token.is_some() || version != Some(0));
        let matching = query.get("resourceVersionMatch").unwrap_or_default();
        if token.is_some() && version.is_some_and(|v| v > 0) {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let version = version.filter(|v| *v > 0).map(Revision);
        let exact = matching == "Exact" || (matching.is_empty() && limit.is_some());
        Ok(Options {
            limit,
            token,
            at: version.filter(|_| exact),
            not_older: version.filter(|_| !exact),
        })
    }
}

pub(super) fn too_large_revision(asked: u64, current: u64) -> ApiError {
    let mut error = ApiError::timeout(
        format!("Too large resource version: {asked}, current: {current}"),
        1,
    );
    if let Some(details) = &mut error.0.details {
        details.causes.push(StatusCause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        });
    }
    error
}

/// Lists a namespace, or all when it is empty.
pub(crate) async fn list(
    registry: &Registry,
    kind: &Kind,
    namespace: &str,
    query: &Query,
) -> Result<Listed, ApiError> {
    let selection = Selection::parse(query, kind)?;
    let sealing = &registry.sealing;
    let take = |entry: &Entry| {
        let object = codec::decode(sealing, kind, entry)?;
        Ok(selection.matches(kind, &object).then_some(object))
    };
    let (items, meta) = walk(registry, kind, namespace, query, &selection, take).await?;
    Ok(Listed { items, meta })
}

/// The same as compact JSON, of whole objects or their metadata: objects of built-in kinds are not parsed unless a
/// selector asks for their fields.
pub(crate) async fn list_json(
    registry: &Registry,
    kind: &Kind,
    namespace: &str,
    query: &Query,
    shown: ListShape,
) -> Result<Pieces, ApiError> {
    let selection = Selection::parse(query, kind)?;
    let sealing = &registry.sealing;
    let splicer = Splicer::new(kind, shown.item());
    let take = |entry: &Entry| {
        if selection.is_all()
            && let Some(splicer) = &splicer
        {
            let entry = codec::open(sealing, entry)?;
            if splicer.can_append(&entry.value) {
                return Ok(Some(Item::Stored(entry)));
            }
        }
        let object = codec::decode(sealing, kind, entry)?;
        if !selection.matches(kind, &object) {
            return Ok(None);
        }
        let printed = serde_json::to_vec(&shown.of(kind, object));
        printed
            .map(|p| Some(Item::Printed(p)))
            .map_err(|e| encoding(kind, &e))
    };
    let (items, meta) = walk(registry, kind, namespace, query, &selection, take).await?;
    list_pieces::render(shown.head(kind), items, &meta, splicer).map_err(|e| encoding(kind, &e))
}

fn encoding(kind: &Kind, error: &serde_json::Error) -> ApiError {
    ApiError::internal(format!("encoding a list of {}: {error}", kind.plural))
}

/// The type of a built-in list says the type of its items.
pub(crate) fn untyped(kind: &Kind, mut item: Value) -> Value {
    if !kind.is_crd()
        && let Some(item) = item.as_object_mut()
    {
        item.remove("kind");
        item.remove("apiVersion");
    }
    item
}

/// Shows the entries of a list to `take`, which makes items of those that are wanted, until a page is full.
async fn walk<T>(
    registry: &Registry,
    kind: &Kind,
    namespace: &str,
    query: &Query,
    selection: &Selection,
    mut take: impl FnMut(&Entry) -> Result<Option<T>, ApiError>,
) -> Result<(Vec<T>, ListMeta), ApiError> {
    let options = Options::parse(query)?;
    let prefix = kind.scope_prefix(namespace);
    let (mut at, mut after) = (options.at, None);
    if let Some(token) = &options.token {
        let (revision, key) = continue_token::decode(token, &prefix)?;
        at = revision;
        after = Some(key);
    }
    if let Some(wanted) = options.at.or(options.not_older) {
        let current =
            wait_for_revision(&*registry.store, wanted, limits::FUTURE_REVISION_WAIT).await?;
        if current < wanted {
            return Err(too_large_revision(wanted.0, current.0));
        }
    }
    let mut items = Vec::new();
    loop {
        let wanted = options.limit.map(|limit| limit - items.len());
        let page = match (wanted, selection.is_all()) {
            (None, _) => None,
            (Some(wanted), true) => Some(wanted),
            // Few of these may match; read in larger steps.
            (Some(_), false) => Some(limits::STORE_PAGE),
        };
        let request = ListRequest {
            prefix: prefix.clone(),
            after: after.clone(),
            limit: page,
            at,
        };
        let mut listing = match registry.store.list(request).await {
            Err(StoreError::Compacted { .. }) if options.token.is_some() => {
                let last = after.unwrap_or_default();
                return Err(expired_page(&prefix, &last));
            }
            other => other.map_err(store_error)?,
        };
        versions::entries(registry, kind, &mut listing.entries).await?;
        at = Some(listing.revision);
        let count = listing.entries.len();
        for (index, entry) in listing.entries.iter().enumerate() {
            let Some(item) = take(entry)? else {
                continue;
            };
            items.push(item);
            if options.limit == Some(items.len()) {
                let left = listing.remaining + (count - index - 1) as u64;
                let countable = selection.is_all();
                let meta = page_meta(&prefix, &entry.key, listing.revision, left, countable);
                return Ok((items, meta));
            }
        }
        match listing.entries.last() {
            Some(last) if listing.remaining > 0 => after = Some(last.key.to_string()),
            _ => {
                let meta = page_meta(&prefix, "", listing.revision, 0, false);
                return Ok((items, meta));
            }
        }
    }
}

/// The answer to a token whose revision is gone: with another that goes on behind the same key, with newer state.
fn expired_page(prefix: &str, last: &str) -> ApiError {
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.0.metadata.continue_ = continue_token::encode(None, prefix, last);
    error
}

fn page_meta(prefix: &str, last: &str, revision: Revision, left: u64, countable: bool) -> ListMeta {
    let mut meta = ListMeta {
        resource_version: revision.0.to_string(),
        ..ListMeta::default()
    };
    if left > 0 {
        meta.continue_ = continue_token::encode(Some(revision), prefix, last);
        meta.remaining_item_count = countable.then(|| i64::try_from(left).unwrap_or(i64::MAX));
    }
    meta
}

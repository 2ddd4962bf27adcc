//! In which order a merged list stands.
//!
//! Elements that the patch names follow the order of the patch (or of `$setElementOrder`); the others
//! keep the order they had. Between the two, an element of the server goes first only when it stood
//! before the patch's next element already; so new elements come first, as kubectl users know it.

use std::collections::HashMap;

use serde_json::Value;

/// What identifies an element: the value of its merge key, or the scalar itself, as JSON.
pub(super) fn identity(element: &Value, merge_key: Option<&str>) -> Option<String> {
    match merge_key {
        Some(key) => element.get(key).map(Value::to_string),
        None => Some(element.to_string()),
    }
}

fn positions(list: &[Value], merge_key: Option<&str>) -> HashMap<String, usize> {
    let mut positions = HashMap::with_capacity(list.len());
    for (i, element) in list.iter().enumerate() {
        if let Some(id) = identity(element, merge_key) {
            positions.entry(id).or_insert(i);
        }
    }
    positions
}

/// Orders `merged` by `patch_order` and, for what that does not name, `server_order`.
pub(super) fn arrange(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    let in_patch = positions(patch_order, merge_key);
    let in_server = positions(server_order, merge_key);
    let mut named = Vec::new();
    let mut others = Vec::new();
    for element in merged {
        let id = identity(&element, merge_key);
        let at = |positions: &HashMap<String, usize>| {
            id.as_ref().and_then(|id| positions.get(id).copied())
        };
        let server = at(&in_server);
        match at(&in_patch) {
            Some(patch) => named.push((patch, server, element)),
            None => others.push((server.unwrap_or(usize::MAX), server, element)),
        }
    }
    // Stable: elements with one identity keep their order.
    named.sort_by_key(|(at, ..)| *at);
    others.sort_by_key(|(at, ..)| *at);

    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let mut named = named.into_iter().peekable();
    let mut others = others.into_iter().peekable();
    loop {
        let server_first = match (named.peek(), others.peek()) {
            (None, None) => return arranged,
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some((_, Some(named), _)), Some((_, Some(other), _))) => other < named,
            _ => false,
        };
        let next = if server_first {
            others.next()
        } else {
            named.next()
        };
        arranged.extend(next.map(|(_, _, element)| element));
    }
}

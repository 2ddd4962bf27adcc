//! Lists in messages, in the form of Go's `%q`.

use apimachinery::quote::quoted;

/// Quotes a list: `["a" "b"]`.
pub(crate) fn quoted_list<'a>(items: impl IntoIterator<Item = &'a String>) -> String {
    let items: Vec<String> = items.into_iter().map(|s| quoted(s)).collect();
    format!("[{}]", items.join(" "))
}

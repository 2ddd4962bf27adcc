//! Annotations that are made deep within a request, where its event is out of sight.
//!
//! A task has the notes of its request while [`noting`] runs it; without audit there are none and [`annotate`] costs a
//! look-up.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::limits;

/// Annotations by name.
pub(super) type Notes = BTreeMap<String, String>;

tokio::task_local! {
    static NOTES: RefCell<Notes>;
}

/// Adds an annotation to the audit event of the request that is being served. The first of a name stays.
pub(crate) fn annotate(key: impl Into<String>, value: impl Into<String>) {
    // No notes: nobody audits, or this is no request.
    let _ = NOTES.try_with(|notes| {
        let mut notes = notes.borrow_mut();
        if notes.len() < limits::MAX_ANNOTATIONS {
            let mut value: String = value.into();
            if value.len() > limits::MAX_ANNOTATION {
                let end = (0..=limits::MAX_ANNOTATION)
                    .rev()
                    .find(|end| value.is_char_boundary(*end));
                value.truncate(end.unwrap_or(0));
            }
            notes.entry(key.into()).or_insert(value);
        }
    });
}

/// Runs a request with notes of its own, and gives them with its outcome.
pub(crate) async fn noting<T>(request: impl Future<Output = T>) -> (T, BTreeMap<String, String>) {
    NOTES
        .scope(RefCell::default(), async move {
            let done = request.await;
            (done, NOTES.with(RefCell::take))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn notes_are_those_of_the_request() {
        annotate("nobody", "listens");
        let (done, notes) = noting(async {
            annotate("a", "1");
            annotate("a", "2");
            annotate("long", "ü".repeat(limits::MAX_ANNOTATION));
            7
        })
        .await;
        assert_eq!((done, notes.len(), notes["a"].as_str()), (7, 2, "1"));
        assert!(notes["long"].len() <= limits::MAX_ANNOTATION);
    }
}

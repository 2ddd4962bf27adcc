//! Where things are in etcd.
//!
//! ```text
//! <prefix>/objects<key>       an entry of the store; its revisions are etcd's
//! <prefix>/meta/last          written by every commit, in its transaction: its revision is that of the newest commit
//! <prefix>/meta/compacted     who compacted last, and when (compactor.rs)
//! ```
//! `last` is why a read costs no more than a look at one small key, and why writes of others, elsewhere in the same
//! etcd, neither delay our reads nor are mistaken for ours.

use std::sync::Arc;

use super::limits;
use crate::error::OpenError;

/// The keys below a prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    objects: String,
    pub(super) last: Vec<u8>,
    pub(super) compacted: Vec<u8>,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Result<Self, OpenError> {
        let prefix = prefix.trim_end_matches('/');
        let plain = prefix.bytes().all(|b| b.is_ascii_graphic());
        if !prefix.starts_with('/') || !plain || prefix.len() > limits::PREFIX_BYTES {
            return Err(OpenError::Options {
                what: format!(
                    "{prefix:?} cannot be the prefix of the keys in etcd: it must be a slash and up to {} printable ASCII characters",
                    limits::PREFIX_BYTES - 1
                ),
            });
        }
        Ok(Self {
            objects: format!("{prefix}/objects"),
            last: format!("{prefix}/meta/last").into_bytes(),
            compacted: format!("{prefix}/meta/compacted").into_bytes(),
        })
    }

    /// The key in etcd.
    pub(super) fn outer(&self, key: &str) -> Vec<u8> {
        [self.objects.as_bytes(), key.as_bytes()].concat()
    }

    /// The store's key; `None` for what we cannot have written.
    pub(super) fn inner(&self, key: &[u8]) -> Option<Arc<str>> {
        let key = key.strip_prefix(self.objects.as_bytes())?;
        let key = std::str::from_utf8(key).ok()?;
        (!key.is_empty()).then(|| key.into())
    }

    /// All entries: a first key and an end.
    pub(super) fn range(&self) -> (Vec<u8>, Vec<u8>) {
        let first = self.objects.clone().into_bytes();
        let mut end = first.clone();
        if let Some(last) = end.last_mut() {
            *last += 1; // 's' becomes 't'
        }
        (first, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_in_and_come_out() {
        let keys = Keys::new("/ferrovirt/").unwrap();
        assert_eq!(keys.outer("/core/pods"), b"/ferrovirt/objects/core/pods");
        assert_eq!(keys.inner(&keys.outer("ä")).as_deref(), Some("ä"));
        assert_eq!(keys.inner(b"/ferrovirt/objects"), None);
        assert_eq!(keys.inner(b"/ferrovirt/objects\xff"), None);
        assert_eq!(keys.inner(b"/registry/pods"), None);
        let (first, end) = keys.range();
        for key in ["0", "/core/x", "\u{10ffff}"] {
            assert!((&first..&end).contains(&&keys.outer(key)), "{key}");
        }
        assert!(!(&first..&end).contains(&&keys.last));
    }

    #[test]
    fn a_prefix_is_a_path() {
        for prefix in [
            "",
            "ferrovirt",
            "/",
            "/a b",
            "/ä",
            &format!("/{}", "x".repeat(256)),
        ] {
            assert!(Keys::new(prefix).is_err(), "{prefix}");
        }
    }
}

//! How much history is kept: a pure policy.

/// The window of history that a store keeps. Whichever bound is reached first decides.
///
/// The window serves watches that resume and the further pages of a list; a client that is slower has to list again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// At most so many revisions.
    pub revisions: u64,
    /// At most so many bytes of memory beyond what the current state needs.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            revisions: 10_000,
            bytes: 16 << 20,
        }
    }
}

impl Retention {
    /// Whether a history of this size must forget its oldest revision.
    pub(crate) fn exceeded(&self, revisions: u64, bytes: u64) -> bool {
        revisions > self.revisions || (bytes > self.bytes && revisions > 0)
    }
}

//! An answer that is made while it is sent.
//!
//! A list of 10,000 objects is 22 MB. Made as a whole it costs that memory once more, new pages for all of it, and its
//! client waits until the last byte is there before it sees the first. In pieces, a list costs references to what is
//! stored anyway and one piece, and both ends work at the same time.
//!
//! Invariant: the pieces together are exactly as long as was said before the first of them.

use bytes::Bytes;

/// Bytes of a piece, about: few enough that making one does not keep others waiting, and several records of TLS.
pub(crate) const PIECE: usize = 64 * 1024;

/// Makes pieces; `None` at the end.
type Source = Box<dyn Iterator<Item = Bytes> + Send + Sync>;

/// See the module.
pub struct Pieces {
    source: Source,
    left: u64,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Pieces {
    /// Pieces of so many bytes together.
    pub(crate) fn new(
        length: u64,
        source: impl Iterator<Item = Bytes> + Send + Sync + 'static,
    ) -> Self {
        Self {
            source: Box::new(source),
            left: length,
        }
    }

    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// All that is still to come, as one.
    pub(crate) fn whole(self) -> Bytes {
        let mut all = Vec::with_capacity(usize::try_from(self.left).unwrap_or_default());
        self.for_each(|piece| all.extend_from_slice(&piece));
        all.into()
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let piece = self.source.next()?;
        debug_assert!(piece.len() as u64 <= self.left, "longer than was said");
        self.left = self.left.saturating_sub(piece.len() as u64);
        Some(piece)
    }
}

//! How many connections each peer has.
//!
//! This host is no peer: programs of many users come from the same address here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits;

type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Peers(Counts);

/// A connection of a peer, until this is dropped.
#[derive(Debug)]
pub(super) struct PeerPlace(Option<(Counts, IpAddr)>);

impl Drop for PeerPlace {
    fn drop(&mut self) {
        if let Some((counts, peer)) = &self.0 {
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = counts.get_mut(peer) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(peer);
                }
            }
        }
    }
}

impl Peers {
    /// A place for a connection; `None` when the peer has too many.
    pub(super) fn enter(&self, peer: IpAddr) -> Option<PeerPlace> {
        let peer = peer.to_canonical();
        if peer.is_loopback() {
            return Some(PeerPlace(None));
        }
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= limits::MAX_CONNECTIONS_PER_PEER {
            return None;
        }
        *count += 1;
        Some(PeerPlace(Some((Arc::clone(&self.0), peer))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_bounded_and_forgotten() {
        let peers = Peers::default();
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        let held: Vec<_> = (0..limits::MAX_CONNECTIONS_PER_PEER)
            .map(|_| peers.enter(peer).unwrap())
            .collect();
        assert!(peers.enter(peer).is_none());
        // The same peer in its other spelling.
        assert!(peers.enter("::ffff:192.0.2.1".parse().unwrap()).is_none());
        assert!(peers.enter("192.0.2.2".parse().unwrap()).is_some());
        assert!(peers.enter("127.0.0.1".parse().unwrap()).is_some());
        drop(held);
        assert!(peers.0.lock().unwrap().is_empty());
    }
}

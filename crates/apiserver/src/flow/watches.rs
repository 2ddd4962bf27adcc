//! How many watches there may be: of one user, and in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use apimachinery::status::ApiError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;

/// See the module.
#[derive(Debug)]
pub(crate) struct Watches {
    all: Arc<Semaphore>,
    users: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// A place among the watches, until this is dropped.
#[derive(Debug)]
pub(crate) struct WatchPlace {
    _permits: Option<[OwnedSemaphorePermit; 2]>,
}

impl Default for Watches {
    fn default() -> Self {
        Watches {
            all: Arc::new(Semaphore::new(limits::MAX_WATCHES)),
            users: Mutex::default(),
        }
    }
}

impl Watches {
    /// A place for a watch of a user of the network, or 429.
    pub(crate) fn enter(&self, user: &str) -> Result<WatchPlace, ApiError> {
        let refused =
            |what: &str| ApiError::too_many_requests(format!("too many watches {what}"), 5);
        let own = {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let slots = match users.get(user).and_then(Weak::upgrade) {
                Some(slots) => slots,
                None => {
                    if users.len() >= limits::FORGET_USERS_AT {
                        users.retain(|_, slots| slots.strong_count() > 0);
                    }
                    let slots = Arc::new(Semaphore::new(limits::MAX_WATCHES_PER_USER));
                    users.insert(user.to_owned(), Arc::downgrade(&slots));
                    slots
                }
            };
            slots
                .try_acquire_owned()
                .map_err(|_| refused("of this user"))?
        };
        let common = Arc::clone(&self.all)
            .try_acquire_owned()
            .map_err(|_| refused("on this server"))?;
        Ok(WatchPlace {
            _permits: Some([own, common]),
        })
    }

    /// The place of a caller in this process: the program's own, which are few.
    pub(crate) fn in_process() -> WatchPlace {
        WatchPlace { _permits: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_take_all() {
        let watches = Watches::default();
        let held: Vec<_> = (0..limits::MAX_WATCHES_PER_USER)
            .map(|_| watches.enter("greedy").unwrap())
            .collect();
        assert_eq!(watches.enter("greedy").unwrap_err().code(), 429);
        assert!(watches.enter("modest").is_ok());
        drop(held);
        assert!(watches.enter("greedy").is_ok());
    }
}

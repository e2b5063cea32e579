//! How many connections each address has: one pod that opens them all must not shut the API servers out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Open connections by address.
pub(super) struct Peers {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// An open connection; counted until this value is dropped.
pub(super) struct Guest {
    peers: Arc<Peers>,
    address: IpAddr,
}

impl Peers {
    /// At most so many connections an address.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// `None` = that address has as many as it may have.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Guest> {
        let address = address.to_canonical();
        let mut open = self.lock();
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Guest { peers: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut open = self.peers.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_and_nothing_is_kept_of_those_that_left() {
        let peers = Peers::new(2);
        let (pod, mapped) = ("10.0.0.1".parse().unwrap(), "::ffff:10.0.0.1".parse().unwrap());
        let first = peers.enter(pod).unwrap();
        let second = peers.enter(mapped).unwrap();
        assert!(peers.enter(pod).is_none());
        assert!(peers.enter("10.0.0.2".parse().unwrap()).is_some());
        drop(first);
        let third = peers.enter(pod).unwrap();
        drop((second, third));
        assert!(peers.lock().is_empty());
    }
}

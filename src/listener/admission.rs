//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The places for connections.
#[derive(Debug)]
pub(super) struct Admission {
    connections_max: usize,
    per_address_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    pub(super) fn new(connections_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self {
            connections_max,
            per_address_max,
            taken: Mutex::default(),
        })
    }

    /// A place for a connection from `address`, if there is one.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut taken = self.taken.lock();
        if taken.all >= self.connections_max {
            return None;
        }
        let count = taken.by_address.entry(address).or_default();
        if *count >= self.per_address_max {
            return None;
        }
        *count += 1;
        taken.all += 1;
        Some(Place {
            admission: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.admission.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// One IPv6 customer has a whole /64; an IPv4 address may come as a mapped one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d07_places_are_bounded_in_all_and_by_address_and_come_back() {
        let admission = Admission::new(3, 2);
        let admit = |address: &str| admission.admit(address.parse().unwrap());
        let first = admit("2001:db8::1").unwrap();
        let _second = admit("2001:db8::2:0:0:1").unwrap();
        assert!(admit("2001:db8::3").is_none(), "the same /64");
        let other = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.2").is_none(), "full");
        drop(first);
        let mapped = admit("::ffff:192.0.2.1").unwrap();
        drop(mapped);
        let again = admit("2001:db8::3").unwrap();
        drop((other, again));
        assert_eq!(
            admission.taken.lock().by_address.len(),
            1,
            "nothing is kept for the gone"
        );
    }
}

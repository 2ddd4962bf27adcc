//! The range of Service addresses, and ranges that objects name.

use std::net::{IpAddr, Ipv4Addr};

use rand::Rng as _;

/// An IPv4 range in CIDR form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    base: u32,
    bits: u32,
}

impl Range {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(address, length)| {
            let address: Ipv4Addr = address.parse().ok()?;
            let length: u32 = length.parse().ok().filter(|l| (8..=29).contains(l))?;
            Some((u32::from(address), 32 - length))
        });
        let (address, bits) = parsed.ok_or_else(|| {
            format!("the Service range {text:?} is no IPv4 CIDR with a prefix of 8 to 29")
        })?;
        Ok(Range {
            base: address >> bits << bits,
            bits,
        })
    }

    /// Whether the address can be a Service's: inside, and neither network nor broadcast.
    pub(super) fn contains(self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        let offset = address.wrapping_sub(self.base);
        address >> self.bits == self.base >> self.bits
            && offset != 0
            && offset != (1 << self.bits) - 1
    }

    /// A free address, `taken` says which are not. A random start, then one after the other.
    pub(super) fn choose(self, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let size = (1_u32 << self.bits) - 2;
        // The first addresses are left to those who ask for one by number (DNS, the API itself).
        let reserved = (size / 16).clamp(1, 256).min(size - 1);
        let usable = size - reserved;
        let start = rand::rng().random_range(0..usable);
        (0..usable)
            .map(|step| Ipv4Addr::from(self.base + 1 + reserved + (start + step) % usable))
            .find(|address| !taken(*address))
    }
}

/// A range of addresses in CIDR form: an address, and how many of its bits count.
pub(super) fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let plain = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let length: u8 = length.parse().ok()?;
    (plain && length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_range_until_it_is_full() {
        let range = Range::parse("10.0.0.0/29").unwrap();
        let mut taken = Vec::new();
        while let Some(address) = range.choose(|a| taken.contains(&a)) {
            assert!(range.contains(address));
            taken.push(address);
        }
        assert_eq!(taken.len(), 5);
        assert!(!range.contains("10.0.0.0".parse().unwrap()));
        assert!(!range.contains("10.0.0.7".parse().unwrap()));
        assert!(Range::parse("fd00::/64").is_err());
    }
}

//! Which addresses are not ordinary public ones.
//!
//! For IPv6 the rule is turned round, as most of the space is unassigned: only global unicast
//! (2000::/3) is outside, less its special blocks, and translated IPv4 as far as the IPv4 address
//! is. Sources: the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and
//! successors).
//!
//! Deliberately absent: exceptions. What a function needs, its list names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// First address and prefix length of every IPv4 block that is not ordinary.
const INSIDE_V4: [(Ipv4Addr, u32); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network, unspecified
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // shared behind carriers, also used for metadata
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // a cloud's host agent, at a public address
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, with the clouds' metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24),  // AS112
    (Ipv4Addr::new(192, 52, 193, 0), 24),  // automatic multicast tunnelling
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 3),      // multicast, reserved, broadcast
];

/// First address and prefix length of the blocks of 2000::/3 that are not ordinary.
const INSIDE_V6: [(Ipv6Addr, u32); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: any IPv4 address may be within
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48), // AS112
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Where NAT64 puts IPv4 addresses, in the last 32 bits.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether an address is anything but an ordinary one of the public Internet.
pub fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => inside_v4(address),
        IpAddr::V6(address) => inside_v6(address),
    }
}

fn inside_v4(address: Ipv4Addr) -> bool {
    INSIDE_V4
        .iter()
        .any(|(base, length)| same_prefix_v4(*base, address, *length))
}

fn inside_v6(address: Ipv6Addr) -> bool {
    if same_prefix_v6(NAT64.0, address, NAT64.1) {
        let [.., a, b, c, d] = address.octets();
        return inside_v4(Ipv4Addr::new(a, b, c, d));
    }
    !same_prefix_v6(GLOBAL_V6.0, address, GLOBAL_V6.1)
        || INSIDE_V6
            .iter()
            .any(|(base, length)| same_prefix_v6(*base, address, *length))
}

/// Whether the first `length` bits are the same.
pub(super) fn same_prefix_v4(base: Ipv4Addr, address: Ipv4Addr, length: u32) -> bool {
    let differ = base.to_bits() ^ address.to_bits();
    differ.leading_zeros() >= length
}

/// Whether the first `length` bits are the same.
pub(super) fn same_prefix_v6(base: Ipv6Addr, address: Ipv6Addr, length: u32) -> bool {
    let differ = base.to_bits() ^ address.to_bits();
    differ.leading_zeros() >= length
}

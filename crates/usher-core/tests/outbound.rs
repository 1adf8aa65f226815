//! The outbound allow-list under attack.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use usher_core::outbound::inside::is_inside;
use usher_core::outbound::{AllowList, Denied, ENTRIES_MAX, Scheme};

fn list(entries: &[&str]) -> AllowList {
    AllowList::parse(entries).expect("entries that can be read")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

const PUBLIC: &str = "93.184.215.14";

#[test]
fn nothing_is_permitted_by_default() {
    let none = list(&[]);
    assert!(none.is_empty());
    for host in ["example.com", "127.0.0.1", "localhost", ""] {
        let denied = none.permits(Scheme::Https, host, 443, ip(PUBLIC));
        assert_eq!(
            denied,
            Err(Denied::NotListed {
                host: host.into(),
                port: 443
            })
        );
    }
}

/// Where a request goes: scheme, host, port.
type Goal<'a> = (Scheme, &'a str, u16);

/// Holds an entry to the requests that it permits and to those that it does not.
fn speaks_of(entry: &str, permitted: &[Goal<'_>], refused: &[Goal<'_>]) {
    let allowed = list(&[entry]);
    let permits =
        |(scheme, host, port): Goal<'_>| allowed.permits(scheme, host, port, ip(PUBLIC)).is_ok();
    for goal in permitted {
        assert!(permits(*goal), "{entry} refuses {goal:?}");
    }
    for goal in refused {
        assert!(!permits(*goal), "{entry} permits {goal:?}");
    }
}

#[test]
fn an_entry_speaks_of_scheme_host_and_port() {
    use Scheme::{Http, Https};
    speaks_of(
        "https://api.example.com",
        &[(Https, "api.example.com", 443)],
        &[
            (Http, "api.example.com", 80),
            (Https, "api.example.com", 8443),
            (Https, "example.com", 443),
            (Https, "x.api.example.com", 443),
            (Https, "api.example.com.evil.org", 443),
            (Https, "api.example.com..", 443),
        ],
    );
    let closing_slash = "https://api.example.com/";
    speaks_of(closing_slash, &[(Https, "API.Example.COM.", 443)], &[]);
    speaks_of(
        "https://api.example.com:8443",
        &[(Https, "api.example.com", 8443)],
        &[(Https, "api.example.com", 443)],
    );
    speaks_of("http://db:9000", &[(Http, "db", 9000)], &[]);
}

#[test]
fn an_entry_without_a_scheme_speaks_of_both() {
    use Scheme::{Http, Https};
    speaks_of("db:9000", &[(Https, "db", 9000)], &[(Https, "db", 443)]);
    speaks_of(
        "example.com",
        &[(Http, "example.com", 80), (Https, "example.com", 443)],
        &[(Https, "example.com", 22)],
    );
}

#[test]
fn a_star_speaks_of_every_name_below() {
    use Scheme::Https;
    speaks_of(
        "*.example.com",
        &[
            (Https, "a.example.com", 443),
            (Https, "a.b.example.com", 443),
        ],
        &[
            (Https, "example.com", 443),
            (Https, ".example.com", 443),
            (Https, "aexample.com", 443),
        ],
    );
    let with_port = "https://*.example.com:1";
    speaks_of(with_port, &[(Https, "a.example.com", 1)], &[]);
}

#[test]
fn an_address_or_a_range_speaks_of_literal_addresses() {
    use Scheme::Http;
    speaks_of(
        PUBLIC,
        &[(Http, PUBLIC, 8080)],
        &[(Http, "93.184.215.15", 80)],
    );
    speaks_of(
        "93.184.0.0/16",
        &[(Http, PUBLIC, 80)],
        &[(Http, "named.example.com", 80)],
    );
    speaks_of("http://93.184.0.0/16", &[], &[(Http, PUBLIC, 81)]);
}

const SPECIAL: [&str; 53] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:2::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2620:4f:8000::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
];

#[test]
fn a_listed_name_that_leads_inside_is_refused() {
    let names = list(&[
        "https://api.example.com",
        "*.example.com",
        PUBLIC,
        "2606:4700::/32",
    ]);
    for address in SPECIAL {
        let denied = names.permits(Scheme::Https, "api.example.com", 443, ip(address));
        assert!(
            matches!(denied, Err(Denied::Inside { .. })),
            "{address} was permitted"
        );
        // Nor may the address be named itself, in brackets or not.
        for host in [address.to_owned(), format!("[{address}]")] {
            let denied = names.permits(Scheme::Https, &host, 443, ip(address));
            assert!(
                matches!(denied, Err(Denied::NotListed { .. })),
                "{host} was permitted"
            );
        }
    }
    for address in [
        PUBLIC,
        "1.1.1.1",
        "100.63.0.1",
        "172.32.0.1",
        "2606:4700::1111",
        "64:ff9b::1.1.1.1",
        "::ffff:1.1.1.1",
    ] {
        let permits = names.permits(Scheme::Https, "api.example.com", 443, ip(address));
        assert_eq!(permits, Ok(()), "{address} was refused");
    }
}

/// The negative control: with an entry of its own, each of those addresses is reached.
#[test]
fn an_entry_for_the_address_opens_it_and_only_it() {
    for address in SPECIAL {
        let canonical = ip(address).to_canonical();
        let own = format!("{canonical}");
        let both = list(&["api.example.com", &own]);
        let permits = both.permits(Scheme::Https, "api.example.com", 443, ip(address));
        assert_eq!(permits, Ok(()), "{address}");
        let alone = list(&[&own]);
        let denied = alone.permits(Scheme::Https, "api.example.com", 443, ip(address));
        assert!(
            matches!(denied, Err(Denied::NotListed { .. })),
            "{address} opened a name"
        );
        assert_eq!(
            alone.permits(Scheme::Http, address, 8080, ip(address)),
            Ok(())
        );
    }
    let ported = list(&["api.example.com:8080", "http://127.0.0.1:8080"]);
    let to = |scheme| ported.permits(scheme, "api.example.com", 8080, ip("127.0.0.1"));
    assert_eq!(to(Scheme::Http), Ok(()));
    assert!(to(Scheme::Https).is_err());
    let v6 = list(&["http://[::1]:8080"]);
    assert_eq!(v6.permits(Scheme::Http, "[::1]", 8080, ip("::1")), Ok(()));
    assert!(v6.permits(Scheme::Http, "[::1]", 80, ip("::1")).is_err());
}

/// Odd spellings of 127.0.0.1 are names here; none is listed, whatever a resolver makes of them.
#[test]
fn odd_spellings_are_not_addresses() {
    let list = list(&["127.0.0.0/8"]);
    for host in [
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "127.0.0.1",
    ] {
        let decimal = host.trim_end_matches('.') == "127.0.0.1";
        assert_eq!(
            list.names(Scheme::Http, host, 80).is_ok(),
            decimal,
            "{host}"
        );
        if !decimal {
            assert!(
                AllowList::parse(&[host]).is_err(),
                "{host} was taken for an entry"
            );
        }
    }
}

#[test]
fn all_mistakes_are_told_with_their_reasons() {
    let bad = [
        "",
        "*",
        "a.*.com",
        "ftp://example.com",
        "https://example.com/path",
        "https://user@example.com",
        "https://example.com?x",
        "example.com:0",
        "example.com:99999",
        "example.com:",
        "exa mple.com",
        "exämple.com",
        "a..b",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/+8",
        "fd00::1/8",
        "::ffff:10.0.0.1",
        "::1:8080:zz",
        "[::1",
        "0x7f.1",
    ];
    let mistakes = AllowList::parse(&bad).expect_err("none of them can be read");
    let told: Vec<&str> = mistakes
        .iter()
        .map(|mistake| mistake.text.as_str())
        .collect();
    assert_eq!(told, bad);
    let many = vec!["a"; ENTRIES_MAX + 1];
    assert_eq!(AllowList::parse(&many).expect_err("too many").len(), 1);
    assert!(AllowList::parse(&many[1..]).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn any_text_is_answered(
        entry in prop_oneof!["\\PC{0,30}", "(https?://)?[a-z0-9.*:/\\[\\]-]{0,30}"],
        host in "\\PC{0,30}",
        port: u16,
        address: u128,
    ) {
        let address = IpAddr::V6(Ipv6Addr::from_bits(address));
        if let Ok(list) = AllowList::parse(&[&entry]) {
            let _ = list.permits(Scheme::Http, &host, port, address);
            let _ = list.permits(Scheme::Https, &entry, port, address);
        }
    }

    /// The standard library's own words for IPv4 addresses agree.
    #[test]
    fn what_is_known_to_be_special_is_inside(bits: u32) {
        let address = Ipv4Addr::from_bits(bits);
        let special = address.is_loopback()
            || address.is_private()
            || address.is_link_local()
            || address.is_multicast()
            || address.is_broadcast()
            || address.is_documentation()
            || address.is_unspecified();
        prop_assert!(!special || is_inside(address.into()));
        // However it is dressed up.
        let mapped = address.to_ipv6_mapped();
        prop_assert_eq!(is_inside(mapped.into()), is_inside(address.into()));
        let nat64 = Ipv6Addr::from_bits(0x0064_ff9b_u128 << 96 | u128::from(bits));
        prop_assert_eq!(is_inside(nat64.into()), is_inside(address.into()));
        let six_to_four = Ipv6Addr::from_bits(0x2002_u128 << 112 | u128::from(bits) << 80);
        prop_assert!(is_inside(six_to_four.into()));
        prop_assert!(is_inside(address.to_ipv6_compatible().into()));
    }

    /// A network holds exactly the addresses that share its first bits.
    #[test]
    fn networks_against_arithmetic(base: u32, length in 0..=32_u32, address: u32) {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        let entry = format!("{}/{length}", Ipv4Addr::from_bits(base & mask));
        let near = base ^ (address & address.rotate_left(7) & address.rotate_left(13));
        for bits in [address, near] {
            let host = Ipv4Addr::from_bits(bits).to_string();
            let listed = list(&[&entry]).names(Scheme::Http, &host, 80).is_ok();
            prop_assert_eq!(listed, bits & mask == base & mask, "{} in {}", host, entry);
        }
        let off = base & !mask;
        let skewed = format!("{}/{length}", Ipv4Addr::from_bits(base));
        prop_assert_eq!(AllowList::parse(&[skewed]).is_ok(), off == 0);
    }
}

//! From addresses to functions: tables, and texts that nobody foresaw.

use proptest::prelude::*;
use usher_core::fault::Fault;
use usher_core::route::{DOMAIN_MAX_BYTES, Domain, NoTarget, route};

fn domain(text: &str) -> Domain {
    text.parse().expect("a domain")
}

/// `owner/name prefix path`, or the reason why not.
fn read(authority: &str, path: &str) -> Result<String, NoTarget> {
    let domain = domain("fn.example.com");
    let authority = (authority != "none").then_some(authority);
    let target = route(&domain, authority, path)?;
    Ok(format!(
        "{} {} {}",
        target.function,
        target.prefix.unwrap_or("-"),
        target.path
    ))
}

#[test]
fn every_kind_of_address() {
    for (authority, path, expected) in [
        ("hello.fn.example.com", "/", "default/hello - /"),
        (
            "hello.fn.example.com:8080",
            "/a/b%2f..",
            "default/hello - /a/b%2f..",
        ),
        ("hello.fn.example.com:", "/", "default/hello - /"),
        ("hello.fn.example.com.", "/", "default/hello - /"),
        ("hello.fn.example.com.:80", "/", "default/hello - /"),
        ("HeLLo.FN.Example.COM", "/A", "default/hello - /A"),
        ("hello.alice.fn.example.com", "/", "alice/hello - /"),
        ("Hello.ALICE.fn.example.com", "/", "alice/hello - /"),
        ("hello.default.fn.example.com", "/", "default/hello - /"),
        (
            "127.0.0.1:8080",
            "/fn/hello/x",
            "default/hello /fn/hello /x",
        ),
        ("[::1]:8080", "/fn/hello/", "default/hello /fn/hello /"),
        ("[::1]", "/fn/hello", "default/hello /fn/hello /"),
        ("none", "/fn/hello//x", "default/hello /fn/hello //x"),
        ("", "/fn/hello/../y", "default/hello /fn/hello /../y"),
        (
            "other.org",
            "/fn/hello.alice/x",
            "alice/hello /fn/hello.alice /x",
        ),
        (
            "hello.fn.example.com",
            "/fn/other/x",
            "default/other /fn/other /x",
        ),
        ("hello.fn.example.com", "/fn/", "default/hello - /fn/"),
        (
            "hello.fn.example.com",
            "/fn/No_Name/x",
            "default/hello - /fn/No_Name/x",
        ),
        ("hello.fn.example.com", "/fn", "default/hello - /fn"),
    ] {
        assert_eq!(
            read(authority, path).as_deref(),
            Ok(expected),
            "{authority} {path}"
        );
    }
}

/// `owner/name alias, else owner/name alias`, with `-` where there is none.
fn named(authority: &str, path: &str) -> Result<String, NoTarget> {
    let domain = domain("fn.example.com");
    let target = route(&domain, Some(authority), path)?;
    let alias = target.alias.map_or("-".to_owned(), |it| it.to_string());
    let instead = target.instead.map_or("-".to_owned(), |instead| {
        format!("{} {}", instead.function, instead.alias)
    });
    Ok(format!("{} {alias}, else {instead}", target.function))
}

#[test]
fn aliases_stand_before_the_name_in_a_host_and_behind_it_in_a_path() {
    for (authority, path, expected) in [
        (
            "x.org",
            "/fn/hello@canary/a",
            "default/hello canary, else -",
        ),
        ("x.org", "/fn/hello@canary", "default/hello canary, else -"),
        ("x.org", "/fn/hello@live/", "default/hello live, else -"),
        ("x.org", "/fn/hello.ann@canary/", "ann/hello canary, else -"),
        ("x.org", "/fn/a--b/", "default/a--b -, else -"),
        ("hello.fn.example.com", "/a@b", "default/hello -, else -"),
        (
            "canary--hello.fn.example.com",
            "/",
            "default/canary--hello -, else default/hello canary",
        ),
        (
            "Canary--Hello.Ann.fn.example.com:80",
            "/",
            "ann/canary--hello -, else ann/hello canary",
        ),
        // An alias has no mark in it, so the first one ends it.
        (
            "a--b--c.fn.example.com",
            "/",
            "default/a--b--c -, else default/b--c a",
        ),
        ("a---b.fn.example.com", "/", "default/a---b -, else -"),
        // What cannot be an alias is none.
        ("v3--b.fn.example.com", "/", "default/v3--b -, else -"),
        ("xn--b.fn.example.com", "/", "default/xn--b -, else -"),
    ] {
        assert_eq!(
            named(authority, path).as_deref(),
            Ok(expected),
            "{authority} {path}"
        );
    }
    for path in [
        "/fn/hello@/",
        "/fn/hello@v3/",
        "/fn/hello@A/",
        "/fn/@a/",
        "/fn/a@b@c/",
    ] {
        assert_eq!(named("x.org", path), Err(NoTarget::Nobody), "{path}");
    }
}

#[test]
fn addresses_of_nobody() {
    for (authority, path) in [
        ("none", "/"),
        ("", "/"),
        ("fn.example.com", "/"),
        (".fn.example.com", "/"),
        ("a.b.c.fn.example.com", "/"),
        ("a..fn.example.com", "/"),
        (".a.fn.example.com", "/"),
        ("hellofn.example.com", "/"),
        ("hello.fn.example.com..", "/"),
        ("hello.fn.example.com.evil.org", "/"),
        ("-a.fn.example.com", "/"),
        ("a%62.fn.example.com", "/"),
        ("127.0.0.1", "/"),
        ("[::1]:80", "/hello"),
        ("other.org", "/fn/Hello"),
        ("other.org", "/fn/a.b.c/"),
        ("other.org", "/FN/hello/"),
        ("other.org", "//fn/hello/"),
    ] {
        assert_eq!(
            read(authority, path),
            Err(NoTarget::Nobody),
            "{authority} {path}"
        );
        assert_eq!(NoTarget::Nobody.fault(), Fault::NoSuchFunction);
    }
    let long = format!("{}.fn.example.com", "a".repeat(64));
    assert_eq!(read(&long, "/"), Err(NoTarget::Nobody));
}

#[test]
fn malformed_targets() {
    for authority in [
        "user@hello.fn.example.com",
        "hello.fn.example.com:http",
        "hello.fn.example.com:99999",
        "hello.fn.example.com:80:80",
        "hello.fn.example.com/x",
        "hello fn.example.com",
        "hellö.fn.example.com",
        ":80",
        "::1",
        "[::1",
        "[::1]80",
        "[hello.fn.example.com]",
        "[]",
    ] {
        assert_eq!(
            read(authority, "/fn/hello/"),
            Err(NoTarget::BadHost),
            "{authority}"
        );
    }
    for path in ["", "*", "fn/hello", "http://x/"] {
        assert_eq!(
            read("hello.fn.example.com", path),
            Err(NoTarget::BadPath),
            "{path}"
        );
    }
    assert_eq!(NoTarget::BadHost.fault(), Fault::BadRequest);
    assert_eq!(NoTarget::BadPath.fault(), Fault::BadRequest);
}

#[test]
fn domains() {
    assert_eq!(Domain::default().as_str(), "localhost");
    assert_eq!(domain("Fn.Example.COM").as_str(), "fn.example.com");
    for bad in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "-a",
        "a-",
        "a_b",
        "127.0.0.1",
        "a:80",
        "ä",
    ] {
        assert!(bad.parse::<Domain>().is_err(), "{bad}");
    }
    let long = vec!["a"; DOMAIN_MAX_BYTES].join(".");
    assert!(long.parse::<Domain>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn any_text_is_answered(authority in "\\PC{0,40}", path in "\\PC{0,40}", name in "\\PC{0,20}") {
        let domain = Domain::default();
        let _ = route(&domain, Some(&authority), &path);
        let _ = route(&domain, Some(&authority), &format!("/{path}"));
        let _ = route(&domain, Some(&format!("{authority}.localhost")), "/");
        let _ = route(&domain, None, &format!("/fn/{name}{path}"));
        let _ = authority.parse::<Domain>();
    }

    /// Both forms of an alias's address lead to the same function and alias.
    #[test]
    fn both_forms_of_an_alias_agree(
        name in "[a-z][a-z0-9-]{0,19}[a-z0-9]",
        alias in "[g-z][a-z0-9]{0,9}(-[a-z0-9]{1,9})?",
        owner in prop::option::of("[a-z][a-z0-9]{0,9}"),
    ) {
        prop_assume!(alias.parse::<usher_core::traffic::Alias>().is_ok());
        let domain = Domain::default();
        let labels = owner.map_or(name.clone(), |owner| format!("{name}.{owner}"));
        let authority = format!("{alias}--{labels}.localhost");
        let by_host = route(&domain, Some(&authority), "/").expect("a function");
        let long = format!("/fn/{labels}@{alias}/x");
        let by_path = route(&domain, None, &long).expect("a function");
        let instead = by_host.instead.expect("an alias");
        prop_assert_eq!(&instead.function, &by_path.function);
        prop_assert_eq!(Some(&instead.alias), by_path.alias.as_ref());
        prop_assert_eq!(instead.alias.as_str(), alias.as_str());
        prop_assert_eq!(by_path.path, "/x");
    }

    /// Both forms of address lead to the same function, and nothing of the path is lost.
    #[test]
    fn both_forms_agree(
        name in "[a-z][a-z0-9-]{0,61}[a-z0-9]",
        owner in prop::option::of("[a-z][a-z0-9]{0,9}"),
        rest in "(/[!-~&&[^?#]]{0,9}){1,4}",
        port in prop::option::of(0..65_536_u32),
    ) {
        let domain = Domain::default();
        let labels = owner.map_or(name.clone(), |owner| format!("{name}.{owner}"));
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        let authority = format!("{}.LOCALHOST{port}", labels.to_uppercase());
        // A path of the function's own that looks like an address is one, by design.
        prop_assume!(!rest.starts_with("/fn/"));
        let by_host = route(&domain, Some(&authority), &rest).expect("a function");
        let long = format!("/fn/{labels}{rest}");
        let by_path = route(&domain, Some("127.0.0.1"), &long).expect("a function");
        prop_assert_eq!(&by_host.function, &by_path.function);
        prop_assert_eq!(by_host.path, rest.as_str());
        prop_assert_eq!(by_path.path, rest.as_str());
        let prefix = format!("/fn/{labels}");
        prop_assert_eq!(by_path.prefix, Some(prefix.as_str()));
    }
}

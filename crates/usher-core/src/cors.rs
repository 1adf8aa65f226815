//! Which pages of other origins may call a function from a browser (CORS, as the Fetch standard has
//! it), and what a gateway says about that.
//!
//! ```text
//!  OPTIONS with an Origin and a method asked for ─► preflight: answered by the gateway
//!  any other request with an Origin ──────────────► it runs, and its reply is marked
//! ```
//!
//! A decision here keeps nobody from calling: it tells browsers what pages may read. Deliberately
//! absent: reading heads and writing replies (`usher-gateway`), and the manifest's text.

use serde::{Deserialize, Serialize};

/// How many origins, methods or headers a function may name each.
pub const CORS_ENTRIES_MAX: usize = 100;

/// Longest origin, in bytes: a scheme, a host name and a port.
pub const ORIGIN_MAX_BYTES: usize = 8 + 253 + 6;

/// Longest time that a preflight may be remembered, in seconds; browsers take less.
pub const CORS_AGE_MAX_S: u32 = 86_400;

/// Stands for every origin, method or header.
pub const ANY: &str = "*";

/// Methods that a page may use without being told so.
const SIMPLE_METHODS: [&str; 3] = ["GET", "HEAD", "POST"];

/// Headers that a page may send without being told so. Browsers do not ask about them, unless their
/// values are unusual.
const SIMPLE_HEADERS: [&str; 4] = [
    "accept",
    "accept-language",
    "content-language",
    "content-type",
];

/// What a function's owner permits to pages of other origins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Cors {
    /// Origins such as `https://example.com`, or [`ANY`].
    pub origins: Vec<String>,
    /// Methods beside those that need no permission, or [`ANY`].
    pub methods: Vec<String>,
    /// Headers of requests beside those that need no permission, in lower case, or [`ANY`].
    pub headers: Vec<String>,
    /// Headers of replies that a page may read, or [`ANY`].
    pub expose: Vec<String>,
    /// Whether cookies and other credentials may go along. Never together with any origin.
    pub credentials: bool,
    /// How long a browser may remember a preflight's answer, in seconds.
    pub max_age_s: u32,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            methods: Vec::new(),
            headers: Vec::new(),
            expose: Vec::new(),
            credentials: false,
            max_age_s: 600,
        }
    }
}

/// What is said of one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The value of `access-control-allow-origin`.
    pub allow_origin: String,
    /// Whether `access-control-allow-credentials` is said.
    pub credentials: bool,
}

/// What a preflight is answered beside the [`Permission`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// The origin's.
    pub permission: Permission,
    /// The value of `access-control-allow-methods`; empty: it is left out.
    pub allow_methods: String,
    /// The value of `access-control-allow-headers`; empty: it is left out.
    pub allow_headers: String,
    /// The value of `access-control-max-age`, in seconds.
    pub max_age_s: u32,
}

impl Cors {
    /// Whether replies differ from origin to origin, so that caches must keep them apart.
    pub fn varies(&self) -> bool {
        !has(&self.origins, ANY)
    }

    /// What a reply says to a page of this origin; none: nothing, and the browser keeps it back.
    pub fn permit(&self, origin: &str) -> Option<Permission> {
        let allow_origin = if has(&self.origins, ANY) {
            ANY
        } else if has(&self.origins, origin) {
            origin
        } else {
            return None;
        };
        Some(Permission {
            allow_origin: allow_origin.to_owned(),
            credentials: self.credentials,
        })
    }

    /// What a preflight is answered; none: nothing is permitted. `asked_headers` is the list that
    /// the browser sends.
    pub fn preflight(
        &self,
        origin: &str,
        asked_method: &str,
        asked_headers: &str,
    ) -> Option<Preflight> {
        let permission = self.permit(origin)?;
        let method = SIMPLE_METHODS.contains(&asked_method)
            || has(&self.methods, ANY)
            || has(&self.methods, asked_method);
        let mut asked = elements(asked_headers);
        let header = asked.all(|name| {
            let name = name.to_ascii_lowercase();
            has(&self.headers, ANY) || has(&self.headers, &name) || SIMPLE_HEADERS.contains(&&*name)
        });
        if !method || !header {
            return None;
        }
        // Beside credentials `*` would be taken for a name, so what was asked for is said instead.
        let allow_methods = match has(&self.methods, ANY) {
            true => asked_method.to_owned(),
            false => self.methods.join(", "),
        };
        let allow_headers = match has(&self.headers, ANY) {
            true => elements(asked_headers).collect::<Vec<_>>().join(", "),
            false => self.headers.join(", "),
        };
        Some(Preflight {
            permission,
            allow_methods,
            allow_headers,
            max_age_s: self.max_age_s,
        })
    }

    /// The value of `access-control-expose-headers`; none: it is left out.
    pub fn exposed(&self) -> Option<String> {
        (!self.expose.is_empty()).then(|| self.expose.join(", "))
    }
}

fn has(list: &[String], one: &str) -> bool {
    list.iter().any(|entry| entry == one)
}

fn elements(list: &str) -> impl Iterator<Item = &str> {
    let names = list.split(',').map(str::trim);
    names.filter(|name| !name.is_empty())
}

/// Whether a text is an origin as browsers write it: `scheme://host[:port]` in lower case, without
/// a path and without the scheme's own port.
pub fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let scheme_is_one = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        });
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let host_is_one = !host.is_empty()
        && match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
            Some(address) => address.is_some_and(|it| it.parse::<std::net::Ipv6Addr>().is_ok()),
            None => host.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte)
            }),
        };
    let port_is_one = port.is_none_or(|port| {
        !port.starts_with('0')
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    });
    text.len() <= ORIGIN_MAX_BYTES
        && scheme_is_one
        && host_is_one
        && port_is_one
        && (own_port.is_empty() || !rest.ends_with(own_port))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn cors(origins: &[&str], methods: &[&str], headers: &[&str]) -> Cors {
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        Cors {
            origins: owned(origins),
            methods: owned(methods),
            headers: owned(headers),
            ..Cors::default()
        }
    }

    #[test]
    fn only_a_named_origin_is_permitted_and_it_is_told_by_name() {
        let cors = cors(&["https://a.example"], &[], &[]);
        let permission = cors.permit("https://a.example").unwrap();
        assert_eq!(permission.allow_origin, "https://a.example");
        assert!(!permission.credentials && cors.varies());
        for other in [
            "https://b.example",
            "http://a.example",
            "https://a.example:8443",
            "https://a.example.evil.example",
            "null",
            "*",
            "",
        ] {
            assert_eq!(cors.permit(other), None, "{other}");
        }
    }

    #[test]
    fn any_origin_is_told_as_such_and_caches_may_share_the_reply() {
        let cors = cors(&[ANY], &[], &[]);
        let permission = cors.permit("null").unwrap();
        assert_eq!(permission.allow_origin, ANY);
        assert!(!cors.varies());
    }

    #[test]
    fn a_preflight_permits_what_is_named_and_nothing_else() {
        let cors = cors(&["https://a.example"], &["PUT"], &["x-token"]);
        let ask = |method, headers| cors.preflight("https://a.example", method, headers);
        let told = ask("PUT", "X-Token, content-type").unwrap();
        assert_eq!(told.allow_methods, "PUT");
        assert_eq!(told.allow_headers, "x-token");
        assert_eq!(told.max_age_s, 600);
        // What needs no permission has it.
        assert!(ask("GET", "").is_some() && ask("POST", " , ").is_some());
        for (method, headers) in [
            ("DELETE", ""),
            ("put", ""),
            ("PUT", "x-other"),
            ("PUT", "x-token, x-other"),
            ("", ""),
        ] {
            assert_eq!(ask(method, headers), None, "{method} {headers}");
        }
        assert_eq!(cors.preflight("https://b.example", "PUT", ""), None);
    }

    #[test]
    fn anything_is_permitted_by_naming_what_was_asked_for() {
        let cors = Cors {
            credentials: true,
            ..cors(&["https://a.example"], &[ANY], &[ANY])
        };
        let told = cors.preflight("https://a.example", "PURGE", "x-a,X-B");
        let told = told.unwrap();
        assert_eq!(told.allow_methods, "PURGE");
        assert_eq!(told.allow_headers, "x-a, X-B");
        assert!(told.permission.credentials);
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for good in [
            "http://localhost",
            "http://localhost:3000",
            "https://a-b.example.com",
            "https://10.0.0.1:8443",
            "http://[::1]:80",
            "http://a:443",
            "https://a:80",
            "moz-extension://0a1b",
        ] {
            let own = good == "http://[::1]:80";
            assert_eq!(is_origin(good), !own, "{good}");
        }
        for bad in [
            "",
            "*",
            "null",
            "a.example",
            "https://",
            "https://a/",
            "https://a/b",
            "https://A.example",
            "HTTPS://a.example",
            "https://a:443",
            "http://a:80",
            "https://a:",
            "https://a:0",
            "https://a:65536",
            "https://a:+1",
            "https://u@a",
            "https://*.example.com",
            "https://[::1",
            "https://[zz]",
            "https://a b",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}

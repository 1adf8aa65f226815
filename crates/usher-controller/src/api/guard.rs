//! Who may ask: this machine's own programs, and no web page.
//!
//! A browser on this machine reaches loopback addresses too, so a page of anybody's could. Three
//! checks stop it:
//!
//! - *Host* must be a loopback address, `localhost` or a configured name. A page whose own name was
//!   made to point here (DNS rebinding) sends that name and is refused.
//! - *Origin*, where there is one, must be this very host and port. Functions answer under
//!   `localhost` as well, and what they serve is not trusted either.
//! - *Sec-Fetch-Site*, where there is one, must not say that another site asks, except to read:
//!   following a link does no harm, and no other page can see the answer.
//!
//! Deliberately absent: keys (`gate`), which are asked for besides; whoever has none may still not
//! find out what answers here by means of somebody else's browser.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName};
use http::uri::Authority;
use http::{Method, StatusCode, Uri};

use super::ApiOptions;
use super::error::ApiError;

/// What is known of who may ask.
pub(super) struct Guard {
    /// In lower case.
    names: Vec<String>,
    /// Whether addresses beyond loopback are meant to be used.
    any_address: bool,
}

impl Guard {
    pub(super) fn new(options: &ApiOptions) -> Self {
        let names = options.names.iter().map(|name| name.to_ascii_lowercase());
        Self {
            names: names.chain(["localhost".to_owned()]).collect(),
            // Where it listens for others it is asked by its addresses.
            any_address: options.insecure || !options.listen.ip().is_loopback(),
        }
    }

    pub(super) fn judge(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let host = asked_host(uri, headers)?;
        if !self.is_ours(&host) {
            let message = format!(
                "the API is not asked as {:?}; use localhost, a loopback address or the configured \
                 name",
                host.host()
            );
            return Err(refused("bad-host", message));
        }
        let foreign = "web pages of other sites may not use the API";
        if let Some(origin) = one(headers, &header::ORIGIN)? {
            let same = origin
                .strip_prefix("http://")
                .is_some_and(|from| from.eq_ignore_ascii_case(host.as_str()));
            if !same {
                return Err(refused("foreign-origin", foreign));
            }
        }
        let site = one(headers, &HeaderName::from_static("sec-fetch-site"))?;
        let from_elsewhere = matches!(site, Some(site) if site != "same-origin" && site != "none");
        if from_elsewhere && !method.is_safe() {
            return Err(refused("foreign-origin", foreign));
        }
        Ok(())
    }

    fn is_ours(&self, host: &Authority) -> bool {
        let name = host.host();
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        match bare.unwrap_or(name).parse::<IpAddr>() {
            // An address in the browser's address bar was not made up by a name server.
            Ok(address) => self.any_address || address.is_loopback(),
            Err(_) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                self.names
                    .iter()
                    .any(|ours| ours.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// The host that the client meant: of the target where it names one, else of the one `Host` header.
fn asked_host(uri: &Uri, headers: &HeaderMap) -> Result<Authority, ApiError> {
    let bad = || {
        ApiError::caller(
            StatusCode::BAD_REQUEST,
            "bad-host",
            "one Host header is needed",
        )
    };
    let header = one(headers, &header::HOST)?.ok_or_else(bad)?;
    let host = match uri.authority() {
        Some(authority) => authority.clone(),
        None => header.parse().map_err(|_| bad())?,
    };
    match host.as_str().contains('@') {
        true => Err(bad()),
        false => Ok(host),
    }
}

/// A header that may be there once.
pub(super) fn one<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str());
    match (value.transpose(), values.next()) {
        (Ok(value), None) => Ok(value),
        _ => {
            let message = format!("the header {name} is there twice, or is not text");
            Err(ApiError::caller(
                StatusCode::BAD_REQUEST,
                "bad-header",
                message,
            ))
        }
    }
}

fn refused(label: &str, message: impl Into<String>) -> ApiError {
    ApiError::caller(StatusCode::FORBIDDEN, label, message)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn guard(insecure: bool) -> Guard {
        let mut options = ApiOptions::new("127.0.0.1:0".parse().unwrap());
        options.insecure = insecure;
        options.names = vec!["Usher.Example".to_owned()];
        Guard::new(&options)
    }

    fn judged(guard: &Guard, method: Method, uri: &str, headers: &[(&'static str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let judged = guard.judge(&method, &uri.parse().unwrap(), &map);
        judged.map_or_else(|error| error.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_our_own_names_and_loopback_addresses_are_hosts() {
        let guard = guard(false);
        let host = |host: &str| judged(&guard, Method::GET, "/", &[("host", host)]);
        for ours in [
            "localhost",
            "LocalHost:7070",
            "localhost.:7070",
            "127.0.0.1:7070",
            "127.8.9.1",
            "[::1]:7070",
            "usher.example",
            "USHER.example:80",
        ] {
            assert_eq!(host(ours), 200, "{ours}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "192.168.0.1:7070",
            "0.0.0.0:7070",
            "[fe80::1]",
            "2130706433",
        ] {
            assert_eq!(host(foreign), 403, "{foreign}");
        }
        for broken in ["", "me@localhost", "a b", "localhost:x:y"] {
            assert_eq!(host(broken), 400, "{broken:?}");
        }
        assert_eq!(judged(&guard, Method::GET, "/", &[]), 400);
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(judged(&guard, Method::GET, "/", &twice), 400);
    }

    #[test]
    fn a_target_with_a_host_of_its_own_is_judged_by_that() {
        let guard = guard(false);
        let headers = [("host", "localhost")];
        assert_eq!(
            judged(&guard, Method::GET, "http://evil.example/", &headers),
            403
        );
        assert_eq!(
            judged(&guard, Method::GET, "http://127.0.0.1/", &headers),
            200
        );
    }

    #[test]
    fn beyond_loopback_addresses_are_hosts_where_it_is_meant() {
        let headers = [("host", "192.168.0.1:7070")];
        assert_eq!(judged(&guard(true), Method::GET, "/", &headers), 200);
        assert_eq!(
            judged(&guard(true), Method::GET, "/", &[("host", "evil.example")]),
            403
        );
    }

    #[test]
    fn an_origin_must_be_the_very_same_host_and_port() {
        let guard = guard(false);
        let host = ("host", "localhost:7070");
        let from = |origin| judged(&guard, Method::POST, "/", &[host, ("origin", origin)]);
        assert_eq!(from("http://localhost:7070"), 200);
        for foreign in [
            "http://localhost:8080",
            "http://hello.localhost:7070",
            "http://127.0.0.1:7070",
            "https://localhost:7070",
            "http://evil.example",
            "http://localhost:7070.evil.example",
            "null",
        ] {
            assert_eq!(from(foreign), 403, "{foreign}");
        }
        let get = [host, ("origin", "http://evil.example")];
        assert_eq!(judged(&guard, Method::GET, "/", &get), 403);
    }

    #[test]
    fn another_site_may_follow_a_link_and_change_nothing() {
        let guard = guard(false);
        let host = ("host", "localhost:7070");
        for (site, get, post) in [
            ("cross-site", 200, 403),
            ("same-site", 200, 403),
            ("same-origin", 200, 200),
            ("none", 200, 200),
        ] {
            let headers = [host, ("sec-fetch-site", site)];
            assert_eq!(judged(&guard, Method::GET, "/", &headers), get, "{site}");
            assert_eq!(judged(&guard, Method::POST, "/", &headers), post, "{site}");
            assert_eq!(
                judged(&guard, Method::DELETE, "/", &headers),
                post,
                "{site}"
            );
        }
    }
}

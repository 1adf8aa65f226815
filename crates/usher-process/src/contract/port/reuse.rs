//! Whether a connection may be used again, and the one that is kept for that.
//!
//! Kept only if the program spoke HTTP/1.1, did not say that it closes, and the reply and the
//! request were complete. Used only within a second, or less where the program grants less: servers
//! end idle connections when they like, and none is known that waits for so short a time. A program
//! that closes all the same is never trusted again.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{HeaderMap, Version, response};
use parking_lot::Mutex;

use super::head::lists;
use super::link::Link;

/// How long a connection may rest between two requests, in milliseconds.
const REUSE_IDLE_MAX_MS: u64 = 1_000;
/// How long before the end of the time that a program grants a connection is no longer used, in
/// milliseconds.
const GRANT_MARGIN_MS: u64 = 1_000;

/// The connection that rests between two calls. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Store>>);

#[derive(Default)]
struct Store {
    resting: Option<Resting>,
    /// The program has closed a connection without a word.
    distrusted: bool,
}

struct Resting {
    link: Link,
    since: Instant,
    idle_max: Duration,
}

impl Kept {
    /// A connection that the program had not closed a moment ago.
    pub(super) async fn take(&self) -> Option<Link> {
        let resting = self.0.lock().resting.take()?;
        if resting.since.elapsed() >= resting.idle_max {
            return None;
        }
        let mut link = resting.link;
        let usable = poll_fn(|cx| Poll::Ready(link.settle(cx))).await;
        usable.then_some(link)
    }

    /// Keeps a connection for so long.
    pub(super) fn put(&self, link: Link, idle_max: Duration) {
        let mut store = self.0.lock();
        if !store.distrusted {
            store.resting = Some(Resting {
                link,
                since: Instant::now(),
                idle_max,
            });
        }
    }

    /// Keeps no connection to this program any more.
    pub(super) fn distrust(&self) {
        let mut store = self.0.lock();
        store.distrusted = true;
        store.resting = None;
    }
}

/// How long a reply's connection may rest; none: it must not be used again.
pub(super) fn grant(head: &response::Parts) -> Option<Duration> {
    if head.version != Version::HTTP_11 || lists(&head.headers, "connection", "close") {
        return None;
    }
    let idle_max = Duration::from_millis(REUSE_IDLE_MAX_MS);
    let Some(granted_s) = timeout_s(&head.headers) else {
        return Some(idle_max);
    };
    let granted = Duration::from_secs(granted_s).min(Duration::from_secs(3_600));
    let left = granted.saturating_sub(Duration::from_millis(GRANT_MARGIN_MS));
    (!left.is_zero()).then_some(left.min(idle_max))
}

/// What `Keep-Alive: timeout=` says; something that cannot be read grants nothing.
fn timeout_s(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all("keep-alive").into_iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|parameter| {
            let text = std::str::from_utf8(parameter).ok()?;
            let (name, value) = text.split_once('=')?;
            let named = name.trim().eq_ignore_ascii_case("timeout");
            named.then(|| value.trim().parse().unwrap_or(0))
        })
        .min()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn granted_ms(version: Version, headers: &[(&'static str, &'static str)]) -> Option<u128> {
        let mut response = http::Response::new(());
        *response.version_mut() = version;
        for (name, value) in headers {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        grant(&response.into_parts().0).map(|granted| granted.as_millis())
    }

    #[test]
    fn a_connection_rests_no_longer_than_its_program_grants() {
        let new = Version::HTTP_11;
        assert_eq!(granted_ms(new, &[]), Some(1_000));
        assert_eq!(
            granted_ms(new, &[("keep-alive", "timeout=5, max=3")]),
            Some(1_000)
        );
        for refused in [
            ("connection", "close"),
            ("connection", "x-thing, Close"),
            ("keep-alive", "timeout=1"),
            ("keep-alive", "max=3, timeout = 0"),
            ("keep-alive", "timeout=soon"),
        ] {
            assert_eq!(granted_ms(new, &[refused]), None, "{refused:?}");
        }
        let old = [("connection", "keep-alive")];
        assert_eq!(granted_ms(Version::HTTP_10, &old), None);
    }

    #[tokio::test]
    async fn a_connection_that_rested_for_too_long_is_not_used_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (idle_max, used) in [(Duration::ZERO, false), (Duration::from_secs(60), true)] {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let kept = Kept::default();
            kept.put(Link::open(stream).await.unwrap(), idle_max);
            assert_eq!(kept.take().await.is_some(), used);
        }
    }
}

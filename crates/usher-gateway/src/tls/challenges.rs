//! What certificate authorities ask for to see that a name is ours: `http-01` of RFC 8555, 8.3.
//!
//! While an authority is expected, one path of the clear port answers it, on any host; otherwise
//! that path is the functions' as all others are, and costs requests one load.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::Uri;
use parking_lot::Mutex;

/// Under which path authorities ask.
const PATH: &str = "/.well-known/acme-challenge/";

/// The proofs that are expected to be asked for.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    count: AtomicUsize,
    proofs: Mutex<HashMap<String, String>>,
}

/// A proof that can be asked for until it is dropped.
pub(crate) struct Expected {
    challenges: Arc<Challenges>,
    token: String,
}

impl Challenges {
    /// From now on a token is answered with its proof.
    pub(crate) fn expect(self: &Arc<Self>, token: String, proof: String) -> Expected {
        self.proofs.lock().insert(token.clone(), proof);
        self.count.fetch_add(1, Relaxed);
        Expected {
            challenges: Arc::clone(self),
            token,
        }
    }

    /// The proof that is asked for; none: it is a request like any other.
    pub(crate) fn answer(&self, uri: &Uri) -> Option<String> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let token = uri.path().strip_prefix(PATH)?;
        self.proofs.lock().get(token).cloned()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.challenges.proofs.lock().remove(&self.token);
        self.challenges.count.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_answered_for_as_long_as_it_is_expected_and_no_other_path_ever() {
        let challenges = Arc::<Challenges>::default();
        let asked = Uri::from_static("http://any.host/.well-known/acme-challenge/a_B-1");
        assert_eq!(challenges.answer(&asked), None);
        let expected = challenges.expect("a_B-1".to_owned(), "proof".to_owned());
        assert_eq!(challenges.answer(&asked).as_deref(), Some("proof"));
        for other in ["/.well-known/acme-challenge/other", "/a_B-1", "/"] {
            assert_eq!(challenges.answer(&Uri::from_static(other)), None);
        }
        drop(expected);
        assert_eq!(challenges.answer(&asked), None);
    }
}

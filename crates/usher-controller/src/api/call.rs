//! The account of one call: who makes it, what it is about, and the one line of the audit log that
//! it comes to.
//!
//! ```text
//!   guard (Host, Origin) ─► account: who? ─► routes, each behind its gate ─► handler
//!          └ refused ───────────┴ refused ───────┴ refused ─┬─ ended ──────────┘
//!                                                           ▼
//!                                           line, on disk where it is a change ─► answer
//! ```
//!
//! A handler that answers before the outcome is known takes the call over (`defer`) and ends it
//! itself. A call that nobody ends, as its client went away, notes that as it is dropped.
//!
//! Deliberately absent: whether it may be made (`gate`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use usher_api::access::{AuditLine, Who};
use usher_core::id::{Name, RequestId};

use super::Shared;
use super::error::{ApiError, Label};
use super::guard::{self, Guard};
use crate::audit::{Log, NoRoom, Room};
use crate::controller::now_us;
use crate::keys::{Caller, NotKnown};

/// The longest path that is noted whole, in bytes.
const PATH_MAX_BYTES: usize = 1_024;
/// The status that is noted where the client went away.
const CLIENT_GONE: u16 = 499;

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The client's address, which each connection gives to its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client(pub(super) SocketAddr);

/// One call.
pub(super) struct Call {
    shared: Arc<Shared>,
    id: RequestId,
    begun: Instant,
    client: String,
    method: Method,
    path: String,
    who: Result<Caller, NotKnown>,
    facts: Mutex<Facts>,
}

#[derive(Default)]
struct Facts {
    owner: Option<Name>,
    function: Option<Name>,
    /// Whether a gate has let it pass.
    passed: bool,
    /// Taken where it may change something.
    room: Option<Room>,
    deferred: bool,
    ended: bool,
}

/// Paths that are asked all the time by whatever watches the platform, need no key, and tell
/// nothing of anybody; there is no line about them.
pub(super) const UNNOTED: [&str; 2] = ["/healthz", "/readyz"];

/// What stands before the routes.
pub(super) struct Outer {
    pub(super) guard: Guard,
    pub(super) shared: Arc<Shared>,
}

/// The middleware around all routes.
pub(super) async fn account(
    State(outer): State<Arc<Outer>>,
    mut request: Request,
    next: Next,
) -> Response {
    let judged = outer
        .guard
        .judge(request.method(), request.uri(), request.headers());
    let shown = guard::one(request.headers(), &header::AUTHORIZATION);
    let keys = &outer.shared.keys;
    let who = match (&judged, shown) {
        (Err(_), _) => Err(NotKnown::NoKey),
        (Ok(()), Err(_)) => Err(NotKnown::Malformed),
        (Ok(()), Ok(shown)) => keys.who(shown).await,
    };
    let call = match Call::begin(&outer.shared, &request, who) {
        Ok(call) => Arc::new(call),
        Err(error) => return error.into_response(),
    };
    let mut response = match judged {
        Ok(()) => {
            request.extensions_mut().insert(Arc::clone(&call));
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    if !call.facts.lock().deferred {
        let label = response.extensions().get::<Label>().map(|it| it.0.clone());
        if let Err(error) = call.end(response.status(), label).await {
            response = error.into_response();
        }
    }
    if let Ok(id) = HeaderValue::from_str(&call.id.to_string()) {
        response.headers_mut().insert(X_REQUEST_ID.clone(), id);
    }
    response
}

impl Call {
    fn begin(
        shared: &Arc<Shared>,
        request: &Request,
        who: Result<Caller, NotKnown>,
    ) -> Result<Self, ApiError> {
        let mut id = [0; 16];
        if SystemRandom::new().fill(&mut id).is_err() {
            return Err(ApiError::caller(
                StatusCode::SERVICE_UNAVAILABLE,
                "internal",
                "the system gave no randomness",
            ));
        }
        let client = request.extensions().get::<Client>();
        let mut path = request.uri().path().to_owned();
        if path.len() > PATH_MAX_BYTES {
            // A path is ASCII.
            path.truncate(PATH_MAX_BYTES);
            path.push('…');
        }
        Ok(Self {
            shared: Arc::clone(shared),
            id: RequestId(u128::from_be_bytes(id)),
            begun: Instant::now(),
            client: client.map_or_else(String::new, |client| client.0.to_string()),
            method: request.method().clone(),
            path,
            who,
            facts: Mutex::default(),
        })
    }

    /// Who makes it.
    pub(super) fn who(&self) -> Result<&Caller, &NotKnown> {
        self.who.as_ref()
    }

    /// What it is about.
    pub(super) fn is_about(&self, owner: Option<Name>, function: Option<Name>) {
        let mut facts = self.facts.lock();
        facts.owner = owner;
        facts.function = function;
    }

    /// It may be made. Takes room for its line where it may change something.
    pub(super) async fn passes(&self) -> Result<(), NoRoom> {
        let room = match self.method.is_safe() {
            true => None,
            false => Some(self.shared.audit.room().await?),
        };
        let mut facts = self.facts.lock();
        facts.room = room;
        facts.passed = true;
        Ok(())
    }

    /// Whoever asks for this ends the call himself, when he knows what came of it.
    pub(super) fn defer(&self) {
        self.facts.lock().deferred = true;
    }

    /// It was answered, or is about to be: writes its line. Once this has returned `Ok` for a
    /// change, the line is on disk.
    pub(super) async fn end(
        &self,
        status: StatusCode,
        label: Option<String>,
    ) -> Result<(), ApiError> {
        let (log, room) = {
            let mut facts = self.facts.lock();
            if std::mem::replace(&mut facts.ended, true) {
                return Ok(());
            }
            (self.log(&facts), facts.room.take())
        };
        if UNNOTED.contains(&self.path.as_str()) {
            return Ok(());
        }
        let line = self.line(status.as_u16(), label);
        match room {
            Some(room) => {
                let audit = &self.shared.audit;
                audit.change(line, room).await.map_err(|error| {
                    tracing::error!(%error, "a change has no line in the audit log");
                    ApiError::caller(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "audit-failed",
                        "what was asked for may have been done, but the audit log could not be \
                         written; look at how things stand, and at the disk of the data folder",
                    )
                })
            }
            None => {
                self.shared.audit.note(log, line, None);
                Ok(())
            }
        }
    }

    fn log(&self, facts: &Facts) -> Log {
        match (facts.passed, self.method.is_safe()) {
            (false, _) => Log::Refused,
            (true, true) => Log::Reads,
            (true, false) => Log::Changes,
        }
    }

    fn line(&self, status: u16, label: Option<String>) -> AuditLine {
        let facts = self.facts.lock();
        let (who, key) = match &self.who {
            Ok(Caller::Anyone) => (Who::Anyone, None),
            Ok(Caller::Platform) => (Who::Platform, None),
            Ok(Caller::Key(key)) => (Who::Key, Some(key)),
            Err(_) => (Who::Nobody, None),
        };
        AuditLine {
            time_us: now_us(),
            request: self.id,
            who,
            key: key.map(|key| key.id),
            key_owner: key.and_then(|key| key.owner.clone()),
            client: self.client.clone(),
            method: self.method.to_string(),
            path: self.path.clone(),
            owner: facts.owner.clone(),
            function: facts.function.clone(),
            status,
            label,
            took_us: u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let facts = std::mem::take(self.facts.get_mut());
        if facts.ended || UNNOTED.contains(&self.path.as_str()) {
            return;
        }
        let log = self.log(&facts);
        *self.facts.get_mut() = Facts {
            room: None,
            owner: facts.owner,
            function: facts.function,
            ..Facts::default()
        };
        let line = self.line(CLIENT_GONE, Some("caller-gone".to_owned()));
        self.shared.audit.note(log, line, facts.room);
    }
}

//! What goes wrong, as answers: which status, which label, whose fault.
//!
//! The chain of inner causes goes to the log; the caller is told the outermost sentence, and of
//! causes only those that he can act on.

use std::error::Error;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use usher_api::http::{ErrorBody, ErrorDetail};
use usher_api::manifest::Mistakes;
use usher_backbone::WriteError;
use usher_core::fault::Blame;
use usher_core::id::FunctionKey;
use usher_core::traffic::wanted::NotSplit;

use crate::audit::NoRoom;
use crate::keys::{KeyError, NotKnown};
use crate::owners::OwnerError;
use crate::{DeployError, RecordError, Refusal, RemoveError, UploadError};

/// When to try again after a refusal for want of room, in seconds.
const RETRY_AFTER_S: u16 = 1;

/// The label of an answer that is not a success, for the audit log.
#[derive(Clone, Debug)]
pub(super) struct Label(pub(super) String);

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) detail: ErrorDetail,
}

impl ApiError {
    pub(super) fn caller(status: StatusCode, label: &str, message: impl Into<String>) -> Self {
        Self::new(status, label, Blame::Caller, message)
    }

    /// A failure of ours whose cause was told in the log already.
    pub(super) fn ours(status: StatusCode, label: &str, message: impl Into<String>) -> Self {
        Self::new(status, label, Blame::Platform, message)
    }

    fn new(status: StatusCode, label: &str, blame: Blame, message: impl Into<String>) -> Self {
        let detail = ErrorDetail {
            label: label.to_owned(),
            message: message.into(),
            blame,
            details: Vec::new(),
        };
        Self { status, detail }
    }

    /// A failure of ours, with its whole chain in the log.
    pub(super) fn platform(status: StatusCode, label: &str, error: &(dyn Error + 'static)) -> Self {
        tracing::error!(label, error, "the API failed");
        Self::new(status, label, Blame::Platform, error.to_string())
    }

    /// A record could not be written.
    pub(super) fn unwritten(error: WriteError) -> Self {
        write_failed(&error, &error)
    }

    pub(super) fn no_such_function(function: &FunctionKey) -> Self {
        let message = format!(
            "there is no function {} of owner {}; `usher list` shows those that are deployed",
            function.name, function.owner
        );
        Self::caller(StatusCode::NOT_FOUND, "no-such-function", message)
    }
}

/// What was found of a function; nothing found is no such function.
pub(super) fn found<T>(what: Option<T>, function: &FunctionKey) -> Result<T, ApiError> {
    what.ok_or_else(|| ApiError::no_such_function(function))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let busy = self.status == StatusCode::TOO_MANY_REQUESTS;
        let label = Label(self.detail.label.clone());
        let body = Json(ErrorBody { error: self.detail });
        let mut response = (self.status, body).into_response();
        response.extensions_mut().insert(label);
        if response.status() == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"usher\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        if busy {
            let after = HeaderValue::from(RETRY_AFTER_S);
            response.headers_mut().insert(header::RETRY_AFTER, after);
        }
        response
    }
}

impl From<Mistakes> for ApiError {
    fn from(mistakes: Mistakes) -> Self {
        let details: Vec<_> = mistakes.list().iter().map(ToString::to_string).collect();
        let message = match details.len() {
            1 => "there is a mistake in the request".to_owned(),
            many => format!("there are {many} mistakes in the request"),
        };
        let mut error = Self::caller(StatusCode::UNPROCESSABLE_ENTITY, "mistakes", message);
        error.detail.details = details;
        error
    }
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        Self::platform(StatusCode::INTERNAL_SERVER_ERROR, "record", &error)
    }
}

impl From<&NotKnown> for ApiError {
    fn from(error: &NotKnown) -> Self {
        let label = match error {
            NotKnown::NoKey => "no-key",
            NotKnown::Malformed => "bad-key",
            NotKnown::Refused => "key-refused",
            NotKnown::Read(_) => {
                return Self::platform(StatusCode::SERVICE_UNAVAILABLE, "keys", error);
            }
        };
        Self::caller(StatusCode::UNAUTHORIZED, label, error.to_string())
    }
}

impl From<NoRoom> for ApiError {
    fn from(error: NoRoom) -> Self {
        Self::platform(StatusCode::INSUFFICIENT_STORAGE, "no-audit", &error)
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        use KeyError as E;
        let (status, label) = match &error {
            E::Mistake(_) => (StatusCode::UNPROCESSABLE_ENTITY, "mistakes"),
            E::TooMany => (StatusCode::CONFLICT, "too-many-keys"),
            E::NoSuchKey(_) => (StatusCode::NOT_FOUND, "no-such-key"),
            E::Last(_) => (StatusCode::CONFLICT, "last-key"),
            E::Write(source) => return write_failed(&error, source),
            E::NoRandomness | E::Read(_) | E::NotFollowed => {
                return Self::platform(StatusCode::SERVICE_UNAVAILABLE, "keys", &error);
            }
        };
        Self::caller(status, label, error.to_string())
    }
}

impl From<OwnerError> for ApiError {
    fn from(error: OwnerError) -> Self {
        use OwnerError as E;
        match &error {
            E::Mistake(_) => Self::caller(
                StatusCode::UNPROCESSABLE_ENTITY,
                "mistakes",
                error.to_string(),
            ),
            E::Write(source) => write_failed(&error, source),
            E::Read(_) | E::NotFollowed => {
                Self::platform(StatusCode::SERVICE_UNAVAILABLE, "owners", &error)
            }
        }
    }
}

impl From<DeployError> for ApiError {
    fn from(error: DeployError) -> Self {
        use DeployError as E;
        match &error {
            E::Busy { .. } => busy(&error),
            E::NoArtifact { .. } => Self::caller(
                StatusCode::UNPROCESSABLE_ENTITY,
                "no-such-artifact",
                error.to_string(),
            ),
            E::OwnerFull { .. } => {
                Self::caller(StatusCode::CONFLICT, "owner-full", error.to_string())
            }
            E::Refused(refusal) => refused(refusal),
            E::Prepare(fault) if fault.blame == Blame::Platform => {
                Self::platform(StatusCode::SERVICE_UNAVAILABLE, "prepare-failed", &error)
            }
            E::Prepare(fault) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "not-deployable",
                fault.blame,
                error.to_string(),
            ),
            E::Write { source, .. } => write_failed(&error, source),
            E::Contended { .. } => {
                Self::caller(StatusCode::CONFLICT, "contended", error.to_string())
            }
            E::NotFollowed { .. } => {
                Self::platform(StatusCode::SERVICE_UNAVAILABLE, "not-followed", &error)
            }
            E::Record(_) | E::Artifacts(_) | E::CutOff { .. } => {
                Self::platform(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error)
            }
        }
    }
}

impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        use RemoveError as E;
        match &error {
            E::Busy { .. } => busy(&error),
            E::Write { source, .. } => write_failed(&error, source),
            E::Contended { .. } => {
                Self::caller(StatusCode::CONFLICT, "contended", error.to_string())
            }
            E::NotFollowed { .. } => {
                Self::platform(StatusCode::SERVICE_UNAVAILABLE, "not-followed", &error)
            }
            E::Record(_) | E::CutOff { .. } => {
                Self::platform(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error)
            }
        }
    }
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        use UploadError as E;
        let (status, label) = match &error {
            E::Empty => (StatusCode::BAD_REQUEST, "empty-artifact"),
            E::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "artifact-too-large"),
            E::Source(_) => (StatusCode::REQUEST_TIMEOUT, "upload-broken"),
            E::DiskFull(_) => {
                return Self::platform(StatusCode::INSUFFICIENT_STORAGE, "no-room", &error);
            }
            E::Store(_) => {
                return Self::platform(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error);
            }
        };
        Self::caller(status, label, error.to_string())
    }
}

fn refused(refusal: &Refusal) -> ApiError {
    use Refusal as R;
    let (status, label) = match refusal {
        R::NoFunction { .. } => (StatusCode::NOT_FOUND, "no-such-function"),
        R::NoAlias { .. } => (StatusCode::NOT_FOUND, "no-such-alias"),
        R::NotSplit(NotSplit::Revision(_)) => (StatusCode::NOT_FOUND, "no-such-revision"),
        R::NotSplit(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad-split"),
        R::FirstWithoutTraffic => (StatusCode::CONFLICT, "first-without-traffic"),
        R::LiveStays => (StatusCode::CONFLICT, "live-stays"),
        R::NothingBefore => (StatusCode::CONFLICT, "nothing-before"),
        R::TooManyAliases => (StatusCode::CONFLICT, "too-many-aliases"),
    };
    ApiError::caller(status, label, refusal.to_string())
}

fn busy(error: &(dyn Error + 'static)) -> ApiError {
    let status = StatusCode::TOO_MANY_REQUESTS;
    ApiError::new(status, "busy", Blame::Platform, error.to_string())
}

/// A write that the backbone did not take.
pub(super) fn write_failed(error: &(dyn Error + 'static), source: &WriteError) -> ApiError {
    let full = matches!(
        source,
        WriteError::StoreFull { .. } | WriteError::DiskFull(_)
    );
    let (status, label) = match full {
        true => (StatusCode::INSUFFICIENT_STORAGE, "no-room"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "write-failed"),
    };
    let mut failed = ApiError::platform(status, label, error);
    failed.detail.details.push(source.to_string());
    failed
}

/// The answer where no route fits.
pub(super) async fn no_such_route(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    let message = format!("there is nothing at {path:?}; /v1/openapi.json lists what there is");
    ApiError::caller(StatusCode::NOT_FOUND, "no-such-route", message)
}

/// The answer where a route does not know the method.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    let message = format!("{path:?} cannot be asked with {method}; see /v1/openapi.json");
    ApiError::caller(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", message)
}

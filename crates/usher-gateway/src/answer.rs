//! One request, from its head to its reply's head.
//!
//! ```text
//!   route ─► bound the body ─► admit ─► make the head ─► invoke ─► sign the reply
//!     └────────────┴────────────┴────────────┴─────────────┴──► Fault ─► refusal
//! ```
//!
//! All of it runs in the task of the connection. When the client goes away, hyper drops the future
//! here, and everything that the request occupied is given back by drop.
//!
//! A request to change the protocol is offered to the function. Where it is not accepted, the
//! connection is closed behind the answer, so that what the client had sent in the other protocol
//! is never read as a request.
//!
//! Deliberately absent: time limits, which the engine keeps, and retries: a request may have run.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use http::header::CONNECTION;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use http_body::Body as _;
use hyper::body::Incoming;
use usher_api::body::Body;
use usher_api::invoke::{Failure, Invocation, Reply};
use usher_core::fault::Fault;
use usher_core::route::{NoTarget, route};

use crate::connection::{Beat, Connection};
use crate::door::Who;
use crate::head::{self, Arrived, Side};
use crate::inbound;
use crate::loan::Offer;
use crate::meter::Outcome;
use crate::outgoing::Outgoing;
use crate::refusal;
use crate::stamp::Stamp;
use crate::table::{Entry, Routes};
use crate::tally::Tally;

/// Where a request goes.
struct Route {
    entry: Arc<Entry>,
    authority: Authority,
    path: PathAndQuery,
    prefix: Option<HeaderValue>,
}

/// A request that has found its function.
struct Asked<'a> {
    parts: request::Parts,
    incoming: Incoming,
    route: Route,
    offer: Option<&'a Offer>,
}

/// Answers one request; a failure is an answer too.
pub(crate) async fn answer(
    connection: Arc<Connection>,
    mut request: Request<Incoming>,
) -> Result<Response<Outgoing>, Infallible> {
    let offer = Offer::of(&mut request);
    let offered = offer.is_some();
    let mut response = respond(connection, request, offer).await;
    if offered && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
}

async fn respond(
    connection: Arc<Connection>,
    request: Request<Incoming>,
    offer: Option<Offer>,
) -> Response<Outgoing> {
    let beat = Beat::begin(Arc::clone(&connection));
    let started = Instant::now();
    let stamp = Stamp::draw();
    let (parts, incoming) = request.into_parts();
    let route = match find(&connection, &parts) {
        Ok(route) => route,
        Err(fault) => {
            connection.gateway.unrouted.ended(Outcome::of_fault(&fault));
            return refuse(&fault.into(), &stamp, beat);
        }
    };
    let mut tally = Tally::open(Arc::clone(&route.entry), started);
    let bodiless_method = parts.method == Method::HEAD;
    let asked = Asked {
        parts,
        incoming,
        route,
        offer: offer.as_ref(),
    };
    let mut failure = match serve(&connection, asked, &mut tally, &stamp).await {
        Ok(reply) => {
            let accepted = offer.filter(|offer| offer.is_accepted(&reply.response));
            match (
                pass(
                    reply,
                    bodiless_method,
                    accepted.as_ref(),
                    &stamp,
                    &mut tally,
                ),
                accepted,
            ) {
                (Ok((response, _)), Some(offer)) => {
                    offer.lend(&connection, tally, Beat::begin(Arc::clone(&connection)));
                    return response.map(|_| Outgoing::of_gateway(Body::Empty, beat));
                }
                (Ok((response, owed)), None) => {
                    let status = response.status();
                    let made = |body| Outgoing::of_function(body, owed, status, tally, beat);
                    return response.map(made);
                }
                (Err(failure), _) => failure,
            }
        }
        Err(failure) => failure,
    };
    tally.failed(&failure.fault);
    failure.proof = failure.proof.filter(|_| !hides_proof(&tally));
    refuse(&failure, &stamp, beat)
}

fn refuse(failure: &Failure, stamp: &Stamp, beat: Beat) -> Response<Outgoing> {
    refusal::reply(&failure.fault, stamp, failure.proof.as_ref())
        .map(|body| Outgoing::of_gateway(body, beat))
}

fn hides_proof(tally: &Tally) -> bool {
    tally.entry().revision.settings.hide_proof
}

/// Finds out which function the request means, and what it sees of the path.
fn find(connection: &Connection, parts: &request::Parts) -> Result<Route, Fault> {
    let authority = head::authority(parts)?;
    let gateway = &connection.gateway;
    let whole = parts.uri.path_and_query().ok_or(Fault::BadRequest)?;
    let routes = gateway.routes.routes();
    let functions = match &**routes {
        Routes::Single(_) if !whole.path().starts_with('/') => return Err(Fault::BadRequest),
        Routes::Single(entry) => {
            return Ok(Route {
                entry: Arc::clone(entry),
                authority,
                path: whole.clone(),
                prefix: None,
            });
        }
        Routes::Named(functions) => functions,
    };
    let target =
        route(&gateway.domain, Some(authority.as_str()), whole.path()).map_err(NoTarget::fault)?;
    let named = functions.get(&target.function);
    let (function, alias) = match (named, &target.instead) {
        (None, Some(instead)) => (functions.get(&instead.function), Some(&instead.alias)),
        (named, _) => (named, target.alias.as_ref()),
    };
    let targets = function.and_then(|function| function.targets(alias));
    let entry = targets.and_then(|targets| targets.choose(&parts.headers));
    let entry = Arc::clone(entry.ok_or(Fault::NoSuchFunction)?);
    let (path, prefix) = match target.prefix {
        None => (whole.clone(), None),
        Some(prefix) => (
            without(whole, target.path)?,
            Some(HeaderValue::from_str(prefix).map_err(|_| Fault::BadRequest)?),
        ),
    };
    Ok(Route {
        entry,
        authority,
        path,
        prefix,
    })
}

/// The path that is left, with the query as it was.
fn without(whole: &PathAndQuery, path: &str) -> Result<PathAndQuery, Fault> {
    let mut text = String::with_capacity(whole.as_str().len() + 1);
    text.push_str(path);
    if let Some(query) = whole.query() {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::from_maybe_shared(text).map_err(|_| Fault::BadRequest)
}

/// Admits the request and lets it run; answers with the function's reply.
async fn serve(
    connection: &Connection,
    asked: Asked<'_>,
    tally: &mut Tally,
    stamp: &Stamp,
) -> Result<Reply, Failure> {
    let Asked {
        mut parts,
        incoming,
        route,
        offer,
    } = asked;
    let gateway = &connection.gateway;
    let entry = route.entry;
    let limits = &entry.revision.settings.limits;
    let inbound = inbound::bounded(incoming, limits.body_max_bytes)?;
    let look = head::look(&parts.headers, Side::Client);
    let source = entry.revision.settings.isolation.key();
    let key = source.map(|source| head::key(&parts.headers, source));
    let key = key.transpose()?;
    let who = Who {
        slot: entry.slot,
        key: key.clone(),
    };
    let permit = gateway
        .door
        .enter(who, entry.bounds, look.bytes, tally.started())
        .await?;
    tally.admitted(permit);
    let arrived = Arrived {
        authority: route.authority,
        path: route.path,
        prefix: route.prefix,
        forwarded_for: &connection.forwarded_for,
        foul: look.foul,
        upgrade: offer.map(|offer| offer.protocols().clone()),
    };
    head::request(&mut parts, arrived, stamp)?;
    if let Some(offer) = offer {
        parts.extensions.insert(offer.upgrade());
    }
    let invocation = Invocation {
        revision: Arc::clone(&entry.revision),
        key,
        request_id: stamp.id,
        request: Request::from_parts(parts, inbound.body),
    };
    let reply = gateway.invoker.invoke(invocation).await;
    match inbound.overrun.fault() {
        Some(too_large) => Err(Failure {
            fault: too_large,
            proof: reply.map_or_else(|failure| failure.proof, |reply| Some(reply.proof)),
        }),
        None => reply,
    }
}

/// Makes the function's reply what the caller is to see, and tells what the caller is owed of its
/// body.
fn pass(
    reply: Reply,
    bodiless_method: bool,
    accepted: Option<&Offer>,
    stamp: &Stamp,
    tally: &mut Tally,
) -> Result<(Response<Body>, Option<u64>), Failure> {
    let Reply { response, proof } = reply;
    let (mut parts, body) = response.into_parts();
    let bodiless = bodiless_method
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED;
    let passed = match accepted {
        Some(offer) => head::switch(&mut parts, offer.protocols()).map(|()| Some(0)),
        None => head::reply(&mut parts, body.size_hint().exact(), bodiless),
    };
    let owed = passed.map_err(|error| {
        tracing::warn!(request = %stamp.id, %error, "a function's reply was not passed on");
        Failure {
            fault: Fault::Trap,
            proof: Some(proof),
        }
    })?;
    tally.head_ready(&proof);
    let shown = (!hides_proof(tally)).then_some(&proof);
    head::sign(&mut parts.headers, stamp, shown);
    let owed = if bodiless { Some(0) } else { owed };
    Ok((Response::from_parts(parts, body), owed))
}

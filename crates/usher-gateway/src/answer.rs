//! One request, from its head to its reply's head.
//!
//! ```text
//!   route ─► bound the body ─► admit ─► make the head ─► invoke ─► sign the reply
//!     └────────────┴────────────┴────────────┴─────────────┴──► Fault ─► refusal
//! ```
//!
//! Two kinds of requests end before: proofs for a certificate authority (`acme`) and preflights of
//! browsers (`cors`), which the gateway answers itself.
//!
//! All of it runs in the task of the connection, or of the request on HTTP/2. When the client goes
//! away, hyper drops the future here, and everything that the request occupied is given back by
//! drop.
//!
//! A request to change the protocol is offered to the function. Where it is not accepted, the
//! connection is closed behind the answer, so that what the client had sent in the other protocol
//! is never read as a request.
//!
//! Deliberately absent: time limits, which the engine keeps, and retries: a request may have run.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use http::header::{CONNECTION, CONTENT_LENGTH, ORIGIN};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use http_body::Body as _;
use hyper::body::Incoming;
use usher_api::body::Body;
use usher_api::invoke::{Failure, Invocation, Reply};
use usher_core::fault::Fault;
use usher_core::proof::Proof;
use usher_core::route::{NoTarget, route};
use usher_core::trace::Step;

use crate::connection::{Beat, Connection};
use crate::cors;
use crate::door::Who;
use crate::head::{self, Arrived, Side};
use crate::inbound;
use crate::loan::Offer;
use crate::outgoing::Outgoing;
use crate::refusal;
use crate::stamp::Stamp;
use crate::table::{Entry, Routes};
use crate::tally::{Arrival, Tally};
use crate::trace::Traced;

/// Where a request goes.
struct Route {
    entry: Arc<Entry>,
    authority: Authority,
    path: PathAndQuery,
    prefix: Option<HeaderValue>,
}

/// What the reply depends on of its request.
struct AskedOf {
    /// Whether its method has no body in reply.
    bodiless: bool,
    version: http::Version,
}

/// A request that has found its function.
struct Asked<'a> {
    parts: request::Parts,
    incoming: Incoming,
    route: Route,
    offer: Option<&'a Offer>,
    traced: &'a Traced,
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
    let beat = Beat::begin(Arc::clone(&connection), request.version());
    let started = Instant::now();
    let stamp = Stamp::draw();
    let (parts, incoming) = request.into_parts();
    if let Some(proof) = connection.gateway.challenges.answer(&parts.uri) {
        return Response::new(Outgoing::of_gateway(proof.into(), beat));
    }
    let traces = &connection.gateway.traces;
    let traced = traces.begin(&parts, connection.secure, &stamp, started);
    let arrival = Arrival::new(
        &parts.method,
        connection.secure,
        started,
        traced.recording.clone(),
    );
    let route = match find(&connection, &parts) {
        Ok(route) => route,
        Err(fault) => {
            arrival.unrouted(&connection.gateway.unrouted, &fault);
            return refuse(&fault.into(), &stamp, beat);
        }
    };
    let entry = Arc::clone(&route.entry);
    let Some(cors) = &entry.revision.settings.cors else {
        let begun = Begun {
            arrival,
            traced,
            stamp,
            beat,
        };
        return run(&connection, parts, incoming, route, offer, begun).await;
    };
    if let Some(answer) = cors::preflight(&parts, cors, &stamp) {
        let gateway = &connection.gateway;
        arrival.answered(&gateway.unrouted, answer.status());
        return answer.map(|body| Outgoing::of_gateway(body, beat));
    }
    let origin = parts.headers.get(ORIGIN).cloned();
    let begun = Begun {
        arrival,
        traced,
        stamp,
        beat,
    };
    let mut response = run(&connection, parts, incoming, route, offer, begun).await;
    cors::mark(response.headers_mut(), cors, origin.as_ref());
    response
}

/// What was drawn and counted when a request arrived.
struct Begun {
    arrival: Arrival,
    traced: Traced,
    stamp: Stamp,
    beat: Beat,
}

/// Answers a request that has found its function.
async fn run(
    connection: &Arc<Connection>,
    parts: request::Parts,
    incoming: Incoming,
    route: Route,
    offer: Option<Offer>,
    begun: Begun,
) -> Response<Outgoing> {
    let Begun {
        arrival,
        traced,
        stamp,
        beat,
    } = begun;
    let mut tally = Tally::open(Arc::clone(&route.entry), arrival);
    let asked_of = AskedOf {
        bodiless: parts.method == Method::HEAD,
        version: parts.version,
    };
    let asked = Asked {
        parts,
        incoming,
        route,
        offer: offer.as_ref(),
        traced: &traced,
    };
    let mut failure = match serve(connection, asked, &mut tally, &stamp).await {
        Ok(reply) => {
            let accepted = offer.filter(|offer| offer.is_accepted(&reply.response));
            match (
                pass(reply, &asked_of, accepted.as_ref(), &stamp, &mut tally),
                accepted,
            ) {
                (Ok((response, _)), Some(offer)) => {
                    let lent = Beat::begin(Arc::clone(connection), asked_of.version);
                    offer.lend(connection, tally, lent);
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
    tally.ran(failure.proof);
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
    connection: &Arc<Connection>,
    asked: Asked<'_>,
    tally: &mut Tally,
    stamp: &Stamp,
) -> Result<Reply, Failure> {
    let Asked {
        mut parts,
        incoming,
        route,
        offer,
        traced,
    } = asked;
    let gateway = &connection.gateway;
    let entry = route.entry;
    let receive = tally.recording().and_then(|it| it.step(Step::Receive));
    tally.asks_with(incoming.size_hint().exact());
    let look = head::look(&parts.headers, Side::Client);
    if head::is_too_large(&parts.headers, &look) {
        let headers_max = head::HEADERS_MAX;
        return Err(Fault::HeadTooLarge { headers_max }.into());
    }
    let body_max_bytes = entry.revision.settings.limits.body_max_bytes;
    let inbound = inbound::bounded(incoming, body_max_bytes, connection)?;
    let rules = &gateway.routes.rules;
    rules.call(&entry.revision, &mut parts.headers)?;
    let owner = rules.begin(&entry.revision.function.owner, &entry.owner)?;
    let source = entry.revision.settings.isolation.key();
    let key = source
        .map(|source| head::key(&parts.headers, source))
        .transpose()?;
    let who = Who {
        slot: entry.slot,
        owner,
        key: key.clone(),
    };
    let (door, bounds) = (&gateway.door, entry.bounds);
    let permit = door.enter(who, bounds, look.bytes, tally.started()).await;
    tally.admitted(permit?);
    let arrived = Arrived {
        authority: route.authority,
        path: route.path,
        prefix: route.prefix,
        forwarded_for: &connection.forwarded_for,
        secure: connection.secure,
        foul: look.foul,
        upgrade: offer.map(|offer| offer.protocols().clone()),
    };
    head::request(&mut parts, arrived, stamp)?;
    traced.hand_on(&mut parts);
    drop(receive);
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
    inbound.upload.answered();
    match inbound.upload.fault() {
        Some(fault) => Err(Failure {
            fault,
            proof: proof(reply),
        }),
        None => reply,
    }
}

fn proof(reply: Result<Reply, Failure>) -> Option<Proof> {
    reply.map_or_else(|failure| failure.proof, |reply| Some(reply.proof))
}

/// Makes the function's reply what the caller is to see, and tells what the caller is owed of its
/// body.
fn pass(
    reply: Reply,
    asked_of: &AskedOf,
    accepted: Option<&Offer>,
    stamp: &Stamp,
    tally: &mut Tally,
) -> Result<(Response<Body>, Option<u64>), Failure> {
    let Reply { response, proof } = reply;
    let (mut parts, body) = response.into_parts();
    let bodiless = asked_of.bodiless
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED;
    let passed = match accepted {
        Some(offer) => head::switch(&mut parts, offer.protocols()).map(|()| Some(0)),
        None => head::reply(&mut parts, body.size_hint().exact(), bodiless),
    };
    let owed = passed.map_err(|error| {
        let trace = tally
            .recording()
            .map(|it| tracing::field::display(it.span()));
        tracing::warn!(request = %stamp.id, trace, %error, "a function's reply was not passed on");
        Failure {
            fault: Fault::Trap,
            proof: Some(proof),
        }
    })?;
    tally.head_ready(parts.status, &proof);
    let shown = (!hides_proof(tally)).then_some(&proof);
    head::sign(&mut parts.headers, stamp, shown);
    // HTTP/1.1 says it by itself.
    if let (true, http::Version::HTTP_2, Some(bytes)) = (asked_of.bodiless, asked_of.version, owed)
        && !parts.headers.contains_key(CONTENT_LENGTH)
    {
        parts.headers.insert(CONTENT_LENGTH, bytes.into());
    }
    let owed = if bodiless { Some(0) } else { owed };
    Ok((Response::from_parts(parts, body), owed))
}

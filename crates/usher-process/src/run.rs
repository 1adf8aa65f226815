//! One call of a program: from the request to the reply's head, and from there to the end.
//!
//! ```text
//! call ─┬→ head, nothing left ....................... over now
//!       ├→ head, more to come ─drive→ complete ...... over later
//!       │                       └───→ failed, exited, late, reader gone: destroyed
//!       └→ failed, exited, late, dropped: destroyed
//! ```
//!
//! Deliberately absent: what becomes of the program afterwards.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;
use usher_api::body::Body;
use usher_core::fault::TimeLimit;
use usher_core::function::Limits;
use usher_core::id::RequestId;
use usher_engine::link::{Inbound, Link, outbound};
use usher_engine::{Call, Clock, Ended, Over, RunReply};

use crate::failure::{Answers, CallFailed, Failure};
use crate::sandbox::{Exit, Program};
use crate::served::{Rest, Served};

/// How long the answer of a program that has exited may take to arrive, in milliseconds: its bytes
/// are in a socket of this machine already.
const ANSWER_AFTER_EXIT_MAX_MS: u64 = 100;
/// How long it may take to learn that a program has exited whose connection broke, in milliseconds.
const EXIT_AFTER_ANSWER_MAX_MS: u64 = 200;

/// Runs one call as far as the reply's head. Without `keep` nobody calls the program again.
pub(crate) async fn run(
    served: Served,
    call: Call,
    limits: &Limits,
    keep: bool,
) -> (RunReply, Over<Served>) {
    served.output.attach(call.request_id, call.output);
    unheard(served, call.request_id, call.request, limits, keep).await
}

/// The same for a request of the platform's own, which has no log.
pub(crate) async fn unheard(
    mut served: Served,
    id: RequestId,
    request: http::Request<Body>,
    limits: &Limits,
    keep: bool,
) -> (RunReply, Over<Served>) {
    let link = Arc::new(Link::default());
    let mut clock = Clock::new(limits);
    let request = request.map(|body| inbound(body, &link));
    let answers = served.contract.answers(&request);
    let watched = Watched {
        program: &served.program,
        clock: Some(&mut clock),
        link: &link,
        reader: false,
    };
    let raced = {
        let calling = pin!(served.contract.call(id, request, limits, keep));
        watched.race(calling).await
    };
    let reply = match raced {
        Ok(reply) => reply,
        Err(failure) => return failed(served, id, answers, &failure, limits),
    };
    if let Some(note) = reply.note {
        served.output.note(note);
    }
    let Some(rest) = reply.rest else {
        served.output.detach();
        return (Ok(reply.response), Over::Now(Ok(served)));
    };
    // A tunnel has a bound of its own on idleness, and no other.
    let tunnel = reply.response.status() == StatusCode::SWITCHING_PROTOCOLS;
    clock.head_is_out();
    let clock = (!tunnel).then_some(clock);
    let response = reply.response.map(|body| outbound(body, link.clone()));
    let until_end = until_end(served, rest, clock, link, limits.clone());
    (Ok(response), Over::Later(Box::pin(until_end)))
}

/// What a call comes to that has failed before its reply's head.
fn failed(
    served: Served,
    id: RequestId,
    answers: Answers,
    failure: &Failure,
    limits: &Limits,
) -> (RunReply, Over<Served>) {
    served.output.detach();
    let (fault, cause) = (failure.fault(limits), failure.to_string());
    if failure.spares_program() {
        return (Err((fault, cause)), Over::Now(Ok(served)));
    }
    drop(served);
    let reply = match answers.answer(id, failure) {
        Some(response) => Ok(response),
        None => Err((fault.clone(), cause.clone())),
    };
    (reply, Over::Now(Err(Ended::Destroyed { fault, cause })))
}

/// Drives what is left of a call. A program that exits after its reply is complete has served it.
async fn until_end(
    served: Served,
    mut rest: Rest,
    mut clock: Option<Clock>,
    link: Arc<Link>,
    limits: Limits,
) -> Result<Served, Ended> {
    let watched = Watched {
        program: &served.program,
        clock: clock.as_mut(),
        link: &link,
        reader: true,
    };
    let ended = watched.race(rest.as_mut()).await;
    served.output.detach();
    let Err(failure) = ended else {
        return Ok(served);
    };
    let (fault, cause) = (failure.fault(&limits), failure.to_string());
    // Before the program goes, or the body would seem to end well.
    link.fail(fault.clone());
    drop(served);
    Err(Ended::Destroyed { fault, cause })
}

/// What is watched beside a part of a call.
struct Watched<'a> {
    program: &'a Program,
    clock: Option<&'a mut Clock>,
    link: &'a Link,
    /// Whether there is somebody who reads the reply, and may go away.
    reader: bool,
}

enum Event<T> {
    Done(T),
    Exited(Exit),
    Gone,
    Late(TimeLimit, u64),
}

impl Watched<'_> {
    /// Drives a part of a call to its end, unless the program exits, the reader goes away or a time
    /// limit runs out before.
    async fn race<T>(
        mut self,
        mut part: Pin<&mut (impl Future<Output = Result<T, CallFailed>> + ?Sized)>,
    ) -> Result<T, Failure> {
        let mut exited = pin!(self.program.exited());
        let event = poll_fn(|cx| {
            if let Poll::Ready(done) = part.as_mut().poll(cx) {
                return Poll::Ready(Event::Done(done));
            }
            if let Poll::Ready(exit) = exited.as_mut().poll(cx) {
                return Poll::Ready(Event::Exited(exit));
            }
            if self.reader && self.link.poll_gone(cx).is_ready() {
                return Poll::Ready(Event::Gone);
            }
            let Some(clock) = &mut self.clock else {
                return Poll::Pending;
            };
            let late = clock.poll(cx, self.link.progress());
            late.map(|(limit, limit_ms)| Event::Late(limit, limit_ms))
        });
        match event.await {
            Event::Done(Err(failed)) if failed.may_be_an_exit() => {
                let wait = Duration::from_millis(EXIT_AFTER_ANSWER_MAX_MS);
                Err(match timeout(wait, exited).await {
                    Ok(exit) => Failure::Exited(exit),
                    Err(_) => Failure::Call(failed),
                })
            }
            Event::Done(done) => done.map_err(Failure::Call),
            Event::Exited(exit) => {
                let wait = Duration::from_millis(ANSWER_AFTER_EXIT_MAX_MS);
                let done = timeout(wait, part).await;
                done.ok().and_then(Result::ok).ok_or(Failure::Exited(exit))
            }
            Event::Late(limit, limit_ms) => Err(Failure::Late(limit, limit_ms)),
            Event::Gone => Err(Failure::Gone),
        }
    }
}

/// The request's body, counted as progress where it comes in pieces.
fn inbound(body: Body, link: &Arc<Link>) -> Body {
    match body {
        Body::Empty | Body::Whole(_) => body,
        Body::Incoming(_) | Body::Stream(_) => Body::stream(Inbound::new(body, link.clone())),
    }
}

//! One run of a guest: from the request to the reply's head, and from there to the end.
//!
//! ```text
//! begin ─poll→ returned with a reply ............................ over now
//!        │───→ head set, still running ─drive→ returned .......... over later
//!        │                              └────→ trap, time-out, reader gone: destroyed
//!        └───→ trap, time-out, dropped: destroyed
//! ```
//!
//! A short run is polled to its end right where it was called: no task, no channel, no timer.
//! Deliberately absent: what becomes of the guest afterwards, and what goes on inside of a store
//! that has tasks (`concurrent`).
//!
//! The limits are watched from out here for both generations of wasi:http, because nothing that a
//! busy store holds is polled.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use usher_api::upgrade::Upgrade;
use usher_core::fault::{Fault, TimeLimit};
use usher_core::function::Limits;
use usher_engine::link::Link;
use usher_engine::{Call, Clock, Ended, RunReply};
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p3::bindings::Service;

use crate::body::{self, Inbound};
use crate::concurrent;
use crate::host::Host;
use crate::reply::Reply;
use crate::serving::Serving;

/// An instance and its store: all that a run needs.
pub(crate) struct Guest {
    pub(crate) store: Store<Host>,
    pub(crate) serving: Serving,
}

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) reply: RunReply,
    pub(crate) over: RanOver,
}

/// What is left of it.
pub(crate) enum RanOver {
    Now(Result<Guest, Ended>),
    Later(Rest),
}

/// A guest that goes on after its reply's head.
pub(crate) type Rest = Pin<Box<dyn Future<Output = Result<Guest, Ended>> + Send>>;

/// How often a store with tasks is driven once more before a head that is there is given out. Its
/// parts wake each other, and a short reply comes to its end by that without waiting for anybody.
const TURNS_MAX: u32 = 8;

type Running = Pin<Box<dyn Future<Output = (Guest, wasmtime::Result<()>)> + Send>>;
/// A reply, or the error that the guest has answered with.
type Head = Result<http::Response<Reply>, String>;
/// Where a guest puts it.
pub(crate) type Slot = Arc<Mutex<Option<Head>>>;

/// Runs one call as far as the reply's head. With `keep` the guest's handles stay valid.
pub(crate) async fn run(mut guest: Guest, mut call: Call, limits: &Limits, keep: bool) -> Ran {
    // A component has no other protocol to change to.
    Upgrade::withdraw(&mut call.request);
    let link = Arc::new(Link::default());
    let slot = Slot::default();
    let host = guest.store.data_mut();
    host.begin(call.request_id, call.output, keep);
    guest.store.set_epoch_deadline(1);
    let request = call.request.map(|body| Inbound::new(body, link.clone()));
    let Guest { store, serving } = guest;
    let (running, turns) = match serving {
        Serving::Http02(proxy) => (handle(store, proxy, request, slot.clone()), 0),
        Serving::Http03(service) => {
            let running = handle_concurrently(store, service, request, slot.clone());
            (running, TURNS_MAX)
        }
    };
    let running = match running {
        Ok(running) => running,
        // Nothing of the guest has run, but its table may hold half of the arguments.
        Err(cause) => return destroyed(Fault::BadRequest, cause),
    };
    let drive = Drive {
        running,
        turns,
        link,
        clock: Clock::new(limits),
    };
    drive.until_head(&slot).await
}

/// A call by wasi:http 0.2.
fn handle(
    mut store: Store<Host>,
    proxy: Proxy,
    request: http::Request<Inbound>,
    slot: Slot,
) -> Result<Running, String> {
    let mut http = store.data_mut().http();
    let arguments = http
        .new_incoming_request(Scheme::Http, request)
        .and_then(|request| {
            let set = move |head: Result<http::Response<_>, ErrorCode>| {
                let head = head.map(|head| head.map(Reply::apart));
                *slot.lock() = Some(head.map_err(|code| format!("{code:?}")));
            };
            Ok((request, http.new_response_outparam_from_callback(set)?))
        });
    let (request, outparam) = arguments.map_err(|error| format!("{error:#}"))?;
    Ok(Box::pin(async move {
        let handler = proxy.wasi_http_incoming_handler();
        let result = handler.call_handle(&mut store, request, outparam).await;
        let serving = Serving::Http02(proxy);
        (Guest { store, serving }, result)
    }))
}

/// A call by wasi:http 0.3.
fn handle_concurrently(
    mut store: Store<Host>,
    service: Service,
    request: http::Request<Inbound>,
    slot: Slot,
) -> Result<Running, String> {
    let arrived = concurrent::arrived(&mut store, request)?;
    Ok(Box::pin(async move {
        let result = concurrent::serve(&mut store, &service, arrived, &slot).await;
        let serving = Serving::Http03(service);
        (Guest { store, serving }, result)
    }))
}

fn destroyed(fault: Fault, cause: String) -> Ran {
    let ended = Ended::Destroyed {
        fault: fault.clone(),
        cause: cause.clone(),
    };
    Ran {
        reply: Err((fault, cause)),
        over: RanOver::Now(Err(ended)),
    }
}

/// A run in progress.
struct Drive {
    running: Running,
    turns: u32,
    link: Arc<Link>,
    clock: Clock,
}

enum Event {
    Returned(Box<(Guest, wasmtime::Result<()>)>),
    Head(Head),
    Gone,
    Late(TimeLimit, u64),
}

impl Drive {
    async fn until_head(mut self, slot: &Slot) -> Ran {
        match poll_fn(|cx| self.poll(cx, Some(slot))).await {
            Event::Returned(returned) => {
                let (guest, result) = *returned;
                finished(guest, result, slot.lock().take())
            }
            Event::Head(Ok(head)) => {
                let head = head.map(|body| body::streamed(body, self.link.clone()));
                self.clock.head_is_out();
                Ran {
                    reply: Ok(head),
                    over: RanOver::Later(Box::pin(self.until_end())),
                }
            }
            Event::Head(Err(code)) => Ran {
                reply: Err(refused(&code)),
                over: RanOver::Later(Box::pin(self.until_end())),
            },
            Event::Late(limit, limit_ms) => {
                drop(self.running);
                let fault = Fault::TimeOut { limit, limit_ms };
                destroyed(fault.clone(), fault.to_string())
            }
            Event::Gone => destroyed(Fault::CallerGone, Fault::CallerGone.to_string()),
        }
    }

    async fn until_end(mut self) -> Result<Guest, Ended> {
        let event = poll_fn(|cx| self.poll(cx, None)).await;
        let (fault, cause) = match event {
            Event::Returned(returned) => match *returned {
                (guest, Ok(())) => return Ok(guest),
                (guest, Err(error)) => {
                    let fault = fault_of(&guest);
                    self.link.fail(fault.clone());
                    (fault, format!("{error:#}"))
                }
            },
            Event::Late(limit, limit_ms) => {
                let fault = Fault::TimeOut { limit, limit_ms };
                (fault.clone(), fault.to_string())
            }
            Event::Gone | Event::Head(_) => (Fault::CallerGone, Fault::CallerGone.to_string()),
        };
        // Before the store goes, or the body would seem to end well.
        self.link.fail(fault.clone());
        drop(self.running);
        Err(Ended::Destroyed { fault, cause })
    }

    fn poll(&mut self, cx: &mut Context<'_>, slot: Option<&Slot>) -> Poll<Event> {
        let mut turns = self.turns;
        loop {
            if let Poll::Ready(returned) = self.running.as_mut().poll(cx) {
                return Poll::Ready(Event::Returned(Box::new(returned)));
            }
            if turns == 0 || slot.is_none_or(|slot| slot.lock().is_none()) {
                break;
            }
            turns -= 1;
        }
        match slot {
            Some(slot) => {
                if let Some(head) = slot.lock().take() {
                    return Poll::Ready(Event::Head(head));
                }
            }
            None => {
                if self.link.poll_gone(cx).is_ready() {
                    return Poll::Ready(Event::Gone);
                }
            }
        }
        let progress = self.link.progress();
        let late = self.clock.poll(cx, progress);
        late.map(|(limit, limit_ms)| Event::Late(limit, limit_ms))
    }
}

fn finished(guest: Guest, result: wasmtime::Result<()>, head: Option<Head>) -> Ran {
    if let Err(error) = result {
        return destroyed(fault_of(&guest), format!("{error:#}"));
    }
    let reply = match head {
        None => return destroyed(Fault::Trap, "it returned without setting a response".into()),
        Some(Err(code)) => Err(refused(&code)),
        Some(Ok(head)) => {
            let (parts, sent) = head.into_parts();
            match body::whole(sent) {
                None => return destroyed(Fault::Trap, "it left its reply incomplete".into()),
                Some(whole) => Ok(http::Response::from_parts(parts, whole)),
            }
        }
    };
    let over = RanOver::Now(Ok(guest));
    Ran { reply, over }
}

fn refused(code: &str) -> (Fault, String) {
    (Fault::Trap, format!("it answered with the error {code}"))
}

fn fault_of(guest: &Guest) -> Fault {
    let meter = &guest.store.data().meter;
    match meter.starved() {
        true => Fault::OutOfMemory {
            memory_max_bytes: meter.memory_max_bytes() as u64,
        },
        false => Fault::Trap,
    }
}

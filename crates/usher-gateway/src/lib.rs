//! The gateway: listens, routes, admits, lets wait, dispatches, measures.
//!
//! ```text
//!  accept ─► connection ─► answer: route ─► door ──permit─► invoker ─► reply, frame by frame
//!            hello: TLS, version   table    waiting room   (a node)    outgoing: holds the permit
//!            pace, wire, strict    cors
//! ```
//!
//! Which function an address names, who waits, and whose fault a failure is are decided in
//! `usher-core`; here are the tasks that carry it out. A request costs no task, no channel and no
//! boxed body of its own: all of it happens in the task of its connection.
//!
//! Deliberately absent: placement, environments, and the texts of inner causes, which stay in the
//! log of whoever found them.

#![forbid(unsafe_code)]

pub mod acme;
mod answer;
mod config;
mod connection;
mod cors;
mod door;
mod head;
mod hello;
mod http1;
mod http2;
mod inbound;
mod loan;
mod meter;
mod outgoing;
mod pace;
mod refusal;
mod rules;
mod server;
mod stamp;
mod streams;
mod strict;
mod table;
mod tally;
pub mod tls;
mod turns;
mod wire;

pub use config::{Bounds, Config, Tls};
pub use meter::{FunctionFigures, GatewayFigures, Latency, ServedCount};
pub use rules::Rules;
pub use server::{BindError, Drained, Gateway, Gauge};
pub use table::{FollowError, RouteTable};

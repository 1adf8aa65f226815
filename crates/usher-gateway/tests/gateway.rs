//! The gateway over real connections, with closures in the place of nodes.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "gateway/rig.rs"]
mod rig;

#[path = "gateway/cors.rs"]
mod cors;
#[path = "gateway/doors.rs"]
mod doors;
#[path = "gateway/drain.rs"]
mod drain;
#[path = "gateway/frames.rs"]
mod frames;
#[path = "gateway/heads.rs"]
mod heads;
#[path = "gateway/hostile.rs"]
mod hostile;
#[path = "gateway/hostile_http2.rs"]
mod hostile_http2;
#[path = "gateway/http2.rs"]
mod http2;
#[path = "gateway/keys.rs"]
mod keys;
#[path = "gateway/routes.rs"]
mod routes;
#[path = "gateway/rules.rs"]
mod rules;
#[path = "gateway/slow.rs"]
mod slow;
#[path = "gateway/streams.rs"]
mod streams;
#[path = "gateway/tls.rs"]
mod tls;
#[path = "gateway/traffic.rs"]
mod traffic;
#[path = "gateway/upgrades.rs"]
mod upgrades;
#[path = "gateway/watched.rs"]
mod watched;

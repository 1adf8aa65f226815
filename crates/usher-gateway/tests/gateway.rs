//! The gateway over real connections, with closures in the place of nodes.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "gateway/rig.rs"]
mod rig;

#[path = "gateway/doors.rs"]
mod doors;
#[path = "gateway/drain.rs"]
mod drain;
#[path = "gateway/heads.rs"]
mod heads;
#[path = "gateway/hostile.rs"]
mod hostile;
#[path = "gateway/keys.rs"]
mod keys;
#[path = "gateway/routes.rs"]
mod routes;
#[path = "gateway/streams.rs"]
mod streams;
#[path = "gateway/traffic.rs"]
mod traffic;
#[path = "gateway/upgrades.rs"]
mod upgrades;

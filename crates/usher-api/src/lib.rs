//! What crosses a boundary between roles: messages, bodies, and the traits by which the roles know
//! each other.
//!
//! The gateway, the controller and the node never name one another. In one process they meet here
//! by trait objects; between hosts the same messages will travel as JSON and HTTP.
//!
//! Deliberately absent: how anybody acts on a message.

#![forbid(unsafe_code)]

pub mod access;
pub mod backup;
pub mod body;
pub mod client;
pub mod http;
pub mod invoke;
pub mod manifest;
pub mod node;
pub mod record;
pub mod shape;
pub mod upgrade;

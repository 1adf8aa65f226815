//! Programs in C are changed in many ways, put back, and must answer as at first.

#![expect(clippy::unwrap_used, reason = "tests")]

mod attacks;
mod audited;
mod devices;
mod guest;
mod layouts;
mod refused;
mod repeated;
mod swapped;
mod windows;

//! Measures the swap of the area: how long it takes, and how that grows with the state.

use std::sync::Arc;

use serde::Serialize;

/// The swap with one size of state.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SwapFigure {
    /// The memory's size, in bytes.
    pub state_bytes: usize,
    /// Median of the swaps, in microseconds.
    pub swap_us: f64,
    /// The fastest, in microseconds.
    pub swap_us_min: f64,
    /// The slowest of the better nine tenths, in microseconds.
    pub swap_us_max: f64,
}

//! `usher bench`: one mechanism, measured by itself in this process.
//!
//! Deliberately absent: whole requests and peers, which `cargo xtask bench` measures.

use anyhow::anyhow;

use crate::engines::measure_swap;
use crate::output;

/// Measures changing an environment's area, for each size of state.
pub(crate) async fn swap(state_bytes: &[usize], json: bool) -> anyhow::Result<()> {
    let figures = measure_swap(state_bytes).await;
    for figure in figures.map_err(|reason| anyhow!(reason))? {
        if json {
            output::json(&figure)?;
        } else {
            output::line(format!(
                "{} KiB of state: {:.2} us (from {:.2} to {:.2})",
                figure.state_bytes >> 10,
                figure.swap_us,
                figure.swap_us_min,
                figure.swap_us_max
            ))?;
        }
    }
    Ok(())
}

//! Twins: what is measured and judged against naive ones, and what they do in virtual time.

#[path = "twin/judged.rs"]
mod judged;
#[path = "twin/simulated.rs"]
mod simulated;

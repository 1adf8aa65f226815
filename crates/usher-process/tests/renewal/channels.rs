//! The channels of each hostile program.

//! The controller and its API over real connections and the real backbone, with a fake node.

mod access;
mod artifacts;
mod audit;
mod backup;
mod deploy;
mod kill;
mod remove;
mod rig;
mod start;
mod wire;

//! The controller and its API over real connections and the real backbone, with a fake node.

mod artifacts;
mod backup;
mod deploy;
mod kill;
mod remove;
mod rig;
mod start;
mod traffic;
mod wire;

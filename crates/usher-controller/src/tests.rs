//! The controller and its API over real connections and the real backbone, with a fake node.

mod artifacts;
mod deploy;
mod kill;
mod remove;
mod rig;
mod secrets;
mod start;
mod wire;

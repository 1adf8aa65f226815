//! Why a program could not be stopped, injected into, or given its registers.

use thiserror::Error;

/// The program's threads could not all be stopped.
#[derive(Debug, Error)]
pub(crate) enum StopError {}

/// The program could not be made to call the kernel as it was asked to.
#[derive(Debug, Error)]
pub(crate) enum InjectError {}

/// The registers of a thread could not be read or written.
#[derive(Debug, Error)]
pub(crate) enum RegisterError {}

/// The program could not go on.
#[derive(Debug, Error)]
pub(crate) enum ResumeError {}

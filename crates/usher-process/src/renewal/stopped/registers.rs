//! What the processor and the kernel hold for each thread.

/// The registers of all threads of a program, as they are to be put back.
#[derive(Clone, Debug)]
pub(crate) struct Registers {}

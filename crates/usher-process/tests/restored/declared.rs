//! Who declares, and who does not; and that programs find all else as without the shims.

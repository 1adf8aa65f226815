//! Bounds on what one environment may hold: memory, table elements, instances, handles.
//!
//! wasmtime asks before anything grows. What is refused for memory is noted, so that a guest that
//! gives up because of it is reported as out of memory and not as a trap.

use usher_core::function::Limits;
use wasmtime::ResourceLimiter;

/// Counts one environment's memory against its limit.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    memory_max_bytes: usize,
    table_max_elements: usize,
    instances_max: usize,
    handles_max: usize,
    memory_bytes: usize,
    image_bytes: usize,
    starved: bool,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        let large = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            memory_max_bytes: large(limits.memory_max_mib).saturating_mul(1 << 20),
            table_max_elements: large(limits.table_max_elements),
            instances_max: large(limits.instances_max),
            handles_max: large(limits.handles_max),
            memory_bytes: 0,
            image_bytes: 0,
            starved: false,
        }
    }

    /// The bound on all memories together, in bytes.
    pub(crate) fn memory_max_bytes(&self) -> usize {
        self.memory_max_bytes
    }

    /// The bound on live handles.
    pub(crate) fn handles_max(&self) -> usize {
        self.handles_max
    }

    /// What is counted now belongs to the image.
    pub(crate) fn freeze(&mut self) {
        self.image_bytes = self.memory_bytes;
    }

    /// The memories have the sizes of an image, which have this many bytes together.
    pub(crate) fn adopt(&mut self, image_bytes: usize) {
        self.memory_bytes = image_bytes;
        self.image_bytes = image_bytes;
    }

    /// The memories are back at their sizes in the image.
    pub(crate) fn reset(&mut self) {
        self.memory_bytes = self.image_bytes;
    }

    /// A run begins.
    pub(crate) fn begin(&mut self) {
        self.starved = false;
    }

    /// Whether memory was refused during this run.
    pub(crate) fn starved(&self) -> bool {
        self.starved
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .memory_bytes
            .saturating_add(desired.saturating_sub(current));
        let granted = total <= self.memory_max_bytes && maximum.is_none_or(|max| desired <= max);
        if granted {
            self.memory_bytes = total;
        } else {
            self.starved = true;
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_max_elements && maximum.is_none_or(|max| desired <= max))
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        self.instances_max
    }

    fn memories(&self) -> usize {
        self.instances_max
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn all_memories_together_stay_within_the_limit_and_renewal_takes_growth_back() {
        let mut meter = Meter::new(&Limits {
            memory_max_mib: 1,
            ..Limits::default()
        });
        assert!(meter.memory_growing(0, 512 << 10, None).unwrap());
        meter.freeze();
        for _ in 0..3 {
            meter.begin();
            assert!(meter.memory_growing(0, 512 << 10, None).unwrap());
            assert!(!meter.starved());
            assert!(!meter.memory_growing(512 << 10, 576 << 10, None).unwrap());
            assert!(meter.starved());
            meter.reset();
        }
    }
}

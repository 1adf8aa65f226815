//! The marker, kept in the form in which it was sent; the planted form exists only where it was
//! planted.

use std::arch::wasm32;

/// Each byte of the planted form is that of the sent form XORed by this.
pub(crate) const MASK: u8 = 0xa5;
const BYTES: usize = 16;
const PAGE_BYTES: usize = 64 * 1024;

/// 16 bytes as they were sent.
pub(crate) struct Marker([u8; BYTES]);

impl Marker {
    /// Reads 32 hexadecimal digits.
    pub(crate) fn parse(hex: &str) -> Option<Self> {
        if hex.len() != 2 * BYTES || !hex.is_ascii() {
            return None;
        }
        let mut sent = [0; BYTES];
        for (at, byte) in sent.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(sent))
    }

    /// One byte of the sent form.
    pub(crate) fn byte(&self, at: usize) -> u8 {
        self.0[at]
    }

    /// The two halves of the sent form.
    pub(crate) fn halves(&self) -> [u64; 2] {
        let whole = u128::from_le_bytes(self.0);
        [whole as u64, (whole >> 64) as u64]
    }

    /// Writes the planted form over and over into `place`.
    pub(crate) fn fill(&self, place: &mut [u8]) {
        for (byte, sent) in place.iter_mut().zip(self.0.iter().cycle()) {
            // SAFETY: `byte` is a reference; volatile, so that the write is not found to be
            // useless.
            unsafe { std::ptr::from_mut(byte).write_volatile(sent ^ MASK) };
        }
    }

    /// How often the planted form stands in memory, from the first byte to the last. Overlaps
    /// count.
    pub(crate) fn hits(&self) -> usize {
        let end = wasm32::memory_size::<0>() * PAGE_BYTES;
        (0..=end - BYTES).filter(|at| self.stands_at(*at)).count()
    }

    fn stands_at(&self, at: usize) -> bool {
        self.0.iter().enumerate().all(|(nth, sent)| {
            // SAFETY: Below the memory's size, so it can be read; volatile, so that nothing is
            // assumed of it.
            let found = unsafe { ((at + nth) as *const u8).read_volatile() };
            found ^ MASK == *sent
        })
    }
}
